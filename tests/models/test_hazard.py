"""Piecewise-exponential regression: known answers, one patient's own gradient, private training."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivateSteps
from cohortium.core.update import Instructions
from cohortium.errors import DataError, InvariantBroken
from cohortium.models.hazard import Hazard
from cohortium.reports.survival_measures import c_index

LAYOUT = Layout(features=("a", "b"), outcome="survival", resolution=30.0, horizon=9000.0)
YEAR = 365.25


def patients(n, seed=0, *, effect=(0.9, -0.6)):
    """Exponential times whose log hazard is effect'x - 1 per year, censored after four years at the latest."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    dies = rng.exponential(1 / np.exp(x @ np.array(effect) - 1.0)) * YEAR
    leaves = rng.uniform(0.5, 4, n) * YEAR
    event = (dies <= leaves).astype(np.int8)
    return Examples(layout=LAYOUT, x=x, time=np.minimum(dies, leaves), event=event)


def trained(model, rows, *, epochs=400, start=None, **asked):
    start = model.initial(LAYOUT, rng=np.random.default_rng(0)) if start is None else start
    instructions = Instructions(local_epochs=epochs, **asked)
    return model.fit(start, rows, instructions=instructions, rng=np.random.default_rng(1))


def test_without_columns_the_hazard_is_events_over_years():
    rows = patients(400, effect=(0.0, 0.0))
    rows = replace(rows, x=np.zeros((400, 2)))
    found = trained(Hazard(learning_rate=1.0), rows, epochs=600).parameters["baseline"]
    edges = np.array([0, 182.625, 365.25, 730.5, 1461.0, np.inf])
    for low, high, log_hazard in zip(edges, edges[1:], found, strict=False):
        years = np.clip(np.minimum(rows.time, high) - low, 0, None).sum() / YEAR
        events = int(((rows.time > low) & (rows.time <= high) & (rows.event == 1)).sum())
        if years and events >= 5:
            assert np.exp(log_hazard) == pytest.approx(events / years, rel=0.02)


def test_log_hazard_ratios_are_found():
    found = trained(Hazard(), patients(4000)).parameters["coefficients"]
    assert found == pytest.approx([0.9, -0.6], abs=0.08)


def test_slopes_equal_numerical_derivatives_of_one_patients_loss():
    rows = replace(patients(8, seed=3), entry=np.array([0.0, 90, 200, 0, 0, 10, 0, 0]))
    rows = replace(rows, time=rows.time + 250)
    gradients = Hazard().patient_gradients(LAYOUT)
    weights = {"coefficients": np.array([0.3, -0.2]), "baseline": np.linspace(-1.5, -0.5, 5)}
    for at in range(8):
        one = rows.take(np.array([at]))
        found = gradients.clipped(weights, one, norm=np.inf, chance=None)
        for name, size in (("coefficients", 2), ("baseline", 5)):
            for k in range(size):
                step = 1e-6 * np.eye(size)[k]
                moved = [{**weights, name: weights[name] + sign * step} for sign in (1, -1)]
                slope = (gradients.loss(moved[0], one) - gradients.loss(moved[1], one)) / 2e-6
                assert found.sums[name][k] == pytest.approx(slope, abs=1e-6)


def test_clipped_sums_equal_a_loop_over_patients():
    rows, gradients = patients(30), Hazard().patient_gradients(LAYOUT)
    weights = {"coefficients": np.array([0.3, -0.2]), "baseline": np.full(5, -1.0)}
    alone = [gradients.clipped(weights, rows.take(np.array([at])), norm=np.inf, chance=None).sums for at in range(30)]
    lengths = [np.sqrt(sum((g**2).sum() for g in one.values())) for one in alone]
    found = gradients.clipped(weights, rows, norm=0.5, chance=None)
    for name in weights:
        expected = sum(one[name] * min(1.0, 0.5 / length) for one, length in zip(alone, lengths, strict=True))
        assert np.allclose(found.sums[name], expected, rtol=0, atol=1e-12)
    assert found.n_whole == sum(length <= 0.5 for length in lengths)


def test_late_entry_counts_from_entry_and_other_causes_are_censored():
    gradients = replace(Hazard(), cause=2).patient_gradients(LAYOUT)
    rows = replace(patients(2), time=np.array([400.0, 400.0]), entry=np.array([0.0, 365.25]),
                   event=np.array([2, 1], dtype=np.int8))  # fmt: skip
    at_risk, events = gradients._cells(rows)
    assert at_risk.sum(axis=1) * YEAR == pytest.approx([400.0, 34.75])
    assert events.sum(axis=1).tolist() == [1.0, 0.0]
    assert events[0, 2] == 1.0


def test_private_training_orders_patients_nearly_as_well():
    entropy = lambda n: hashlib.shake_256(b"hazard").digest(n)  # noqa: E731
    steps = PrivateSteps(sample_rate=0.2, steps=100, clipping_norm=1.0, noise_multiplier=1.5, entropy=entropy)
    rows, test = patients(800), patients(600, seed=9)
    model = Hazard(learning_rate=1.0)
    start = model.initial(LAYOUT, rng=np.random.default_rng(0))
    found = model.fit(start, rows, instructions=Instructions(private=steps), rng=np.random.default_rng(0))
    plain = trained(model, rows)
    scores = [c_index(test.time, test.event == 1, model.predict(one.parameters, test)) for one in (found, plain)]
    assert scores[1] > 0.68
    assert scores[0] > scores[1] - 0.02


def test_instructions_are_obeyed():
    rows = patients(40)
    model = Hazard(batch_size=16, l2=0.1)
    found = trained(model, rows, epochs=5, max_steps=4)
    assert found.steps == 4
    assert found.loss == pytest.approx(trained(model, rows, epochs=1).loss)
    start = Parameters({"coefficients": np.array([1.0, 1.0]), "baseline": np.zeros(5)})
    frozen = trained(model, rows, epochs=1, start=start, frozen=("baseline",)).parameters
    assert frozen["baseline"].tolist() == [0.0] * 5
    pulled = trained(model, rows, epochs=1, start=start, proximal=1e-9, max_steps=0).parameters
    assert pulled == start


def test_what_it_cannot_learn_is_refused():
    with pytest.raises(DataError, match="'hazard' needs an outcome of kind survival"):
        Hazard().initial(Layout(features=("a",), outcome="binary"), rng=None)
    with pytest.raises(InvariantBroken, match="learns by weights"):
        Hazard().advance(Parameters(), Parameters())
    assert not Hazard().finished(Parameters())
    assert Hazard().parts(Parameters()) == {"head": ("baseline",)}


@pytest.mark.parametrize(
    ("option", "value"),
    [("cuts", (0.0, 1.0)), ("cuts", (5.0, 5.0)), ("start_hazard", 0.0), ("l2", -1.0), ("cause", 0), ("batch_size", -1)],
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(ValueError, match=option):
        Hazard(**{option: value})
