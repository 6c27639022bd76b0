import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.update import Instructions
from cohortium.models.descent import Descent, check_descent, descend

ONE = Descent(outcome="binary", l2=0.0, learning_rate=0.5, batch_size=0)


def start(p=4, k=None):
    shape = (p,) if k is None else (k, p)
    return Parameters({"coefficients": np.full(shape, 0.25), "intercept": np.zeros(k or 1)})


def train(descent, examples, asked=None, begin=None, seed=0):
    begin = begin or start(examples.x.shape[1])
    asked = asked or Instructions()
    return descend(descent, [begin], [examples], instructions=[asked], rngs=[np.random.default_rng(seed)])[0]


def gradient(examples, w, b):
    p = 1 / (1 + np.exp(-(examples.x @ w + b)))
    return examples.x.T @ (p - examples.y) / len(p), np.mean(p - examples.y)


def test_one_full_step_is_the_gradient_step_by_hand(kit):
    examples = kit.binary(80)
    done = train(Descent(outcome="binary", l2=0.1, learning_rate=0.5, batch_size=0), examples)
    w = np.full(4, 0.25)
    slope, rise = gradient(examples, w, 0.0)
    assert np.allclose(done.parameters["coefficients"], w - 0.5 * (slope + 0.1 * w), atol=1e-15)
    assert np.allclose(done.parameters["intercept"], -0.5 * rise, atol=1e-15)
    assert (done.n_samples, done.steps, done.learning_rate) == (80, 1, 0.5)


def test_loss_is_that_of_the_start_before_any_step(kit):
    examples = kit.binary(80)
    p = 1 / (1 + np.exp(-(examples.x @ np.full(4, 0.25))))
    expected = -np.mean(np.log(np.where(examples.y == 1, p, 1 - p)))
    assert train(ONE, examples).loss == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("kind", ["binary", "counts", "numbers", "classes"])
def test_every_outcome_descends(kit, kind):
    examples = getattr(kit, kind)(120)
    outcome = examples.layout.outcome
    rate = 0.02 if outcome == "count" else 0.2
    descent = Descent(outcome=outcome, l2=0.01, learning_rate=rate, batch_size=0)
    begin = start(4, 3 if outcome == "classes" else None)
    first = train(descent, examples, Instructions(local_epochs=30), begin)
    later = train(descent, examples, begin=first.parameters)
    assert later.loss < first.loss
    assert first.parameters.like(begin)


def test_epochs_batches_and_max_steps_are_counted(kit):
    examples = kit.binary(50)
    small = Descent(outcome="binary", l2=0.0, learning_rate=0.1, batch_size=8)
    assert train(small, examples, Instructions(local_epochs=2)).steps == 14
    assert train(small, examples, Instructions(local_epochs=2, max_steps=9)).steps == 9
    assert train(ONE, examples, Instructions(local_epochs=3)).steps == 3


def test_proximal_term_pulls_towards_the_anchor(kit):
    examples, anchor = kit.binary(50), start().map(np.zeros_like)
    free = train(ONE, examples, Instructions(local_epochs=50))
    near = train(ONE, examples, Instructions(local_epochs=50, proximal=1.9, anchor=anchor))
    assert np.linalg.norm(near.parameters.vector()) < 0.5 * np.linalg.norm(free.parameters.vector())
    stay = train(ONE, examples, Instructions(local_epochs=50, proximal=1.9))
    assert np.linalg.norm(stay.parameters.vector() - start().vector()) < np.linalg.norm(
        free.parameters.vector() - start().vector()
    )


def test_correction_is_added_to_every_gradient(kit):
    examples = kit.binary(50)
    correction = Parameters({"coefficients": np.arange(4.0), "intercept": np.array([2.0])})
    plain = train(ONE, examples).parameters.vector()
    corrected = train(ONE, examples, Instructions(correction=correction, plain_sgd=True)).parameters.vector()
    assert np.allclose(corrected - plain, -0.5 * correction.vector(), atol=1e-15)


def test_rate_factor_and_frozen_arrays_are_obeyed(kit):
    examples = kit.binary(50)
    half = train(ONE, examples, Instructions(learning_rate_factor=0.5))
    assert half.learning_rate == 0.25
    moved, whole = (
        half.parameters.vector() - start().vector(),
        train(ONE, examples).parameters.vector() - start().vector(),
    )
    assert np.allclose(2 * moved, whole, atol=1e-15)
    for name in ("coefficients", "intercept"):
        done = train(ONE, examples, Instructions(frozen=(name,)))
        assert np.array_equal(done.parameters[name], start()[name])
        assert not np.array_equal(done.parameters.vector(), start().vector())


def test_many_sites_at_once_give_what_each_gives_alone(kit):
    sites = kit.split(kit.binary(200), 6)
    descent = Descent(outcome="binary", l2=0.01, learning_rate=0.3, batch_size=7)
    asked = [Instructions(local_epochs=1 + k % 2, proximal=0.1 * k) for k in range(6)]
    starts = [start().map(lambda a, k=k: a + k) for k in range(6)]
    rngs = [np.random.default_rng(k) for k in range(6)]
    stacked = descend(descent, starts, sites, instructions=asked, rngs=rngs)
    for k in range(6):
        alone = train(descent, sites[k], asked[k], starts[k], seed=k)
        assert np.allclose(alone.parameters.vector(), stacked[k].parameters.vector(), rtol=0, atol=1e-14)
        assert (alone.steps, alone.n_samples) == (stacked[k].steps, stacked[k].n_samples)
        assert alone.loss == pytest.approx(stacked[k].loss, abs=1e-14)


def test_a_site_without_rows_returns_its_start(kit):
    empty = kit.binary(10).take(np.zeros(0, dtype=int))
    done = train(ONE, empty)
    assert (done.steps, done.n_samples) == (0, 0)
    assert np.array_equal(done.parameters.vector(), start().vector())
    assert np.isnan(done.loss)


def test_options_are_checked():
    check_descent(learn="sums", learning_rate=0.1, batch_size=0)
    with pytest.raises(ValueError, match="learning_rate must be positive and finite, got inf"):
        check_descent(learn="sums", learning_rate=float("inf"), batch_size=0)
