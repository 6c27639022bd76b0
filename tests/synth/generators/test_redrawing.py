"""Parameters drawn anew scatter as an estimate from so many patients does."""

import numpy as np

from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.redrawing import redrawn
from cohortium.synth.rows import Rows

FACTS = Facts(
    columns=(Fact(name="flag", kind="flag", levels=("0", "1")), Fact(name="x", kind="numeric"),
             Fact(name="years", kind="time", group="outcome", low=0.0),
             Fact(name="died", kind="event", group="outcome", levels=("0", "1")))
)  # fmt: skip
N = 900
LEARNER = BayesianNetwork(facts=FACTS)


def fitted():
    rng = np.random.default_rng(0)
    flag = (rng.random(N) < 0.3).astype(np.float64)
    death, end = rng.exponential(4 / np.exp(0.8 * flag)), rng.uniform(1, 9, N)
    columns = {"flag": flag, "x": rng.normal(size=N) + 0.5 * flag, "years": np.minimum(death, end) + 0.01}
    return fit_by_sums(LEARNER, [Rows(FACTS, {**columns, "died": (death <= end).astype(np.float64)})])


def test_the_scatter_is_that_of_an_estimate_and_its_centre_the_fit():
    state = fitted()
    drawn = [redrawn(LEARNER, state, rng=np.random.default_rng(seed)) for seed in range(40)]
    share = np.array([one["counts/0"][1, 0] / N for one in drawn])
    assert abs(share.mean() - state["counts/0"][1, 0] / N) < 0.01
    assert 0.7 < share.std() / np.sqrt(0.3 * 0.7 / N) < 1.3
    onto = np.array([one["tail/coefficients"][0, 1] for one in drawn])
    assert 0.7 < onto.std() / (1.0 / np.sqrt(N * 0.21)) < 1.3
    hazard = np.array([one["hazard/event/b"][1] for one in drawn])
    events = int(state["table/years event/counts"].sum())
    assert 0.6 < hazard.std() / (1.0 / np.sqrt(events * 0.21)) < 1.4
    assert abs(hazard.mean() - state["hazard/event/b"][1]) < 0.05


def test_graph_and_published_tables_stay():
    state = fitted()
    again = redrawn(LEARNER, state, rng=np.random.default_rng(1))
    assert set(again) == set(state)
    for name in ("families", "table/x/counts", "curve/x", "hazard pairs"):
        assert np.array_equal(again[name], state[name])
    assert LEARNER.finished(again)
