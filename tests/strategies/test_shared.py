"""Shared suite of the seam `Strategy`: what every registered one must do, whoever leads and whoever is missing.

A linear model in float64 is trained by plain gradient steps at five sites; the loop below is the protocol: updates
are summed exactly, rules by sums get the sum alone, memory is committed only when a merge lists the site.
"""

import ast
import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

import cohortium.core.exact
import cohortium.strategies
from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Turn
from cohortium.errors import InvariantBroken
from cohortium.strategies import STRATEGIES

SITES = ("bonn", "kiel", "lund", "oslo", "porto")
ROWS = {"bonn": 12, "kiel": 40, "lund": 7, "oslo": 25, "porto": 31}
RATE = 0.05
BY_WEIGHTS = [name for name in STRATEGIES if STRATEGIES.resolve(name).learns_by == "weights"]
BY_SUMS = [name for name in BY_WEIGHTS if STRATEGIES.resolve(name).sums]
ROUNDS = 7


def build(name, **options):
    made = STRATEGIES.resolve(name)
    if "private" in {f.name for f in fields(made)}:
        options.setdefault("private", ("b",))
    if "f" in {f.name for f in fields(made)}:
        options.setdefault("f", 0)  # five sites, of which some miss rounds, tolerate no liar
    return made(**options)


def cohort(site):
    rng = np.random.default_rng([*site.encode()])
    x = rng.normal(size=(ROWS[site], 3)) + rng.normal(size=3)
    return x, x @ np.array([1.0, -2.0, 0.5]) + rng.normal(size=ROWS[site]) + len(site)


COHORTS = {site: cohort(site) for site in SITES}
START = Parameters({"w": np.zeros(3), "b": np.zeros(1)})


def gradient(parameters, x, y):
    left = x @ parameters["w"] + parameters["b"] - y
    return {"w": x.T @ left / len(y), "b": np.array([left.mean()])}


def train(shared, site, asked):
    """Plain gradient steps as a learner takes them: obeys every instruction. Batches of 10 rows in order."""
    x, y = COHORTS[site]
    first = asked.start if asked.start is not None else shared
    anchor = asked.anchor if asked.anchor is not None else shared
    held, steps = {name: np.array(a) for name, a in first.items()}, 0
    batches = [slice(at, at + 10) for at in range(0, len(y), 10)] * asked.local_epochs
    for batch in batches[: asked.max_steps]:
        g = gradient(held, x[batch], y[batch])
        for name in held:
            g[name] = g[name] + asked.proximal * (held[name] - anchor[name])
            if asked.correction is not None:
                g[name] = g[name] + asked.correction[name]
            held[name] = held[name] - RATE * asked.learning_rate_factor * g[name]
        steps += 1
    loss = float(np.mean((x @ first["w"] + first["b"] - y) ** 2) / 2)
    return Fitted(
        parameters=Parameters(held),
        n_samples=len(y),
        steps=steps,
        learning_rate=RATE * asked.learning_rate_factor,
        loss=loss,
    )


def learn(name, *, order=SITES, absent=(), reveal=False, rounds=ROUNDS, sites=SITES, **options):
    """(model, state, memories) after some rounds; absent: (round, site) pairs whose update never arrives.

    Every merge is made by a fresh strategy object from copied arrays, as a new leader would.
    """
    model, memory = START, {site: Parameters() for site in sites}
    state = build(name, **options).init(model)
    for number in range(rounds):
        updates = []
        for site in order:
            if site not in sites or (number, site) in absent:
                continue
            turn = Turn(
                round=number, sites=sites, start=model, state=state, site=site, memory=memory[site], draw=11,
                n_samples=ROWS[site],
            )  # fmt: skip
            strategy = build(name, **options)
            fitted = tuple(train(model, site, asked) for asked in strategy.instruct(turn))
            updates.append(strategy.conclude(turn, fitted))
        leader = build(name, **options)
        whole = weighted_sum(updates)
        if leader.sums and not reveal:
            whole = replace(whole, single=None)
        turn = Turn(round=number, sites=sites, start=Parameters(dict(model)), state=Parameters(dict(state)), draw=11)
        model, state = leader.merge(turn, whole)
        for update in updates:
            memory[update.site] = update.memory
    return model, state, memory


@pytest.mark.parametrize("name", BY_WEIGHTS)
def test_every_order_of_arrival_gives_the_same_merge(name):
    digests = set()
    for order in list(permutations(SITES))[::31]:
        model, state, _ = learn(name, order=order, rounds=3)
        digests.add(model.digest + state.digest)
    assert len(digests) == 1


