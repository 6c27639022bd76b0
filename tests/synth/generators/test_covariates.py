"""What hazards are told: curves on a number's own scale, and products of flags that stand together."""

import numpy as np
import pytest

from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.covariates import MAX_PAIRS, Curve
from cohortium.synth.generators.outcome import covariates_of
from cohortium.synth.rows import Rows

FACTS = Facts(
    columns=(
        Fact(name="a", kind="flag", group="gene", levels=("0", "1")),
        Fact(name="b", kind="flag", group="gene", levels=("0", "1")),
        Fact(name="c", kind="flag", group="gene", levels=("0", "1")),
        Fact(name="blasts", kind="numeric"),
        Fact(name="years", kind="time", group="outcome", low=0.0),
        Fact(name="died", kind="event", group="outcome", levels=("0", "1")),
    )
)
LEARNER = BayesianNetwork(facts=FACTS)


def patients(*, interaction=0.0, slope=0.0, n=6000, seed=0):
    """b follows a; c excludes a; blasts in halves, many of them shared; the hazard has a and b, and log(1 + blasts)."""
    rng = np.random.default_rng(seed)
    a = rng.random(n) < 0.2
    b = rng.random(n) < np.where(a, 0.5, 0.1)
    c = ~a & (rng.random(n) < 0.3)
    blasts = np.round(np.clip(np.exp(1.25 + 0.62 * rng.normal(size=n)) - 1, 0, 19.5) * 2) / 2
    eta = 0.5 * a + 0.4 * b + interaction * (a & b) + slope * (np.log1p(blasts) - 1.4)
    death, end = rng.exponential(5 / np.exp(eta)), rng.uniform(1, 12, n)
    columns = {"a": a, "b": b, "c": c, "blasts": blasts, "years": np.maximum(np.minimum(death, end), 0.01)}
    columns["died"] = death <= end
    return Rows(FACTS, {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()})


@pytest.fixture(scope="module")
def linked():
    rows = patients(interaction=0.9, slope=0.5)
    return rows, fit_by_sums(LEARNER, [rows])


def contrast(state):
    """Log hazard of both flags less that of each alone."""
    grid = {
        "a": [0, 1, 0, 1],
        "b": [0, 0, 1, 1],
        "c": [0] * 4,
        "blasts": [2.0] * 4,
        "years": [1.0] * 4,
        "died": [0] * 4,
    }
    neither, one, other, both = LEARNER.log_risk(state, Rows(FACTS, {k: np.array(v, float) for k, v in grid.items()}))
    return both - one - other + neither


def test_an_interaction_of_linked_flags_is_found_and_none_where_there_is_none(linked):
    assert contrast(linked[1]) == pytest.approx(0.9, abs=0.3)
    assert contrast(fit_by_sums(LEARNER, [patients()])) == pytest.approx(0.0, abs=0.3)


def test_only_flags_that_stand_together_have_a_product(linked):
    held = covariates_of(LEARNER.coding(linked[1]), linked[1])
    names = [tuple(held.coding.variables[held.level_of[int(at)][0]][0] for at in pair) for pair in held.pairs]
    assert names == [("a", "b")]
    assert len(names) <= MAX_PAIRS


def test_a_product_is_one_for_those_who_have_both(linked):
    rows, state = linked
    coding = LEARNER.coding(state)
    x = covariates_of(coding, state).rows(coding.codes(rows), coding.scores(rows))
    assert np.array_equal(x[:, -1], (rows["a"] * rows["b"]).astype(np.int64))


def test_the_curve_of_a_skewed_number_is_its_logarithm_shared_values_and_all(linked):
    rows, state = linked
    coding = LEARNER.coding(state)
    assert len(coding.spikes["blasts"])
    held = covariates_of(coding, state)
    x = held.rows(coding.codes(rows), coding.scores(rows))[:, held.design.width] * 2.0**-12
    assert np.corrcoef(x, np.log1p(rows["blasts"]))[0, 1] > 0.999
    slope = np.polyfit(np.log1p(rows["blasts"]), LEARNER.log_risk(state, rows), 1)[0]
    assert slope == pytest.approx(0.5, abs=0.12)


def test_every_partition_gives_the_same_covariates_and_hazards(linked):
    rows, state = linked
    parts = [rows.take(np.arange(len(rows)) % 3 == k) for k in range(3)]
    assert fit_by_sums(LEARNER, parts).digest == state.digest


def test_a_missing_number_is_in_the_middle():
    curve = Curve(np.array([-1.0, 1.0]), np.array([-4096.0, 4096.0]), np.array([-8192.0]))
    states = np.array([0, 0, 1, 2])  # two with a score, one on the shared value, one missing
    assert curve.at(np.array([-1.0, 0.5, np.nan, np.nan]), states, rest=1).tolist() == [-4096, 2048, -8192, 0]
