"""Private training of whole learners: it learns, obeys its instructions, tells nothing else, and can be shared."""

import hashlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivateSteps
from cohortium.core.update import Instructions
from cohortium.errors import InvariantBroken, TrainingFailed
from cohortium.models.glm import Logistic
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.private_training import SharedSteps, fit_each, fit_privately, with_outcome

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parent / "networks.py")
networks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)

LOGISTIC = Logistic(learn="weights", learning_rate=1.0, l2=0.0)


def private(**changes):
    plain = {"sample_rate": 0.2, "steps": 50, "clipping_norm": 1.0, "noise_multiplier": 1.0}
    entropy = lambda n: hashlib.shake_256(b"private").digest(n)  # noqa: E731
    return Instructions(private=PrivateSteps(**{**plain, "entropy": entropy, **changes}))


def fit(model, rows, asked, start=None, seed=0):
    start = model.initial(rows.layout, rng=np.random.default_rng(1)) if start is None else start
    return model.fit(start, rows, instructions=asked, rng=np.random.default_rng(seed))


def accuracy(model, parameters, rows):
    return float(np.mean((model.predict(parameters, rows) > 0.5) == rows.y))


def test_a_private_logistic_model_learns():
    rows = networks.rows(600)
    found = fit(LOGISTIC, rows, private(steps=200))
    assert accuracy(LOGISTIC, found.parameters, networks.rows(400, seed=7)) > 0.88
    assert found.steps == 200
    assert found.n_samples == 600


@pytest.mark.parametrize("name", ["mlp", "cnn-small"])
def test_private_networks_learn(name):
    pytest.importorskip("torch", reason="torch is not installed")
    from cohortium.models.cnn_small import CNNSmall
    from cohortium.models.mlp import MLP

    if name == "mlp":
        model, rows, test = MLP(learning_rate=0.5), networks.rows(600), networks.rows(400, seed=7)
        found = fit(model, rows, private(steps=150, noise_multiplier=0.6))
    else:
        model = CNNSmall(learning_rate=0.003, shift=0.0, turn=0.0)
        rows, test = networks.images(200), networks.images(100, seed=7)
        found = fit(model, rows, private(steps=30, sample_rate=0.3, noise_multiplier=0.3))
    assert accuracy(model, found.parameters, test) > 0.8


def test_the_true_number_of_patients_and_the_loss_are_not_told():
    found = fit(LOGISTIC, networks.rows(87), private(steps=3))
    assert found.n_samples == 80
    assert np.isnan(found.loss)


def test_the_same_secret_gives_the_same_bits_and_another_another_model():
    rows = networks.rows(60)
    one = fit(LOGISTIC, rows, private(steps=5))
    other = fit(LOGISTIC, rows, private(steps=5, entropy=lambda n: bytes(n)))
    assert one.parameters == fit(LOGISTIC, rows, private(steps=5)).parameters
    assert one.parameters != other.parameters


def test_one_step_is_the_clipped_mean_with_noise_of_the_promised_size():
    """Over 300 secrets: mean of the steps = the clipped gradient, spread = sigma C / (q N)."""
    rows = networks.rows(100)
    start = LOGISTIC.initial(rows.layout, rng=np.random.default_rng(0))
    moved = []
    for seed in range(300):
        entropy = lambda n, seed=seed: hashlib.shake_256(f"{seed}".encode()).digest(n)  # noqa: E731
        asked = private(steps=1, sample_rate=1.0, noise_multiplier=2.0, entropy=entropy)
        moved.append(fit(LOGISTIC, rows, asked, start).parameters["coefficients"])
    gradients = LOGISTIC.patient_gradients(rows.layout)
    clean = gradients.clipped(dict(start), rows, norm=1.0, chance=None).sums["coefficients"] / 100
    wanted = 2.0 * 1.0 / 100
    assert np.std(np.array(moved) + clean) == pytest.approx(wanted, rel=0.05)
    assert np.abs(np.mean(moved, axis=0) + clean).max() < 4 * wanted / np.sqrt(300)


def test_decay_proximal_term_and_correction_come_after_the_noise():
    rows = networks.rows(60)
    start = Parameters({"coefficients": np.full(6, 2.0), "intercept": np.ones(1)})
    silent = {"steps": 1, "sample_rate": 1e-9}
    model = replace(LOGISTIC, learning_rate=0.1, l2=0.5)
    plain = fit(replace(model, l2=0.0), rows, private(**silent), start).parameters["coefficients"]
    decayed = fit(model, rows, private(**silent), start).parameters["coefficients"]
    assert np.allclose(plain - decayed, 0.1 * 0.5 * 2.0)
    anchored = replace(private(**silent), proximal=0.3, anchor=Parameters({n: a * 0 for n, a in start.items()}))
    drawn = fit(replace(model, l2=0.0), rows, anchored, start).parameters["coefficients"]
    assert np.allclose(plain - drawn, 0.1 * 0.3 * 2.0)
    correction = Parameters({"coefficients": np.full(6, 0.7), "intercept": np.zeros(1)})
    corrected = fit(replace(model, l2=0.0), rows, replace(private(**silent), correction=correction), start)
    assert np.allclose(plain - corrected.parameters["coefficients"], 0.1 * 0.7)