@pytest.mark.parametrize("name", BY_WEIGHTS)
def test_model_keeps_its_layout_and_everything_stays_finite(name):
    model, state, memory = learn(name)
    assert model.like(START)
    for arrays in (model, state, *memory.values()):
        assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.parametrize("name", BY_SUMS)
def test_a_rule_by_sums_needs_nothing_but_the_sum(name):
    hidden, shown = learn(name), learn(name, reveal=True)
    assert hidden[0] == shown[0]
    assert hidden[1] == shown[1]


@pytest.mark.parametrize("name", sorted(set(BY_WEIGHTS) - set(BY_SUMS)))
def test_a_rule_that_needs_single_updates_says_so_and_refuses_a_sum(name):
    whole = weighted_sum([build(name).conclude(replace(TURN, site=s), (train(START, s, ASKED),)) for s in SITES])
    with pytest.raises(InvariantBroken, match="single updates"):
        build(name).merge(replace(TURN, site=""), replace(whole, single=None))


TURN = Turn(round=0, sites=SITES, start=START, site="bonn", n_samples=12)
ASKED = build("mean").instruct(TURN)[0]


@pytest.mark.parametrize("name", BY_WEIGHTS)
def test_a_site_may_miss_rounds_and_come_back(name):
    absent = {(0, "kiel"), (1, "kiel"), (1, "lund"), (4, "oslo"), (5, "bonn")}
    model, _, _ = learn(name, absent=absent)
    assert np.isfinite(model.vector()).all()
    assert model.digest != learn(name)[0].digest


@pytest.mark.parametrize("name", BY_WEIGHTS)
def test_personal_model_has_the_layout_of_the_shared_one(name):
    model, state, memory = learn(name)
    for site in SITES:
        turn = Turn(round=0, sites=SITES, start=model, state=state, site=site, memory=memory[site])
        assert build(name).personal(turn).like(START)
        assert build(name).personal(replace(turn, memory=Parameters())) == model  # a newcomer has the shared one


@pytest.mark.parametrize("name", sorted(set(BY_WEIGHTS) - {"minimum", "maximum"}))
def test_learning_brings_the_loss_down(name):
    x, y = (np.concatenate([c[i] for c in COHORTS.values()]) for i in (0, 1))
    rounds, options = (25 if name in ("cyclic", "geometric-median") else 12), {}
    if name in ("fedadam", "fedyogi"):
        options = {"rate": 0.3}
    model, _, _ = learn(name, rounds=rounds, local_epochs=2, **options)
    if name == "fedper":
        x, y = x - x.mean(0), y - y.mean()  # the intercept never left home
        model = model | Parameters({"b": np.zeros(1)})
    before, after = (np.mean((x @ m["w"] + m["b"] - y) ** 2) for m in (START, model))
    assert after < 0.5 * before


@pytest.mark.parametrize("name", [n for n in BY_WEIGHTS if n not in ("cyclic",)])
def test_sync_every_takes_exactly_so_many_steps(name):
    asked = build(name, sync_every=9).instruct(replace(TURN, state=build(name).init(START)))
    assert all(train(START, "lund", one).steps == 9 for one in asked)  # lund has a single batch


# References: one process, one leader, written from the papers


def plain_changes(model, *, correction=None):
    changes = {}
    for site in SITES:
        x, y = COHORTS[site]
        w, b = model
        for at in range(0, len(y), 10):
            xs, ys = x[at : at + 10], y[at : at + 10]
            left = xs @ w + b - ys
            gw, gb = xs.T @ left / len(ys), left.mean()
            if correction:
                gw, gb = gw + correction[site][0], gb + correction[site][1]
            w, b = w - RATE * gw, b - RATE * gb
        changes[site] = np.append(w - model[0], b - model[1])
    return changes


def mean_of(changes):
    return sum(ROWS[s] * changes[s] for s in SITES) / sum(ROWS.values())


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_adaptive_merges_over_rotating_leaders_equal_one_process(name):
    theta, m, v = np.zeros(4), np.zeros(4), np.full(4, 1e-6)
    for _ in range(ROUNDS):
        d = mean_of(plain_changes((theta[:3], theta[3])))
        m = 0.9 * m + 0.1 * d
        v = 0.99 * v + 0.01 * d**2 if name == "fedadam" else v - 0.01 * d**2 * np.sign(v - d**2)
        theta = theta + 0.02 * m / (np.sqrt(v) + 1e-3)
    model, state, _ = learn(name)
    np.testing.assert_allclose(model.vector(), theta, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state.under("v").vector(), v, rtol=0, atol=1e-12)


