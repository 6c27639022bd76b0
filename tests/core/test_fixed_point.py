"""Bit-exact arithmetic: known answers, bounds, and the same bits under other vector units and BLAS kernels."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cohortium.core import fixed_point as fp
from cohortium.errors import TrainingFailed

SOURCE = Path(fp.__file__).parents[1]

# What may not appear where bits decide: these names differ between vector units or BLAS kernels.
INEXACT = frozenset(
    """exp exp2 expm1 log log2 log10 log1p power float_power pow tanh sinh cosh sin cos tan arctan arctan2 cbrt
    logaddexp hypot dot vdot inner outer matmul tensordot einsum norm linalg torch scipy convolve correlate
    var std average cov corrcoef nansum nanmean prod cumprod interp polyfit""".split()  # noqa: SIM905 - a list to read
)
ALLOWED_PRODUCTS = {("core/fixed_point.py", "integer_dot")}
SITE_HALVES = {"conclude", "instruct"}  # of strategies: what a site computes before it commits to it
LEADER_HALVES = {  # of preparations and statistics: what every node repeats
    "moments.py": {"moments"},
    "presence.py": {"advance"},
    "scaling.py": {"_advance"},
    "filling.py": {"advance", "_reach"},
    "combat.py": {"_scale", "_slopes", "_noise"},
    "statistics.py": {"advance", "_first_state", "_coarse", "_fine"},
}


def inexact_names(source: str, *, path: str) -> list[str]:
    """Uses of numpy or math functions whose last bits depend on the machine, and of `@` and `**`."""
    found: list[str] = []

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef):
            function = node.name
            if path.startswith("strategies/") and function in SITE_HALVES:
                return
            if path.startswith("data/") and function not in LEADER_HALVES[Path(path).name]:
                return
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("np", "math"):
            if node.attr in INEXACT:
                found.append(f"{path}:{node.lineno} {node.value.id}.{node.attr}")
        elif isinstance(node, ast.Attribute) and node.attr in ("dot", "var", "std", "prod"):
            found.append(f"{path}:{node.lineno} .{node.attr}")
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
            if (path, function) not in ALLOWED_PRODUCTS:
                found.append(f"{path}:{node.lineno} @")
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not isinstance(node.left, ast.Constant):
            found.append(f"{path}:{node.lineno} **")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
            if module.split(".")[0] in ("scipy", "torch") or module.startswith("numpy.linalg"):
                found.append(f"{path}:{node.lineno} import {module}")
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(ast.parse(source), "")
    return found


def exact_files() -> list[Path]:
    named = [SOURCE / "core" / name for name in ("fixed_point.py", "wide_sums.py", "exact.py")]
    return [*named, *sorted((SOURCE / "strategies").glob("*.py")), *(SOURCE / "data" / name for name in LEADER_HALVES)]


# Integers


def test_rounding_goes_to_the_nearest_multiple_and_ties_to_even():
    assert fp.to_fixed([0.5, 1.5, 2.5, -0.5, -1.5, 0.49], 0).tolist() == [0, 2, 2, 0, -2, 0]
    assert fp.to_fixed(0.3, 4).item() == 5
    assert fp.from_fixed([5, -8], 4).tolist() == [0.3125, -0.5]


def test_negative_bits_round_large_values_to_coarse_steps():
    assert fp.to_fixed([1e30, -3e30], -70).tolist() == [round(1e30 / 2**70), round(-3e30 / 2**70)]


@given(hnp.arrays(np.float64, st.integers(0, 30), elements=st.floats(-1e6, 1e6)), st.randoms())
def test_sums_of_rounded_terms_do_not_depend_on_order_or_partition(values, random):
    whole = fp.to_fixed(values, 20).sum()
    order = list(range(len(values)))
    random.shuffle(order)
    cut = random.randint(0, len(values))
    parts = [fp.to_fixed(values[order[:cut]], 20).sum(), fp.to_fixed(values[order[cut:]], 20).sum()]
    assert sum(int(part) for part in parts) == int(whole)


@given(st.floats(-(2.0**40), 2.0**40))
def test_a_rounded_value_is_within_half_a_step(value):
    assert abs(Fraction(int(fp.to_fixed(value, 20)), 2**20) - Fraction(value)) <= Fraction(1, 2**21)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name_and_count_only(bad):
    with pytest.raises(TrainingFailed, match=r"^gradient: 1 of 2 values are not finite$") as caught:
        fp.to_fixed([1.0, bad], 20, what="gradient")
    assert caught.value.code == "not_finite"


def test_the_last_value_that_fits_is_taken_and_the_next_refused():
    assert fp.to_fixed(np.nextafter(2.0**42, 0), 20).item() < 2**62
    with pytest.raises(TrainingFailed, match="at 20 fractional bits does not fit into 62 bits") as caught:
        fp.to_fixed(2.0**42, 20)
    assert caught.value.code == "overflow"


def test_a_total_is_checked_before_it_overflows():
    fp.check_total(2.0**40, 2**21)
    with pytest.raises(TrainingFailed, match="hessian: 4194304 terms"):
        fp.check_total(2.0**40, 2**22, what="hessian")


@given(st.integers(0, 4), st.integers(1, 6), st.integers(1, 5), st.sampled_from([8, 20, 26, 28]), st.randoms())
def test_integer_products_equal_python_integers_on_both_paths(n, k, m, bits, random):
    def draw(*shape):
        size = int(np.prod(shape))
        return np.array([random.randint(-(2**bits), 2**bits) for _ in range(size)], dtype=np.int64).reshape(shape)

    a, b = draw(n, k), draw(k, m)
    expected = [[sum(int(x) * int(y) for x, y in zip(row, column, strict=True)) for column in b.T] for row in a]
    assert fp.integer_dot(a, b).tolist() == expected
    assert fp.integer_dot(a, b).dtype == np.int64


def test_integer_product_that_may_overflow_is_refused():
    a = np.full((1, 4), 2**30, dtype=np.int64)
    with pytest.raises(TrainingFailed, match=r"eta: totals may reach 2\^63, the limit is 2\^62"):
        fp.integer_dot(a, a.T, what="eta")
    with pytest.raises(TrainingFailed, match="Hessian"):
        fp.weighted_gram(np.array([[2**40]]), np.array([2**22]))


def test_most_negative_integer_does_not_slip_through_the_bound():
    with pytest.raises(TrainingFailed):
        fp.integer_dot(np.array([[-(2**63)]]), np.array([[1]]))


def test_weighted_gram_is_the_sum_of_outer_products():
    x, w = np.array([[1, 2], [3, -4], [0, 5]]), np.array([2, 1, 10])
    expected = sum(w[i] * np.outer(x[i], x[i]) for i in range(3))
    assert fp.weighted_gram(x, w).tolist() == expected.tolist()


# Functions

GRID = np.concatenate(
    [
        np.linspace(-745, 709.7, 4001),
        np.linspace(-1, 1, 2001),
        10.0 ** np.arange(-300, 3),
        -(10.0 ** np.arange(-300, 3)),
    ]
)


def ulps(got, exact) -> float:
    """Largest distance in units of the last place of the exact value."""
    distances = [
        abs(Decimal(float(v)) - e) / Decimal(np.spacing(abs(float(e)))) for v, e in zip(got, exact, strict=True)
    ]
    return float(max(distances))


@pytest.fixture(autouse=True)
def _many_digits():
    with localcontext() as context:
        context.prec = 60
        yield


def test_exp_is_within_one_unit_in_the_last_place():
    x = GRID[::3]
    assert ulps(fp.exp(x), [Decimal(v).exp() for v in x.tolist()]) < 1


def test_log_is_within_one_unit_in_the_last_place():
    x = np.concatenate([10.0 ** np.linspace(-323, 308, 800), np.linspace(0.4, 2.5, 700), 1 + 2.0 ** -np.arange(1, 53)])
    x = x[x != 1.0]
    assert ulps(fp.log(x), [Decimal(v).ln() for v in x.tolist()]) < 1


def test_composed_functions_are_within_three_units_in_the_last_place():
    x = np.concatenate([np.linspace(-36, 36, 401), np.linspace(-0.9, 0.9, 201)])
    exact = [Decimal(v) for v in x.tolist()]
    assert ulps(fp.sigmoid(x), [1 / (1 + (-v).exp()) for v in exact]) < 3
    assert ulps(fp.log1p_exp(x), [(1 + v.exp()).ln() for v in exact]) < 3
    near = np.concatenate([10.0 ** np.linspace(-30, 10, 300), -(10.0 ** np.linspace(-30, -0.01, 300))])
    assert ulps(fp.log1p(near), [(1 + Decimal(v)).ln() for v in near.tolist()]) < 2


def test_functions_have_the_usual_edges_and_no_warning():
    inf, nan = np.inf, np.nan
    assert fp.exp([-inf, -746.0, 0.0, 710.0, inf]).tolist() == [0, 0, 1, inf, inf]
    assert fp.log([0.0, 1.0, inf]).tolist() == [-inf, 0, inf]
    assert np.isnan(fp.log([-1.0, nan])).all()
    assert np.isnan(fp.exp(nan))
    assert fp.log(5e-324) == np.log(5e-324)
    assert fp.log1p([-1.0, 0.0, 1e-300, inf]).tolist() == [-inf, 0, 1e-300, inf]
    assert np.isnan(fp.log1p([-2.0, nan])).all()
    assert fp.sigmoid([-inf, -800.0, 0.0, 800.0]).tolist() == [0, 0, 0.5, 1]
    assert fp.log1p_exp([-800.0, 800.0]).tolist() == [0, 800]


def test_functions_keep_shape_and_accept_scalars_and_strided_views():
    x = np.linspace(-3, 3, 24).reshape(4, 6)[:, ::2]
    for function in (fp.exp, fp.sigmoid, fp.log1p_exp, fp.log1p):
        x_used = np.abs(x) if function is fp.log1p else x
        assert function(x_used).shape == (4, 3)
        assert np.array_equal(function(x_used), function(np.ascontiguousarray(x_used)))
        assert function(0.25).shape == ()
    assert fp.log(np.zeros(0)).shape == (0,)


@given(st.floats(-50, 50))
def test_sigmoid_of_both_signs_adds_up_to_one(x):
    assert float(fp.sigmoid(x) + fp.sigmoid(-x)) == pytest.approx(1, abs=2.3e-16)


# Sums and linear systems


@given(hnp.arrays(np.float64, st.integers(0, 40), elements=st.floats(-1e9, 1e9)))
def test_ordered_sum_is_close_to_the_exact_sum_and_blind_to_layout(values):
    exact = float(sum((Fraction(v) for v in values.tolist()), Fraction(0)))
    assert float(fp.ordered_sum(values)) == pytest.approx(exact, rel=1e-12, abs=1e-4)
    table = np.stack([values, -values, values], axis=1)
    assert np.array_equal(fp.ordered_sum(table), fp.ordered_sum(np.asfortranarray(table)))
    assert np.array_equal(fp.ordered_sum(table.T, axis=1), fp.ordered_sum(table))
    assert float(fp.ordered_sum(table)[0]) == float(fp.ordered_sum(values))


def test_cumulative_sums_count_from_either_end():
    values = np.array([[1, 10], [2, 20], [3, 30]])
    assert fp.cumulative(values).tolist() == [[1, 10], [3, 30], [6, 60]]
    assert fp.cumulative_from_end(values).tolist() == [[6, 60], [5, 50], [3, 30]]
    assert fp.cumulative_from_end(values).dtype == np.int64


def test_matvec_by_hand():
    assert fp.matvec(np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]]), np.array([1.0, 10.0, 100.0])).tolist() == [321, 390]


def test_cholesky_by_hand():
    assert fp.cholesky(np.array([[4.0, 99.0], [2.0, 10.0]])).tolist() == [[2.0, 0.0], [1.0, 3.0]]


@pytest.mark.parametrize("p", [1, 2, 17, 128, 129, 300])
def test_solutions_agree_with_lapack(p):
    rng = np.random.default_rng(p)
    root = rng.normal(size=(p, p + 3))
    a, b = root @ root.T, rng.normal(size=(p, 2))
    assert np.allclose(fp.cholesky(a), np.linalg.cholesky(a), rtol=0, atol=1e-10 * np.sqrt(p))
    x = fp.solve_spd(a, b)
    assert np.abs(a @ x - b).max() < 1e-8
    assert np.array_equal(fp.solve_spd(a, b[:, 0]), x[:, 0])
    inverse = fp.inverse_spd(a)
    assert np.array_equal(inverse, inverse.T)
    assert np.abs(a @ inverse - np.eye(p)).max() < 1e-7


def test_tiles_do_not_change_a_bit(monkeypatch):
    rng = np.random.default_rng(5)
    root = rng.normal(size=(70, 75))
    whole = fp.cholesky(root @ root.T)
    monkeypatch.setattr(fp, "_TILE", 16)
    assert np.array_equal(fp.cholesky(root @ root.T), whole)


def test_a_matrix_that_is_not_positive_definite_is_refused_with_its_pivot():
    with pytest.raises(fp.NotPositiveDefinite, match="pivot 2 of 2"):
        fp.solve_spd(np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones(2))
    with pytest.raises(fp.NotPositiveDefinite, match="pivot 1 of 1"):
        fp.cholesky(np.array([[np.nan]]))


@pytest.mark.slow
def test_two_thousand_unknowns_are_solved_in_seconds():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(2000, 2000))
    a = root @ root.T + np.eye(2000)
    x = fp.solve_spd(a, np.ones(2000))
    assert np.abs(a @ x - 1).max() < 1e-7


# The same bits everywhere

PROGRAM = """
import hashlib, numpy as np
from cohortium.core import fixed_point as fp, wide_sums as ws
rng = np.random.default_rng(7)
x = rng.uniform(-30, 30, 5003)
spread = np.ldexp(x, rng.integers(-60, 60, 5003))
a = fp.to_fixed(rng.uniform(-3, 3, (211, 67)), 12)
w = fp.to_fixed(rng.uniform(size=211), 10)
gram = fp.weighted_gram(a, w)
spd = fp.from_fixed(gram, 34) + np.eye(67)
parts = [fp.exp(x), fp.log(np.abs(x)), fp.log1p(np.abs(x)), fp.sigmoid(x), fp.log1p_exp(x), fp.ordered_sum(spread),
         fp.cumulative(spread), fp.cumulative_from_end(spread), gram, fp.integer_dot(a << 24, a.T[:, :9]),
         fp.solve_spd(spd, spd[:, 0] + 1.0), fp.cholesky(spd), fp.matvec(spd, spd[0]),
         ws.wide_sums(spread[:, None]), ws.wide_mean(ws.wide_sums(spread[:, None]), np.array([5003]))]
