"""Gaps are filled from what is known of a patient: closed forms where there are any, and no known cell is touched."""

import numpy as np
import pytest

from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.rows import Rows


def _hidden(rows, names, where):
    return rows.with_columns({name: np.where(where, np.nan, rows[name]) for name in names})


def test_every_gap_is_filled_and_no_known_cell_is_touched(world):
    filled = world.generator.impute(world.state, world.reserve, rng=np.random.default_rng(0))
    for name in world.facts.names:
        known = ~np.isnan(world.reserve[name])
        assert (filled[name][known] == world.reserve[name][known]).all()
        assert not np.isnan(filled[name]).any(), name
    assert set(np.unique(filled["TP53"])) <= {0.0, 1.0}
    assert filled["ferritin"].min() > 0


def test_two_numbers_follow_their_regression():
    """x and y with correlation 0.8: y given x is normal with mean 0.8 x and sd 0.6."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=4000)
    y = 0.8 * x + 0.6 * rng.normal(size=4000)
    facts = Facts(columns=(Fact(name="x", kind="numeric"), Fact(name="y", kind="numeric")))
    rows = Rows(facts, {"x": x, "y": y})
    learner = BayesianNetwork(facts=facts)
    state = fit_by_sums(learner, [rows])
    for hidden, other in (("x", "y"), ("y", "x")):
        filled = learner.impute(state, _hidden(rows, [hidden], np.ones(4000, dtype=bool)), rng=rng)
        left = filled[hidden] - 0.8 * rows[other]
        assert np.corrcoef(filled[hidden], rows[other])[0, 1] == pytest.approx(0.8, abs=0.02)
        assert left.mean() == pytest.approx(0.0, abs=0.03)
        assert left.std() == pytest.approx(0.6, abs=0.03)


def test_a_flag_follows_bayes_rule_in_a_number():
    """A flag of 30 % moves a normal number by two standard deviations: the odds given the number are known."""
    rng = np.random.default_rng(2)
    flag = (rng.random(6000) < 0.3).astype(float)
    number = 2.0 * flag + rng.normal(size=6000)
    facts = Facts(columns=(Fact(name="f", kind="flag"), Fact(name="v", kind="numeric")))
    rows = Rows(facts, {"f": flag, "v": number})
    learner = BayesianNetwork(facts=facts)
    state = fit_by_sums(learner, [rows])
    filled = learner.impute(state, _hidden(rows, ["f"], np.ones(6000, dtype=bool)), rng=rng)
    p = 1 / (1 + (0.7 / 0.3) * np.exp(2.0 - 2.0 * number))
    for low, high in ((0.0, 0.1), (0.3, 0.7), (0.9, 1.0)):
        band = (p >= low) & (p <= high)
        assert filled["f"][band].mean() == pytest.approx(p[band].mean(), abs=0.06)


@pytest.mark.parametrize("second", ["flag", "number"])
def test_cells_that_settle_each_other_are_drawn_together(second):
    """A mutation of 30 % and the share of its reads, 0 exactly where there is none: hidden both, their odds given a
    number are those of the mutation alone, and no filled patient has one without the other."""
    rng = np.random.default_rng(6)
    mutated = (rng.random(6000) < 0.3).astype(float)
    reads = mutated if second == "flag" else np.where(mutated > 0, rng.uniform(0.05, 0.9, 6000), 0.0)
    number = 2.0 * mutated + rng.normal(size=6000)
    facts = Facts(columns=(Fact(name="f", kind="flag"), Fact(name="v", kind="numeric"),
                           Fact(name="r", kind="flag" if second == "flag" else "numeric")))  # fmt: skip
    rows = Rows(facts, {"f": mutated, "v": number, "r": reads})
    learner = BayesianNetwork(facts=facts)
    state = fit_by_sums(learner, [rows])
    filled = learner.impute(state, _hidden(rows, ["f", "r"], np.ones(6000, dtype=bool)), rng=rng)
    assert ((filled["f"] > 0) == (filled["r"] > 0)).mean() > 0.998
    p = 1 / (1 + (0.7 / 0.3) * np.exp(2.0 - 2.0 * number))
    for low, high in ((0.0, 0.1), (0.3, 0.7), (0.9, 1.0)):
        band = (p >= low) & (p <= high)
        assert filled["f"][band].mean() == pytest.approx(p[band].mean(), abs=0.1)  # scores are normal over all alone


def test_spikes_come_back_as_often_as_they_were(world):
    where = np.arange(len(world.reserve)) % 2 == 0
    gappy, rng = _hidden(world.reserve, ["ecog"], where), np.random.default_rng(3)
    drawn = np.concatenate([world.generator.impute(world.state, gappy, rng=rng)["ecog"][where] for _ in range(4)])
    assert set(np.unique(drawn)) <= {0.0, 1.0, 2.0, 3.0}
    assert drawn.mean() == pytest.approx(np.nanmean(world.reserve["ecog"][where]), abs=0.2)


def test_the_dead_are_given_the_values_they_had():
    """A number with a hazard ratio of e a unit: hidden and filled, its mean by outcome is the one it had."""
    rng = np.random.default_rng(4)
    v = rng.normal(size=4000)
    time = rng.exponential(size=4000) / np.exp(v)
    limit = rng.uniform(0.2, 4.0, 4000)
    facts = Facts(columns=(Fact(name="v", kind="numeric"), Fact(name="t", kind="time", group="outcome", low=0.0),
                           Fact(name="d", kind="event", group="outcome")))  # fmt: skip
    rows = Rows(facts, {"v": v, "t": np.minimum(time, limit), "d": (time <= limit).astype(float)})
    learner = BayesianNetwork(facts=facts)
    state = fit_by_sums(learner, [rows])
    filled = learner.impute(state, _hidden(rows, ["v"], np.ones(4000, dtype=bool)), rng=rng)
    early = (rows["d"] == 1) & (rows["t"] < 0.3)
    late = rows["t"] > 2.0
    assert v[early].mean() > 0.4
    assert filled["v"][early].mean() == pytest.approx(v[early].mean(), abs=0.12)
    assert filled["v"][late].mean() == pytest.approx(v[late].mean(), abs=0.15)


def test_nobody_and_an_unfinished_model_are_told_apart(world):
    nobody = world.generator.impute(world.state, world.reserve.take(np.zeros(0, int)), rng=np.random.default_rng(0))
    assert len(nobody) == 0
    with pytest.raises(Exception, match="not finished"):
        world.generator.impute(world.generator.initial(None, rng=None), world.reserve, rng=np.random.default_rng(0))


def test_log_hazards_of_a_chain_are_those_of_its_patients(world):
    """What every draw adds and takes, products and curves among it, is what the whole row comes to."""
    from cohortium.synth.generators.imputing import Imputer, _Chain
    from cohortium.synth.generators.outcome import covariates_of, hazards_of

    coding, state = world.generator.coding(world.state), world.state
    covariates = covariates_of(coding, state)
    assert len(covariates.pairs)
    model = Imputer(
        coding, world.generator.network(state), world.generator.tail(state), covariates,
        tuple(hazards_of(world.facts, state).values()),
    )  # fmt: skip
    rng = np.random.default_rng(5)
    gappy = world.reserve.with_columns(
        {name: np.where(rng.random(len(world.reserve)) < 0.3, np.nan, world.reserve[name])
         for name in world.facts.names if name not in ("os_years", "died")}
    )  # fmt: skip
    chain = _Chain(model, gappy, rng)
    for _ in range(3):
        chain.sweep()
    x = covariates.rows(chain.codes, np.where(chain.scored, chain.z, np.nan))
    b = np.stack([hazard.b for hazard in model.hazards])
    assert np.abs(chain.eta - (x * covariates.scale) @ b.T).max() < 0.01


def test_a_flag_that_nobody_ever_had_stays_empty():
    rng = np.random.default_rng(8)
    facts = Facts(columns=(Fact(name="f", kind="flag"), Fact(name="g", kind="flag")))
    rows = Rows(facts, {"f": (rng.random(500) < 0.3).astype(float), "g": np.full(500, np.nan)})
    learner = BayesianNetwork(facts=facts)
    state = fit_by_sums(learner, [rows])
    filled = learner.impute(state, _hidden(rows, ["f"], np.arange(500) < 100), rng=rng)
    assert np.isnan(filled["g"]).all()
    assert not np.isnan(filled["f"]).any()


def test_a_rare_pair_that_settles_each_other_is_found_by_what_it_causes():
    """Two flags of 1 % that are one, and a third that 95 % of them have and a thousandth of all others: of those who
    have it .95 x .01 / (.95 x .01 + .001 x .99) = .906 have the pair. One draw in a hundred finds it."""
    rng = np.random.default_rng(9)
    a = rng.random(40_000) < 0.01
    c = rng.random(40_000) < np.where(a, 0.95, 0.001)
    facts = Facts(columns=tuple(Fact(name=name, kind="flag") for name in "cab"))
    rows = Rows(facts, {"c": c.astype(float), "a": a.astype(float), "b": a.astype(float)})
    learner = BayesianNetwork(facts=facts)
    state = fit_by_sums(learner, [rows])
    have = rows.take(np.flatnonzero(c))
    filled = learner.impute(state, _hidden(have, ["a", "b"], np.ones(len(have), dtype=bool)), rng=rng)
    assert (filled["a"] == filled["b"]).mean() > 0.99
    assert filled["a"].mean() == pytest.approx(0.906, abs=0.05)
