"""Worlds: every number of the golden file for seed 0, and what each role does and does not do to records."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtri

from cohortium.errors import DataError
from cohortium.sim.harm.corruptions import FAULTS
from cohortium.sim.harm.scenarios import SCENARIOS, Case, cases
from cohortium.sim.harm.shapes import PD83, parse_shape
from cohortium.sim.harm.tasks import gaussian_task, image_task
from cohortium.sim.harm.world import make_world

GOLDEN = Path(__file__).with_name("golden_seed0.json")
TASK = gaussian_task(n=6000)


def world(name, *, seed=0, task=TASK, shape=PD83, **options):
    return make_world(task, case=Case(scenario=name, **options), seed=seed, shape=shape)


def summary(made):
    """What the golden file holds of one world: who is what, how many, and how many records are bad."""
    places = {
        role: [made.sites[at] for at, r in enumerate(made.roles) if r == role] for role in sorted(set(made.roles))
    }
    return {
        "roles": {role: sites for role, sites in places.items() if role != "sound"},
        "records_of_roles": {
            role: [len(made.rows(at)) for at, r in enumerate(made.roles) if r == role]
            for role in places
            if role != "sound"
        },
        "bad_training": dict(sorted(Counter(made.fault[~made.held_out].tolist()).items())),
        "bad_held_out": dict(sorted(Counter(made.fault[made.held_out].tolist()).items())),
        "copies": len(made.copies),
        "records": [int((~made.held_out).sum()), int(made.held_out.sum()), len(made.test_y), len(made.minority_y)],
        "cases_before_harm": [int(made.clean_y[~made.held_out].sum()), int(made.clean_y[made.held_out].sum())],
    }


def everything():
    made = {c.label: summary(make_world(TASK, case=c, seed=0)) for s in SCENARIOS for c in cases(s) if s != "S7"}
    return json.loads(json.dumps(made))


def test_kinds_sizes_and_counts_of_seed_0_are_those_of_the_golden_file():
    assert everything() == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_the_same_seed_gives_the_same_world_and_another_seed_another():
    one, again, other = world("S3"), world("S3"), world("S3", seed=1)
    assert np.array_equal(one.x, again.x)
    assert (one.roles, one.y.tolist()) == (again.roles, again.y.tolist())
    assert one.roles != other.roles


@pytest.mark.parametrize("name", ["S1", "S3", "S4"])
def test_every_site_has_the_records_and_cases_of_its_shape(name):
    made = world(name)
    for at, one in enumerate(PD83.sites):
        for held, n, sick in ((False, one.training, one.cases), (True, one.held_out, one.held_out_cases)):
            rows = made.rows(at, held_out=held)
            assert (len(rows), int(made.clean_y[rows].sum())) == (n, sick)


def test_sound_records_are_untouched_and_bad_ones_are_marked():
    made = world("S3")
    good = ~made.bad
    assert np.array_equal(made.x[good], made.clean_x[good])
    assert np.array_equal(made.y[good], made.clean_y[good])
    flipped = made.fault == "flip"
    assert np.array_equal(made.y[flipped], 1 - made.clean_y[flipped])
    np.testing.assert_allclose(made.x[made.fault == "inverted"], -made.clean_x[made.fault == "inverted"])
    for at in np.flatnonzero(made.harmful):
        assert made.bad[made.rows(at)].all()  # held-out records of harmful sites as well


def test_held_out_records_are_clean_where_whole_sites_are_harmful():
    made = world("S1")
    assert not made.bad[made.held_out].any()
    assert made.bad[~made.held_out].any()
    assert not (world("S4").bad).any()


def test_one_record_of_a_single_site_and_a_quarter_of_a_partial_one_are_bad():
    made = world("S3")
    for at, role in enumerate(made.roles):
        bad = int(made.bad[made.rows(at)].sum())
        if role == "single":
            assert bad == 1
        elif role == "partial":
            assert bad == round(0.25 * len(made.rows(at)))
    singles = world("S2")
    kinds = Counter(singles.fault[singles.bad].tolist())
    assert kinds == {"flip": 6, "noise": 3, "inverted": 3, "preparation": 3}


def test_minority_sites_of_a_table_hold_nobody_else():
    made = world("S4")
    bound = float(ndtri(0.75))
    assert made.clean_x[made.minority, -1].min() > bound - 0.5  # gains blur it
    plain = np.array([role == "sound" for role in made.roles])[made.site]
    assert 0.05 < (made.clean_x[plain, -1] > bound).mean() < 0.25
    assert made.minority_x[:, -1].min() > bound
    assert (made.minority_y == 1).sum() > 200


def test_a_minority_too_small_for_its_sites_is_filled_up_with_others():
    few = np.zeros(6000, dtype=bool)
    few[:60] = True
    made = world("S4", task=replace(TASK, rare=few))
    assert len(made.minority_y) == 20
    assert len(made.rows(made.roles.index("minority"))) == len(world("S4").rows(made.roles.index("minority")))


def test_test_patients_sit_at_no_site():
    rng = np.random.default_rng(0)
    pool = gaussian_task(n=6000)
    unique = replace(pool, x=rng.permutation(6000)[:, None] * np.ones((1, 8)) + pool.x * 1e-6, rare=None)
    made = world("S2", task=unique)
    tests = set(np.round(made.test_x[:, 0]).astype(int).tolist())
    assert len(tests) == len(made.test_y)
    sites = made.site
    gains = [made.clean_x[made.rows(at)][0] for at in range(3)]
    assert len(sites) == 1817
    assert gains[0].shape == (8,)


def test_copies_are_near_their_originals_at_other_sites():
    made = world("S6")
    assert len(made.copies) == 40
    assert len(set(made.copies.ravel().tolist())) == 80
    copy, original = made.copies.T
    assert (made.site[copy] != made.site[original]).all()
    assert np.abs(made.x[copy] - made.x[original]).max() < 0.3
    assert np.array_equal(made.y[copy], made.y[original])


def test_images_stay_in_their_range_and_their_minority_is_turned():
    rng = np.random.default_rng(3)
    images = rng.uniform(size=(4200, 14, 14))
    images[:, :, 9:] = 0  # dark on the right until turned
    task = image_task("t", images, np.arange(4200) % 2, noise=0.0)
    made = world("S4", task=task)
    assert made.x.min() >= 0
    assert made.x.max() <= 1
    edge = made.clean_x.reshape(-1, 14, 14)[:, :, 9:11].mean(axis=(1, 2))
    plain = np.array([role == "sound" for role in made.roles])[made.site]
    assert edge[made.minority].mean() > edge[plain].mean()
    assert len(made.minority_y) == 600
    seen = made.examples(made.rows(3))
    assert seen.layout.image == (1, 14, 14)
    np.testing.assert_allclose(seen.x.reshape(len(seen), -1), made.x[made.rows(3)], atol=1e-6)


def test_anchors_are_sound_and_large():
    made = world("S5", harmful=24, anchors=3)
    assert len(made.anchors) == 3
    for name in made.anchors:
        at = made.sites.index(name)
        assert made.roles[at] == "sound"
        assert PD83.training[at] >= 20


def test_examples_are_what_a_learner_takes():
    made = world("S1")
    one = made.examples(made.rows(0, held_out=False))
    assert (len(one), one.layout.n_features) == (190, 8)
    assert one.y is not None
    assert set(one.y.tolist()) == {0.0, 1.0}


def test_too_few_records_are_refused():
    with pytest.raises(DataError, match="holds too few controls for shape 'pd83'"):
        world("S1", task=gaussian_task(n=1000))


def test_another_shape_works():
    made = world("S3", shape=parse_shape(" ".join(["40:20/10:5"] * 12), name="twelve"))
    assert len(made.sites) == 12
    assert {made.roles[at] for at in np.flatnonzero(made.harmful)} <= set(FAULTS)