def test_momentum_over_rotating_leaders_equals_one_process():
    theta, m = np.zeros(4), np.zeros(4)
    for _ in range(ROUNDS):
        m = 0.9 * m + mean_of(plain_changes((theta[:3], theta[3])))
        theta = theta + 0.3 * m
    np.testing.assert_allclose(learn("fedavgm")[0].vector(), theta, rtol=0, atol=1e-12)


def test_scaffold_over_rotating_leaders_equals_one_process():
    theta, c, own = np.zeros(4), np.zeros(4), {site: np.zeros(4) for site in SITES}
    for _ in range(ROUNDS):
        corrections = {s: ((c - own[s])[:3], (c - own[s])[3]) for s in SITES}
        d = plain_changes((theta[:3], theta[3]), correction=corrections)
        new = {s: own[s] - c - d[s] / (-(-ROWS[s] // 10) * RATE) for s in SITES}
        theta = theta + mean_of(d)
        c = c + sum(ROWS[s] * (new[s] - own[s]) for s in SITES) / sum(ROWS.values())
        own = new
    model, state, memory = learn("scaffold")
    np.testing.assert_allclose(model.vector(), theta, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state.vector(), c, rtol=0, atol=1e-12)
    for site in SITES:
        np.testing.assert_allclose(memory[site].vector(), own[site], rtol=0, atol=1e-12)


# What merges may not use: results that differ between processors

BANNED = {
    "dot", "matmul", "inner", "outer", "vdot", "tensordot", "einsum", "linalg", "exp", "exp2", "expm1", "log", "log2",
    "log10", "log1p", "power", "float_power", "tanh", "sin", "cos", "cbrt", "hypot", "logaddexp",
}  # fmt: skip
BANNED_MODULES = {"torch", "threading", "concurrent", "multiprocessing", "scipy", "asyncio"}
MERGING = [*Path(cohortium.strategies.__file__).parent.glob("*.py"), Path(cohortium.core.exact.__file__)]


def offences(source):
    tree = ast.parse(source)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in BANNED:
            found.append(node.attr)
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
            found.append("@")
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in BANNED_MODULES]
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in BANNED_MODULES:
            found.append(node.module)
        if isinstance(node, ast.FunctionDef) and node.name == "merge":
            found += ["**" for n in ast.walk(node) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow)]
    return found


@pytest.mark.parametrize("path", MERGING, ids=lambda p: p.stem)
def test_merges_use_nothing_that_differs_between_processors(path):
    assert offences(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("line", ["import torch", "y = np.exp(x)", "y = a @ b", "np.linalg.norm(x)", "a @= b"])
def test_the_lint_sees_what_it_forbids(line):
    assert offences(line)


def test_the_lint_sees_a_power_in_a_merge():
    assert offences("def merge(x):\n    return x**2\n") == ["**"]


def merge_digests():
    """One merge of every rule from arrays that no BLAS has touched."""
    rng = np.random.default_rng(5)
    start = Parameters({"w": rng.normal(size=(40, 50)).astype(np.float32), "b": rng.normal(size=50).astype(np.float32)})
    found = {}
    for name in BY_WEIGHTS:
        strategy, updates = build(name), []
        state = strategy.init(start)
        for site in SITES:
            trained = Parameters({n: a + rng.normal(size=a.shape).astype(np.float32) for n, a in start.items()})
            turn = Turn(round=0, sites=SITES, start=start, state=state, site=site, draw=1)
            one = Fitted(parameters=trained, n_samples=ROWS[site], steps=3, learning_rate=0.1, loss=0.7)
            updates.append(strategy.conclude(turn, (one,) * len(strategy.instruct(turn))))
        leader = Turn(round=0, sites=SITES, start=start, state=state, draw=1)
        model, state = strategy.merge(leader, weighted_sum(updates))
        found[name] = (model.digest + state.digest).hex()
    return found


def test_other_processor_features_give_the_same_merges():
    numpy_2 = pytest.importorskip("numpy._core._multiarray_umath", reason="numpy 1 keeps its features elsewhere")
    present = [name for name in numpy_2.__cpu_dispatch__ if numpy_2.__cpu_features__.get(name)]
    if not present:
        pytest.skip("numpy has no processor features here that could be switched off")
    program = (
        "import importlib.util, json\n"
        f"spec = importlib.util.spec_from_file_location('shared', {__file__!r})\n"
        "shared = importlib.util.module_from_spec(spec); spec.loader.exec_module(shared)\n"
        "print(json.dumps(shared.merge_digests()))\n"
    )
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(present), "OPENBLAS_CORETYPE": "Prescott"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == merge_digests()


def test_aggregate_without_single_updates_keeps_its_word():
    with pytest.raises(InvariantBroken, match="single updates"):
        _ = Aggregate(total=Parameters(), weight=1, contributors=("a",)).updates
