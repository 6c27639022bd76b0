"""What a site finds out about its own records: unseen models only, repairs that gain, nothing below five records."""

from dataclasses import replace

import numpy as np
import pytest

from cohortium.quality.calibrate import clipped_mean
from cohortium.quality.judging import PassModels, _plausible, judge, mended, published, scores
from cohortium.quality.out_of_bag import OutOfBag
from cohortium.quality.pool import Scale, as_examples, flat, pool_of
from cohortium.quality.repairs import LabelPolarity, UnitFactor
from cohortium.quality.slots import logits
from cohortium.quality.stages import Auditor, AuditPlan


class Doubled:
    """A repair that does not fit."""

    name = "axes"

    def apply(self, examples):
        raise ValueError("a table has no axes")


@pytest.fixture(scope="module")
def audited(kit):
    sites = kit.flipped(kit.consortium(), "b", "m")
    names = tuple(sorted(sites))
    pool = pool_of({at: sites[name] for at, name in enumerate(names)})
    one = Auditor(plan=AuditPlan(sites=names))
    state = one.initial()
    while not one.finished(state):
        state = one.advance(state, one.answer(state, pool))
    mean, sd = state["scale"]
    scale = Scale(mean=mean, sd=sd)
    models = PassModels.read(state, "pass-1")
    return pool, scale, models, judge(pool, scale.fixed(pool.x), models, anchors=frozenset())


def test_a_record_is_scored_by_probes_that_never_saw_its_site(audited):
    pool, scale, models, judged = audited
    x, heads = scale.fixed(pool.x), models.heads
    for site in (0, 7):
        rows = pool.rows(site)
        unseen = np.flatnonzero(~heads.member[site])
        assert len(unseen) == 4
        alone = logits(x[rows], heads.point[unseen])
        assert clipped_mean(alone, np.ones(alone.shape, dtype=bool)) == pytest.approx(judged.z[rows])
    changed = replace(heads, point=np.where(heads.member[0][:, None], heads.point + 1.0, heads.point))
    assert np.array_equal(scores(x[pool.rows(0)], pool.site[pool.rows(0)], changed), judged.z[pool.rows(0)])


def test_reversed_labels_lose_their_site_its_trust_and_sound_sites_keep_theirs(audited):
    pool, _, _, judged = audited
    assert judged.sites[1].harmful > 0.95
    assert judged.q[pool.rows(1)].max() < 0.05
    assert np.median(judged.q[pool.rows(0)]) > 0.9
    assert ((judged.q >= 0) & (judged.q <= 1)).all()


def test_turned_labels_are_repaired_where_they_are_reversed_only(audited):
    pool, scale, models, judged = audited
    library = (Doubled(), LabelPolarity())
    assert mended(1, pool, judged, models, scale, library)[0] == "label-polarity"
    assert mended(0, pool, judged, models, scale, library) == ("", 0)


def test_a_one_class_site_is_never_offered_to_turn_its_labels(kit):
    sites = kit.consortium()
    sites["c"] = replace(sites["c"], x=sites["c"].x + 2.0 * (np.arange(5) == 0), y=np.zeros(30))
    names = tuple(sorted(sites))
    pool = pool_of({at: sites[name] for at, name in enumerate(names)})
    one = Auditor(plan=AuditPlan(sites=names, repairs=("label-polarity",)), repairs=(LabelPolarity(),))
    state = one.initial()
    while not one.finished(state):
        state = one.advance(state, one.answer(state, pool))
    found = {e.site: e for e in one.evidence(state)}["c"]
    assert found.reversed > found.sound + 8  # turning the labels would gain a lot
    assert (found.two_class, found.repair) == (False, "")


def test_a_factor_that_only_shrinks_a_noisy_column_is_no_unit(kit):
    sites = {name: replace(one, x=one.x + 6.0) for name, one in kit.consortium(strength=3.0).items()}
    rng = np.random.default_rng(0)
    sites["c"] = replace(sites["c"], x=np.column_stack([6.0 + 2 * rng.normal(size=30), sites["c"].x[:, 1:]]))
    result = OutOfBag().run(sites, seed=0)
    assert result.status == "decided"
    assert not any(v.repair for v in result.sites.values())


def test_a_factor_fits_where_it_brings_a_far_column_home_and_not_where_it_was_home():
    far = as_examples((np.full((9, 2), 180.0) + np.arange(18).reshape(9, 2), np.arange(9) % 2))
    scale = Scale(mean=np.array([10.0, 180.0]), sd=np.array([2.0, 40.0]))
    first, second = (UnitFactor(name, 1 / 18) for name in far.layout.features)
    assert _plausible(first, far, scale.fixed(flat(far)), scale)
    assert not _plausible(second, far, scale.fixed(flat(far)), scale)


def test_what_leaves_a_site_is_about_five_records_at_least(audited):
    pool, scale, models, judged = audited
    assert published("m", 12, pool, judged, models, scale, ()) is None
    told = published("b", 1, pool, judged, models, scale, ())
    assert told.n == 35
    assert told.reversed > told.sound
    assert told.contradicted > 25
    assert told.auroc < 0.3
