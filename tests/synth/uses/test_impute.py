"""Hidden cells are found again better than by the median, as well as by regressions, and covered as often as said."""

import numpy as np
import pytest

from cohortium.errors import UsageError
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.rows import Rows
from cohortium.synth.uses.impute import fill, hide, judge_imputation


def _related(n, seed):
    """Two numbers with correlation 0.9 and a flag that goes with them; the best error there can be is 0.436."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = 0.9 * x + np.sqrt(1 - 0.81) * rng.normal(size=n)
    flag = (rng.random(n) < 1 / (1 + np.exp(-2 * x))).astype(float)
    facts = Facts(columns=(Fact(name="x", kind="numeric"), Fact(name="y", kind="numeric"), Fact(name="f", kind="flag")))
    return Rows(facts, {"x": x, "y": y, "f": flag})


@pytest.fixture(scope="module")
def judged():
    training, held_out = _related(1500, 0), _related(1500, 1)
    learner = BayesianNetwork(facts=training.facts)
    return judge_imputation(learner, fit_by_sums(learner, [training]), training, held_out, sets=39, seed=0)


def test_numbers_come_near_the_best_there_can_be(judged):
    assert judged.mean_error("generator") == pytest.approx(0.47, abs=0.06)  # a tenth has lost the other number too
    assert judged.mean_error("median") == pytest.approx(1.0, abs=0.1)
    assert judged.mean_error("generator") < judged.mean_error("chained") + 0.02


def test_named_columns_are_right_more_often_than_the_most_frequent_level(judged):
    assert judged.mean_right("generator") > judged.mean_right("median") + 0.1
    assert judged.mean_right("generator") > judged.mean_right("chained") - 0.05


def test_the_range_of_m_draws_covers_what_it_should(judged):
    assert judged.nominal == pytest.approx(0.95)
    assert judged.coverage == pytest.approx(0.95, abs=0.035)
    assert judged.document()["coverage"]["cells"] == sum(judged.cells.values())


def test_draws_that_are_too_sure_do_not_cover(judged):
    class Sure:
        def impute(self, state, rows, *, rng):
            return rows.with_columns({name: np.nan_to_num(rows[name]) for name in rows})

    training, held_out = _related(300, 0), _related(600, 1)
    found = judge_imputation(Sure(), None, training, held_out, sets=39, seed=0)
    assert found.coverage < 0.1
    assert found.mean_error("generator") == pytest.approx(1.0, abs=0.1)


def test_a_tenth_is_hidden_and_the_outcome_is_not(world):
    gappy, hidden = hide(world.training, share=0.1, rng=np.random.default_rng(0))
    assert set(hidden) == set(world.facts.names) - {"os_years", "died"}
    assert hidden["age"].mean() == pytest.approx(0.1, abs=0.03)
    assert np.isnan(gappy["age"]).sum() == hidden["age"].sum()
    assert (gappy["died"] == world.training["died"]).all()


def test_what_cannot_fill_or_cannot_be_judged_is_refused(world):
    with pytest.raises(UsageError, match='learn one with generator = "bn" or "vae_bgm"'):
        fill(object(), world.state, world.reserve, sets=2, rng=np.random.default_rng(0))
    with pytest.raises(UsageError, match="sets must be at least 1"):
        fill(world.generator, world.state, world.reserve, sets=0, rng=np.random.default_rng(0))
    with pytest.raises(UsageError, match="at least 3 sets"):
        judge_imputation(world.generator, world.state, world.training, world.reserve, sets=2, seed=0)
    with pytest.raises(UsageError, match="share of cells"):
        hide(world.training, share=0.0, rng=np.random.default_rng(0))
