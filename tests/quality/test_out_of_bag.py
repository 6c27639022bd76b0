"""The default detector end to end on arrays: who is found, who is kept, what is said."""

import numpy as np
import pytest

import cohortium as co
from cohortium.errors import DataError, UsageError
from cohortium.quality.out_of_bag import OutOfBag
from cohortium.quality.repairs import LabelPolarity

LIBRARY = (LabelPolarity(),)


@pytest.fixture(scope="module")
def found(kit):
    return OutOfBag().run(kit.flipped(kit.consortium(), "b", "f"), seed=3, repairs=LIBRARY)


def test_reversed_sites_are_named_with_their_repair_and_nobody_else(found):
    assert found.status == "decided"
    assert found.left_out == ("b", "f")
    assert {name: v.kind for name, v in found.sites.items() if v.kind != "keep"} == {"b": "repair", "f": "repair"}
    assert found.sites["b"].repair == "label-polarity"
    assert found.sites["b"].channel == "reversed"
    assert found.sites["b"].reason.startswith("labels look reversed: the model of the other 12 sites contradicts")


def test_with_nothing_wrong_nobody_is_convicted_in_ten_seeds(kit):
    for seed in range(10):
        result = OutOfBag().run(kit.consortium(seed), seed=seed, repairs=LIBRARY)
        assert result.left_out == ()
        assert not any(v.repair for v in result.sites.values())


def test_pairs_of_arrays_are_taken_like_examples_and_the_order_of_sites_does_not_matter(found, kit):
    sites = kit.flipped(kit.consortium(), "b", "f")
    pairs = {name: (np.asarray(one.x), one.y) for name, one in reversed(sites.items())}
    assert OutOfBag().run(pairs, seed=3, repairs=LIBRARY).table.digest == found.table.digest


def test_records_are_ranked_and_shown_with_a_look_alike_only_where_they_are(found):
    records = found.records("b")
    assert len(records) == 35
    assert [r.suspicion for r in records] == sorted((r.suspicion for r in records), reverse=True)
    assert all(r.look_alike != r.row for r in records)
    assert {r.row for r in records} == set(range(35))
    assert found.suspicion("b").max() == records[0].suspicion
    with pytest.raises(UsageError, match="unknown site 'porto'"):
        found.records("porto")


def test_a_single_wrong_record_in_a_sound_site_stands_first(kit):
    sites = kit.consortium(strength=5.0)
    y = np.array(sites["a"].y)
    y[7] = 1 - y[7]
    sites["a"] = type(sites["a"])(layout=sites["a"].layout, x=sites["a"].x, y=y)
    result = OutOfBag().run(sites, seed=0, repairs=LIBRARY)
    assert result.sites["a"].kind == "keep"
    assert result.records("a")[0].row == 7
    assert result.flagged["a"] >= 1


def test_the_cost_is_counted(found):
    assert found.cost.model_transfers == 13 * found.cost.exchanges
    assert 1 < found.cost.training_steps_ratio < 5.6


def test_small_sites_are_judged_by_themselves_only(found):
    assert found.sites["m"].reason.startswith("too few records to judge: fewer than 5")
    assert "m" not in found.flagged
    assert 0 <= found.posterior("m") <= 1


def test_what_cannot_be_audited_is_refused_in_one_sentence(kit):
    few = dict(list(kit.consortium().items())[:5])
    with pytest.raises(UsageError, match="needs at least 6 sites, got 5; use 'agreement'"):
        OutOfBag().run(few, repairs=LIBRARY)
    with pytest.raises(UsageError, match="unknown probe 'forest'; available: logistic"):
        OutOfBag().run(kit.consortium(), probe="forest", repairs=LIBRARY)
    with pytest.raises(DataError, match="outcome of 0 and 1"):
        OutOfBag().run({name: (one.x, one.y + 1) for name, one in kit.consortium().items()}, repairs=LIBRARY)
    for wrong in ({"halves": 5}, {"passes": 0}, {"convict": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            OutOfBag(**wrong)


def test_it_is_registered_and_public():
    assert co.quality.OutOfBag is OutOfBag
    assert co.quality.DETECTORS.resolve("out-of-bag") is OutOfBag
    assert OutOfBag.needs == "scores"
