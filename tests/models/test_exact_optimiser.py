"""The optimiser of private steps: equal to torch's within rounding, and made of + - x / and roots alone."""

import ast
import inspect

import numpy as np
import pytest

from cohortium.models import exact_optimiser
from cohortium.models.exact_optimiser import power, step
from cohortium.models.optimisers import OptimiserPlan


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_equal_to_the_torch_rules_over_many_steps(name):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from cohortium.models.optimisers import update

    rng = np.random.default_rng(0)
    plan = OptimiserPlan(name=name, learning_rate=0.03)
    start = rng.normal(size=(4, 3))
    ours = {"w": start.copy()}
    moments = [{"w": np.zeros((4, 3))} for _ in range(plan.n_moments)]
    theirs = torch.from_numpy(start.copy())
    held = [[torch.zeros(4, 3, dtype=torch.float64)] for _ in range(plan.n_moments)]
    for number in range(1, 60):
        gradient = rng.normal(size=(4, 3))
        step(plan, ours, {"w": gradient.copy()}, moments, number=number, factor=0.5)
        update(plan, [theirs], [torch.from_numpy(gradient)], held, step=number, factor=0.5)
    assert np.allclose(ours["w"], theirs.numpy(), rtol=0, atol=1e-12)


def test_weights_keep_their_dtype_and_arrays_without_gradient_stay():
    weights = {"w": np.ones(3, dtype=np.float32), "fixed": np.ones(2)}
    step(OptimiserPlan(learning_rate=0.5), weights, {"w": np.full(3, 0.25)}, [], number=1)
    assert weights["w"].dtype == np.float32
    assert weights["w"].tolist() == [0.875] * 3
    assert weights["fixed"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("exponent", [1, 2, 3, 10, 1000])
def test_powers_by_squaring(exponent):
    assert power(0.999, exponent) == pytest.approx(0.999**exponent, rel=1e-12)


def test_no_operation_that_differs_between_machines():
    tree = ast.parse(inspect.getsource(exact_optimiser))
    assert not any(isinstance(node, ast.Pow | ast.MatMult) for node in ast.walk(tree))
    called = {n.func.attr for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
    assert called <= {"sqrt", "items", "multiply", "subtract"}
