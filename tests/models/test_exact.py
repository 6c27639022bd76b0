"""Shared suite of the learners by sums: the swarm's bits are the pooled bits, whatever the partition."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohortium.errors import DataError
from cohortium.models.cox import Cox
from cohortium.models.glm import Logistic, Poisson
from cohortium.models.kaplan_meier import KaplanMeier
from cohortium.models.least_squares import Linear
from cohortium.models.multinomial import Multinomial
from cohortium.models.penalised import ElasticNet, Lasso

CASES = {
    "logistic": (Logistic(), "binary"),
    "logistic-unpenalised": (Logistic(l2=0.0), "binary"),
    "poisson": (Poisson(), "counts"),
    "linear": (Linear(), "numbers"),
    "multinomial": (Multinomial(), "classes"),
    "elastic-net-binary": (ElasticNet(), "binary"),
    "elastic-net-number": (ElasticNet(), "numbers"),
    "lasso-count": (Lasso(), "counts"),
    "cox-efron": (Cox(), "followed"),
    "cox-breslow": (Cox(ties="breslow", l2=0.0), "followed"),
    "cox-late-entry": (Cox(), "late"),
    "cox-strata": (Cox(strata="g", n_strata=3), "grouped"),
    "kaplan-meier": (KaplanMeier(by="g", n_groups=3, n_causes=2), "grouped"),
}


def examples_of(kit, kind, n=150):
    if kind == "late":
        return kit.followed(n, late=True)
    return kit.followed(n, groups=3) if kind == "grouped" else getattr(kit, kind)(n)


@pytest.fixture(scope="module")
def pooled(kit):
    held = {}

    def find(name):
        if name not in held:
            learner, kind = CASES[name]
            held[name] = kit.learn(learner, [examples_of(kit, kind)])
        return held[name]

    return find


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n_sites=st.integers(2, 45), seed=st.integers(0, 1000))
def test_every_partition_and_order_gives_the_pooled_bits(kit, pooled, name, n_sites, seed):
    learner, kind = CASES[name]
    whole, rounds = pooled(name)
    examples = examples_of(kit, kind)
    shuffled = examples.take(np.random.default_rng(seed).permutation(len(examples)))
    state, needed = kit.learn(learner, kit.split(shuffled, n_sites, seed))
    assert (state.digest, needed) == (whole.digest, rounds)


@pytest.mark.parametrize("name", CASES)
def test_empty_and_one_sided_sites_change_nothing(kit, pooled, name):
    learner, kind = CASES[name]
    examples = examples_of(kit, kind)
    outcome = examples.event if examples.y is None else examples.y
    sites = [*kit.by(examples, outcome), examples.take(np.zeros(0, dtype=int))]
    assert kit.learn(learner, sites)[0] == pooled(name)[0]


@pytest.mark.parametrize("name", CASES)
def test_another_row_changes_the_bits(kit, pooled, name):
    learner, kind = CASES[name]
    examples = examples_of(kit, kind)
    assert kit.learn(learner, [examples.take(np.arange(1, len(examples)))])[0] != pooled(name)[0]


@pytest.mark.parametrize("name", CASES)
def test_sums_are_integers_and_predictions_finite(kit, name):
    learner, kind = CASES[name]
    examples = examples_of(kit, kind)
    state = learner.initial(examples.layout, rng=np.random.default_rng(0))
    sums = kit.answer(learner, state, examples)
    assert {array.dtype.str for array in sums.values()} == {"<i8"}
    assert learner.learns_by == "sums"
    assert np.isfinite(learner.predict(pooled_state(kit, learner, examples), examples)).all()


def pooled_state(kit, learner, examples):
    return kit.learn(learner, [examples])[0]


@pytest.mark.parametrize("name", [name for name in CASES if name != "kaplan-meier"])  # it looks at no column
def test_a_missing_value_is_refused_with_the_column_and_no_value(kit, name):
    learner, kind = CASES[name]
    examples = examples_of(kit, kind)
    x = examples.x.copy()
    x[3, 1] = np.nan
    state = learner.initial(examples.layout, rng=np.random.default_rng(0))
    with pytest.raises(DataError, match=r"^column 'x1': 1 missing values reach the model"):
        kit.answer(learner, state, examples.with_x(x, examples.layout))


def golden(kit):
    digests = [pooled_state(kit, learner, examples_of(kit, kind)).digest for learner, kind in CASES.values()]
    return hashlib.sha256(b"".join(digests)).hexdigest()


SCRIPT = """
import importlib.util, sys
from types import SimpleNamespace
def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
    return module
kit = load(sys.argv[1] + "/conftest.py", "kit")
print(load(sys.argv[1] + "/test_exact.py", "suite").golden(kit))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"},
        {"OPENBLAS_CORETYPE": "Nehalem"},
        {"OPENBLAS_CORETYPE": "Haswell"},
    ],
    ids=["no-vector-units", "old-kernels", "other-kernels"],
)
def test_other_processors_and_kernels_give_the_same_bits(kit, environment):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(Path(__file__).parent)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == golden(kit)