digest = hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()
b = rng.uniform(-3, 3, (300, 200))
loose = hashlib.sha256(np.exp(x).tobytes() + np.log(np.abs(x)).tobytes() + (b @ b.T).tobytes()).hexdigest()
print(digest, loose)
"""
GOLDEN = "260b250bcbc3b4610f6df72ede91a3072744d8527985e49313212c4c095f137b"
MACHINES = {
    "as it is": {},
    "no AVX-512": {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR AVX512F AVX512_SKX AVX512_CLX AVX512_CNL"},
    "no AVX2": {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR AVX2 FMA3 AVX512F AVX512_SKX"},
    "old BLAS": {"OPENBLAS_CORETYPE": "Nehalem"},
}


def digests_under(settings: dict[str, str]) -> tuple[str, str]:
    """(digest of our arithmetic, digest of numpy's exp, log and @) in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent), "PYTHONWARNINGS": "ignore", **settings}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    exact, loose = done.stdout.split()
    return exact, loose


def test_every_vector_unit_and_blas_kernel_gives_the_golden_bits():
    found = {name: digests_under(settings) for name, settings in MACHINES.items()}
    assert {name: exact for name, (exact, _) in found.items()} == dict.fromkeys(MACHINES, GOLDEN)
    if len({loose for _, loose in found.values()}) == 1:
        pytest.skip("this processor has only one vector unit, so numpy's own functions could not differ")


def test_files_that_decide_a_merge_use_only_exact_operations():
    found = [
        hit
        for path in exact_files()
        for hit in inexact_names(path.read_text(), path=path.relative_to(SOURCE).as_posix())
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "np.exp(x)",
        "np.log(x)",
        "x @ y",
        "np.linalg.norm(x)",
        "x.dot(y)",
        "x ** 0.5",
        "math.exp(1)",
        "import torch",
        "import scipy.stats",
    ],
)
def test_the_lint_catches(line):
    assert inexact_names(line, path="strategies/new.py")


