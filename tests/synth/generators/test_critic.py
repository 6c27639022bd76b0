"""The critic's hand-written gradients are those torch's tape finds, penalty included."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from cohortium.synth.generators.critic import PENALTY, SLOPE, Critic  # noqa: E402

CRITIC = Critic(7, 16, 4, 0.0)


@pytest.fixture
def held():
    weights = CRITIC.initial(np.random.default_rng(0))
    return {name: torch.from_numpy(np.array(weights[name])).double().requires_grad_() for name in CRITIC.names}


class Halves:
    """A stream that mixes every pair half and half."""

    def random(self, size, dtype):
        return np.full(size, 0.5, dtype)


def judged(held, x):
    h = torch.nn.functional.leaky_relu(x @ held["critic.0.weight"].t() + held["critic.0.bias"], SLOPE)
    h = torch.nn.functional.leaky_relu(h @ held["critic.1.weight"].t() + held["critic.1.bias"], SLOPE)
    return h @ held["critic.2.weight"].t() + held["critic.2.bias"]


def pairs():
    rng = np.random.default_rng(1)
    return (torch.from_numpy(rng.normal(size=(12, 7))) for _ in range(2))


def test_the_gradient_of_loss_and_penalty_is_that_of_the_tape(held):
    real, fake = pairs()
    a, b = (one.reshape(-1, 28) for one in (real, fake))
    middle = (0.5 * a + 0.5 * b).requires_grad_()
    slope = torch.autograd.grad(judged(held, middle).sum(), middle, create_graph=True)[0]
    penalty = PENALTY * ((slope.norm(dim=1) - 1) ** 2).mean()
    wanted = judged(held, b).mean() - judged(held, a).mean() + penalty
    by_tape = torch.autograd.grad(wanted, list(held.values()), allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        loss, by_hand = CRITIC.gradients(held, real, fake, Halves())
    assert loss == pytest.approx(float(wanted.detach()), rel=1e-6)
    for name, ours, theirs in zip(CRITIC.names, by_hand, by_tape, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=1e-5, err_msg=name)


def test_the_penalty_alone_is_that_of_the_tape(held):
    middle = next(pairs()).reshape(-1, 28).requires_grad_()
    slope = torch.autograd.grad(judged(held, middle).sum(), middle, create_graph=True)[0]
    wanted = PENALTY * ((slope.norm(dim=1) - 1) ** 2).mean()
    by_tape = torch.autograd.grad(wanted, list(held.values()), allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        loss, by_hand = CRITIC.penalty(held, middle.detach(), Halves())
    assert loss == pytest.approx(float(wanted.detach()), rel=1e-6)
    for name, ours, theirs in zip(CRITIC.names, by_hand, by_tape, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=1e-5, err_msg=name)


def test_inputs_and_slopes_of_the_layers_make_the_gradient_of_the_judgements(held):
    shown = next(pairs()).reshape(-1, 28)
    by_tape = torch.autograd.grad(-judged(held, shown).sum(), list(held.values()))
    with torch.no_grad():
        inputs, slopes = CRITIC.passed(held, shown, -1.0, Halves())
    by_hand = [one for a, g in zip(inputs, slopes, strict=True) for one in (g.t() @ a, g.sum(0))]
    for ours, theirs in zip(by_hand, by_tape, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_what_the_generator_is_told_is_the_gradient_by_its_patients(held):
    fake = next(pairs()).requires_grad_()
    wanted = -judged(held, fake.reshape(-1, 28)).mean()
    by_tape = torch.autograd.grad(wanted, fake)[0]
    with torch.no_grad():
        loss, by_hand = CRITIC.towards_real(held, fake.detach(), Halves())
    assert loss == pytest.approx(float(wanted.detach()), rel=1e-6)
    np.testing.assert_allclose(by_hand, by_tape, atol=1e-9)


def test_dropout_silences_half_and_doubles_the_rest():
    critic = Critic(7, 200, 4, 0.5)
    weights = critic.initial(np.random.default_rng(0))
    held = {name: torch.from_numpy(np.array(weights[name])) for name in critic.names}
    real = torch.from_numpy(np.random.default_rng(1).normal(size=(12, 7)).astype(np.float32))
    told = [critic.towards_real(held, real, np.random.default_rng(seed))[1] for seed in range(400)]
    still = Critic(7, 200, 4, 0.0).towards_real(held, real, np.random.default_rng(0))[1]
    assert not torch.equal(told[0], told[1])
    assert float((torch.stack(told).mean(dim=0) - still).norm() / still.norm()) < 0.5
