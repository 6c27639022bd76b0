import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from cohortium.core.parameters import Parameters
from cohortium.synth.generators.design import Design
from cohortium.synth.generators.hazard import MAX_STEPS, Hazard, hazard_sums, started
from cohortium.synth.generators.normal_scores import Scores, coarse_counts, fine_counts, fine_grid, step_counts

DESIGN = Design(sizes=(2,), reference=(0,), n_scores=1)


def table(values):
    whole = step_counts(values)
    grid = fine_grid(coarse_counts(values), whole, low=0.0, high=None)
    return Scores.joined(grid, fine_counts(values, grid), whole=whole, min_cell=5)


def patients(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    codes, z = rng.integers(0, 2, (n, 1)), rng.normal(size=(n, 1))
    time = rng.exponential(1 / (0.2 * np.exp(0.7 * codes[:, 0] - 0.5 * z[:, 0])))
    censored = rng.uniform(0.5, 12, n)
    return DESIGN.rows(codes, z), np.minimum(time, censored), time <= censored


def fitted(x, time, died):
    point = started(table(time[died]), table(time), DESIGN)
    for _ in range(MAX_STEPS):
        point = point.advanced(hazard_sums(point, DESIGN, x, time, died))
        if point.converged:
            return point
    raise AssertionError("the fit did not converge")


def test_coefficients_are_those_of_cox_regression():
    x, time, died = patients()
    point = fitted(x, time, died)
    frame = pd.DataFrame({"a": x[:, 1], "z": x[:, 2] * DESIGN.scale[2], "t": time, "d": died})
    cox = CoxPHFitter().fit(frame, "t", "d").params_
    assert point.b[1] == pytest.approx(cox["a"], abs=0.03)
    assert point.b[2] == pytest.approx(cox["z"], abs=0.03)


def test_sums_of_sites_are_the_sums_of_all_patients():
    x, time, died = patients(n=600)
    point = started(table(time[died]), table(time), DESIGN)
    whole = hazard_sums(point, DESIGN, x, time, died)
    for cut in (1, 200, 599):
        parts = [hazard_sums(point, DESIGN, x[s], time[s], died[s]) for s in (slice(cut), slice(cut, None))]
        assert Parameters({name: parts[0][name] + parts[1][name] for name in whole}).digest == whole.digest


def test_drawn_times_have_the_survival_of_the_model():
    point = Hazard(np.array([0.0, 2.0]), np.log([0.5, 0.1]), np.zeros(DESIGN.width))
    drawn = point.sample(
        DESIGN.rows(np.zeros((50_000, 1), int), np.zeros((50_000, 1))), DESIGN, np.random.default_rng(0)
    )
    assert (drawn > 1.0).mean() == pytest.approx(np.exp(-0.5), abs=0.01)
    assert (drawn > 5.0).mean() == pytest.approx(np.exp(-1.0 - 0.3), abs=0.01)


def test_no_event_at_all_gives_a_small_hazard_and_no_crash():
    x, time, _ = patients(n=200)
    nobody = np.zeros(200, dtype=bool)
    point = started(table(time[nobody]), table(time), DESIGN)
    for _ in range(3):
        point = point.advanced(hazard_sums(point, DESIGN, x, time, nobody))
    assert np.isfinite(point.a).all()
    assert np.exp(point.a).max() < 0.01


def test_a_state_gives_the_point_back():
    x, time, died = patients(n=300)
    point = fitted(x, time, died)
    again = Hazard.from_parameters(point.to_parameters())
    assert np.array_equal(again.b, point.b)
    assert again.converged
