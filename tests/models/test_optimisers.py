"""Own optimisers against torch's."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from cohortium.models.optimisers import OptimiserPlan, fused_adam, update  # noqa: E402

ORACLES = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ORACLES)
def test_fifty_steps_equal_torchs_own(name):
    rng = np.random.default_rng(1)
    first = [rng.normal(size=shape).astype(np.float32) for shape in ((7, 3), (7,), ())]
    ours, theirs = ([torch.tensor(a) for a in first] for _ in range(2))
    oracle, plan = ORACLES[name](theirs), OptimiserPlan(name=name, learning_rate=0.05)
    moments = [[torch.zeros_like(p) for p in ours] for _ in range(plan.n_moments)]
    for step in range(1, 51):
        gradients = [torch.tensor(rng.normal(size=a.shape).astype(np.float32)) for a in first]
        for p, g in zip(theirs, gradients, strict=True):
            p.grad = g.clone()
        oracle.step()
        update(plan, ours, gradients, moments, step=step)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)


def test_adam_in_one_pass_is_adam():
    rng = np.random.default_rng(3)
    first = [rng.normal(size=shape).astype(np.float32) for shape in ((7, 3), (7,))]
    many, one = ([torch.tensor(a) for a in first] for _ in range(2))
    plan = OptimiserPlan(name="adam", learning_rate=0.05, beta_1=0.5, beta_2=0.9)
    moments = [[[torch.zeros_like(p) for p in many] for _ in range(2)] for _ in range(2)]
    for step in range(1, 31):
        gradients = [torch.tensor(rng.normal(size=a.shape).astype(np.float32)) for a in first]
        pulled = [g + 0.01 * p for g, p in zip(gradients, many, strict=True)]
        update(plan, many, pulled, moments[0], step=step)
        fused_adam(plan, one, gradients, moments[1], step=step, decay=0.01)
    for a, b in zip([*many, *moments[0][0]], [*one, *moments[1][0]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_factor_multiplies_the_rate():
    whole, half = torch.ones(3), torch.ones(3)
    update(OptimiserPlan(learning_rate=0.1), [whole], [torch.ones(3)], [], step=1)
    update(OptimiserPlan(learning_rate=0.2), [half], [torch.ones(3)], [], step=1, factor=0.5)
    assert torch.equal(whole, half)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "adamw"}, "optimiser must be one of sgd, momentum, adam, got 'adamw'"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(options, said):
    with pytest.raises(ValueError, match=said):
        OptimiserPlan(**options)