@pytest.mark.parametrize("line", ["np.sqrt(x)", "2.0**54 * x", "np.add(x, y)", "np.median(x)", "fp.exp(x)"])
def test_the_lint_lets_pass(line):
    assert inexact_names(line, path="strategies/new.py") == []


def test_only_the_half_that_every_node_repeats_is_bound():
    site = "class New:\n    def conclude(self):\n        return np.exp(1)\n"
    assert inexact_names(site, path="strategies/new.py") == []
    assert inexact_names(site.replace("conclude", "merge"), path="strategies/new.py")
    assert inexact_names("def _expected():\n    return a @ b", path="data/filling.py") == []
    assert inexact_names("class X:\n    def advance(self):\n        return a @ b", path="data/filling.py")


def test_every_leader_half_that_is_looked_at_exists():
    for name, functions in LEADER_HALVES.items():
        tree = ast.parse((SOURCE / "data" / name).read_text())
        assert functions <= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_product_in_integer_dot_is_allowed_nowhere_else():
    inside = "def integer_dot(a, b):\n    return a @ b"
    assert inexact_names(inside, path="core/fixed_point.py") == []
    assert inexact_names(inside, path="core/exact.py")
    assert inexact_names("def other(a, b):\n    return a @ b", path="core/fixed_point.py")