def test_frozen_arrays_stay():
    rows = networks.rows(60)
    found = fit(LOGISTIC, rows, replace(private(steps=4), frozen=("intercept",)))
    assert found.parameters["intercept"].tolist() == [0.0]
    assert found.parameters["coefficients"].any()


def test_rows_without_an_outcome_are_left_out_and_none_at_all_is_refused():
    rows = networks.rows(30)
    y = rows.y.copy()
    y[:12] = np.nan
    assert len(with_outcome(replace(rows, y=y))) == 18
    with pytest.raises(TrainingFailed, match="no training row has a known outcome"):
        with_outcome(replace(rows, y=np.full(30, np.nan)))


def test_private_trainings_of_many_sites_are_done_one_by_one():
    rows = [networks.rows(40), networks.rows(50)]
    starts = [LOGISTIC.initial(one.layout, rng=np.random.default_rng(1)) for one in rows]
    rngs = [np.random.default_rng(0) for _ in rows]
    asked = [private(steps=3)] * 2
    together = LOGISTIC.fit_many(starts, rows, instructions=asked, rngs=rngs)
    again = fit_each(LOGISTIC.fit, starts, rows, instructions=asked, rngs=rngs)
    assert [one.parameters for one in together] == [one.parameters for one in again]


def test_terms_are_never_forgotten():
    rows = networks.rows(20)
    start = LOGISTIC.initial(rows.layout, rng=np.random.default_rng(1))
    gradients = LOGISTIC.patient_gradients(rows.layout)
    with pytest.raises(InvariantBroken, match="without its terms"):
        fit_privately(gradients, start, rows, instructions=Instructions(), rng=np.random.default_rng(0))
    shared = SharedSteps(inner=LOGISTIC, plan=OptimiserPlan(), steps=2, sample_rate=0.1, clipping_norm=1.0)
    with pytest.raises(InvariantBroken, match="without its terms"):
        fit(shared, rows, Instructions())


@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adam"])
def test_shared_steps_of_one_site_are_the_steps_of_that_site(optimiser):
    """The same secrets in both modes: one local training of k steps = k exchanges."""
    pytest.importorskip("torch", reason="torch is not installed")
    from cohortium.models.mlp import MLP

    rows, model = networks.rows(80), MLP(layers=(4,), optimiser=optimiser, learning_rate=0.1, l2=0.05)
    shared = SharedSteps(inner=model, plan=model.plan, steps=1, sample_rate=0.2, clipping_norm=1.0)
    state = shared.initial(rows.layout, rng=np.random.default_rng(1))
    assert not shared.finished(state)
    state = shared.advance(state, fit(shared, rows, private(steps=1), state).parameters)
    assert shared.finished(state)
    local = fit(model, rows, private(steps=1))
    for name, array in local.parameters.items():
        assert np.allclose(state[f"model/{name}"], array, atol=1e-6)
    assert np.array_equal(shared.predict(state, rows), model.predict(state.under("model"), rows))


def test_shared_steps_of_three_sites_learn_what_one_alone_cannot():
    sites = [networks.rows(60, seed=seed) for seed in range(3)]
    shared = SharedSteps(
        inner=LOGISTIC, plan=OptimiserPlan(learning_rate=1.0), steps=60, sample_rate=0.3, clipping_norm=1.0
    )
    state = shared.initial(sites[0].layout, rng=np.random.default_rng(1))
    number = 0
    while not shared.finished(state):
        number += 1
        parts = []
        for at, rows in enumerate(sites):
            entropy = lambda n, key=(at, number): hashlib.shake_256(f"{key}".encode()).digest(n)  # noqa: E731
            asked = private(steps=1, sample_rate=0.3, noise_multiplier=0.7, entropy=entropy)
            parts.append(fit(shared, rows, asked, state).parameters)
        assert all(array.dtype == np.int64 for array in parts[0].values())
        total = Parameters({name: sum(one[name] for one in parts) for name in parts[0]})
        state = shared.advance(state, total)
    assert accuracy(shared, state, networks.rows(400, seed=9)) > 0.85
    assert shared.max_rounds == 60
