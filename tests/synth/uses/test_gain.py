"""The same model gains nothing, a better one gains, a worse one harms, and the C-index is the usual one."""

import numpy as np
import pytest
from lifelines.utils import concordance_index

from cohortium.errors import DataError
from cohortium.synth.uses.gain import Judge, joined_rows
from cohortium.synth.validation.utility import baseline_matrix


@pytest.fixture(scope="module")
def judge(world):
    return Judge(world.reserve, 0)


@pytest.fixture(scope="module")
def risk(world):
    return world.generator.log_risk(world.state, world.reserve)


def test_scores_are_the_c_index_and_equal_models_do_not_differ(world, judge, risk):
    found = judge.compared([risk], [risk])
    oracle = concordance_index(world.reserve["os_years"], -risk, world.reserve["died"])
    assert found.without == pytest.approx(oracle, abs=0.002)  # ties in time are counted a little differently
    assert (found.difference, found.low, found.high, found.verdict) == (0.0, 0.0, 0.0, "no gain")


def test_a_better_model_gains_and_a_worse_one_harms(judge, risk):
    noise = np.random.default_rng(0).normal(size=len(risk))
    assert judge.compared([noise], [risk]).verdict == "gain"
    worse = judge.compared([risk], [noise])
    assert worse.verdict == "harm"
    assert worse.low < worse.difference < worse.high < 0
    assert worse.document()["interval"] == [worse.low, worse.high]


def test_several_models_are_averaged(judge, risk):
    both = judge.compared([risk], [risk, -risk])
    assert both.with_ == pytest.approx(0.5, abs=1e-6)


def test_nobody_to_compare_is_told(world, risk):
    quiet = world.reserve.with_columns({"died": np.zeros(len(world.reserve))})
    with pytest.raises(DataError, match="can be compared"):
        Judge(quiet, 0).compared([risk], [risk])


def test_tables_are_put_one_after_another(world):
    both = joined_rows(world.reserve, world.training)
    assert len(both) == len(world.reserve) + len(world.training)
    assert (both["age"][: len(world.reserve)] == world.reserve["age"]).all()


def test_columns_of_huge_numbers_are_judged_as_well(world, judge, risk):
    huge = world.training.with_columns({"ferritin": 1e6 * world.training["ferritin"]})
    fill = baseline_matrix(huge)[2]
    found = Judge(world.reserve.with_columns({"ferritin": 1e6 * world.reserve["ferritin"]}), 0).risk(huge, fill=fill)
    plain = judge.risk(world.training, fill=baseline_matrix(world.training)[2])
    assert np.corrcoef(found, plain)[0, 1] > 0.99
