"""`mlp`: learns, obeys, refuses; light to construct."""

import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import importlib.util  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

from cohortium.core.seams import Learner, StackedLearner  # noqa: E402
from cohortium.core.update import Instructions  # noqa: E402
from cohortium.errors import InvariantBroken, StudyError, TrainingFailed  # noqa: E402
from cohortium.models.mlp import MLP  # noqa: E402

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parent / "networks.py")
networks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)
rows = networks.rows


def rng(seed=0):
    return np.random.default_rng(seed)


def trained(learner, examples, epochs=40, **asked):
    start = learner.initial(examples.layout, rng=rng())
    return learner.fit(start, examples, instructions=Instructions(local_epochs=epochs, **asked), rng=rng(1))


def test_binary_outcome_is_learned_and_predicted_as_probability():
    learner, unseen = MLP(), rows(300, seed=9)
    p = learner.predict(trained(learner, rows(200)).parameters, unseen)
    assert p.shape == (300,)
    assert ((p >= 0) & (p <= 1)).all()
    assert np.mean((p > 0.5) == unseen.y) > 0.85


def test_classes_are_learned_and_predicted_as_shares_of_one():
    learner, unseen = MLP(), rows(300, outcome="classes", seed=9)
    p = learner.predict(trained(learner, rows(300, outcome="classes")).parameters, unseen)
    assert p.shape == (300, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert np.mean(p.argmax(axis=1) == unseen.y) > 0.75


def test_a_number_is_learned():
    learner, unseen = MLP(learning_rate=0.02), rows(300, outcome="number", seed=9)
    found = learner.predict(trained(learner, rows(300, outcome="number")).parameters, unseen)
    assert np.mean((found - unseen.y) ** 2) < 0.3 * np.var(unseen.y)


@pytest.mark.parametrize("outcome", ["survival", "count"])
def test_an_outcome_it_cannot_learn_is_refused_with_a_sentence(outcome):
    layout = replace(rows(3).layout, outcome=outcome)
    with pytest.raises(StudyError, match=f"learns outcomes of kind binary, classes, number; the study's is {outcome}"):
        MLP().initial(layout, rng=rng())


def test_the_same_streams_give_the_same_bits_and_others_do_not():
    learner, examples = MLP(dropout=0.2), rows(60)
    first, again = trained(learner, examples, 3), trained(learner, examples, 3)
    assert first.parameters == again.parameters
    start = learner.initial(examples.layout, rng=rng())
    other = learner.fit(start, examples, instructions=Instructions(local_epochs=3), rng=rng(2))
    assert other.parameters != first.parameters


def test_start_is_not_changed_and_no_step_gives_it_back_with_its_loss():
    learner, examples = MLP(), rows(60)
    start = learner.initial(examples.layout, rng=rng())
    before = start.digest
    done = learner.fit(start, examples, instructions=Instructions(max_steps=0), rng=rng())
    assert done.parameters == start
    assert (done.steps, start.vector().size > 0, start.digest) == (0, True, before)
    p = learner.predict(start, examples)
    wanted = -np.mean(examples.y * np.log(p) + (1 - examples.y) * np.log(1 - p))
    assert done.loss == pytest.approx(wanted, rel=1e-6)


def test_steps_and_rate_are_told():
    done = trained(MLP(batch_size=16), rows(60), 3)
    assert (done.steps, done.learning_rate, done.n_samples) == (12, 0.05, 60)
    assert trained(MLP(optimiser="adam"), rows(60), 1).learning_rate == 0.0
    assert trained(MLP(), rows(60), 9, max_steps=5, learning_rate_factor=0.5).steps == 5
    assert trained(MLP(), rows(60), 1, learning_rate_factor=0.5).learning_rate == 0.025


def test_plain_sgd_asked_of_another_optimiser_is_refused_alone_and_stacked():
    learner, examples = MLP(optimiser="adam"), rows(20)
    start, asked = learner.initial(examples.layout, rng=rng()), Instructions(plain_sgd=True)
    with pytest.raises(StudyError, match="model 'mlp' uses adam, but the strategy needs plain SGD"):
        learner.fit(start, examples, instructions=asked, rng=rng())
    with pytest.raises(StudyError, match="plain SGD"):
        learner.fit_many([start], [examples], instructions=[asked], rngs=[rng()])


def test_a_missing_value_or_no_outcome_ends_the_training_with_a_sentence():
    learner, examples = MLP(), rows(20)
    start = learner.initial(examples.layout, rng=rng())
    x = examples.x.copy()
    x[3, 2] = np.nan
    with pytest.raises(TrainingFailed, match="1 of 120 feature values are missing"):
        learner.fit(start, replace(examples, x=x), instructions=Instructions(), rng=rng())
    with pytest.raises(TrainingFailed, match="no training row has a known outcome"):
        learner.fit(start, replace(examples, y=np.full(20, np.nan)), instructions=Instructions(), rng=rng())
    with pytest.raises(TrainingFailed, match="hold no outcome"):
        learner.fit(start, replace(examples, y=None), instructions=Instructions(), rng=rng())


def test_rows_without_an_outcome_are_left_out():
    learner, examples = MLP(), rows(20)
    y = examples.y.copy()
    y[:5] = np.nan
    assert trained(learner, replace(examples, y=y), 1).n_samples == 15


def test_it_fits_both_seams_and_names_its_head():
    learner: Learner = MLP(layers=(8,))
    assert isinstance(learner, StackedLearner)
    start = learner.initial(rows(2).layout, rng=rng())
    assert set(learner.parts(start)["head"]) <= set(start)
    assert learner.finished(start) is False
    with pytest.raises(InvariantBroken, match="learns by weights"):
        learner.advance(start, start)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": (0,)}, r"layers must be whole numbers of at least 1, got \[0\]"),
        ({"layers": (2.5,)}, "layers"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"optimiser": "lion"}, "optimiser must be one of sgd, momentum, adam"),
        ({"l2": -1.0}, "l2"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options, said):
    with pytest.raises(ValueError, match=said):
        MLP(**options)


def modules_after(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_constructing_it_loads_no_torch():
    program = "import sys\nfrom cohortium.models.mlp import MLP\nMLP(dropout=.1)\nprint(*sys.modules)"
    assert "torch" not in modules_after(program)


def test_training_alone_and_stacked_loads_no_compiler():
    program = f"""
import importlib.util, sys, numpy as np
spec = importlib.util.spec_from_file_location("networks", {str(Path(__file__).parent / "networks.py")!r})
networks = importlib.util.module_from_spec(spec); spec.loader.exec_module(networks)
from cohortium.core.update import Instructions
from cohortium.models.mlp import MLP
for optimiser in ("sgd", "momentum", "adam"):
    learner, site = MLP(optimiser=optimiser, dropout=.1), networks.rows(20)
    start, rng = learner.initial(site.layout, rng=np.random.default_rng(0)), np.random.default_rng(1)
    done = learner.fit(start, site, instructions=Instructions(), rng=rng)
    learner.fit_many([start] * 2, [site] * 2, instructions=[Instructions()] * 2, rngs=rng.spawn(2))
    learner.predict(done.parameters, site)
print(*sys.modules)
"""
    loaded = modules_after(program)
    assert "torch" in loaded
    assert not loaded & {"torch._dynamo", "torch._inductor", "sklearn", "pandas", "sympy.core"}
