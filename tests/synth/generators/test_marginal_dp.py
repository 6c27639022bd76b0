"""Noise that hides one patient in everything that leaves, and a copula that survives it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivateSteps
from cohortium.errors import UsageError
from cohortium.privacy.dp.terms import NOISY_GENERATORS
from cohortium.synth.exchange import fit_by_sums, fit_privately
from cohortium.synth.facts import Facts
from cohortium.synth.generators import GENERATORS
from cohortium.synth.generators.marginal_dp import UNITS, MarginalDP
from cohortium.synth.rows import Rows
from cohortium.synth.validation.curves import km_gap, tau_of
from cohortium.synth.validation.fidelity import classic_pair

RANGES = {
    "age": (18, 100),
    "blasts": (0, 20),
    "hb": (2, 20),
    "ferritin": (1, 20000),
    "ecog": (0, 4),
    "os_years": (0, 12),
}


@pytest.fixture(scope="module")
def ranged(world):
    columns = tuple(
        replace(c, low=RANGES[c.name][0], high=RANGES[c.name][1], whole=c.name in ("age", "ecog", "ferritin"))
        if c.is_number else c
        for c in world.facts.columns
    )  # fmt: skip
    return Rows(Facts(columns=columns), dict(world.training.columns))


@pytest.fixture(scope="module")
def fitted(ranged):
    learner = MarginalDP(facts=ranged.facts)
    return learner, fit_by_sums(learner, [ranged])


def _steps(multiplier, seed=0):
    entropy = np.random.default_rng(seed).bytes
    return PrivateSteps(sample_rate=1.0, steps=1, clipping_norm=1.0, noise_multiplier=multiplier, entropy=entropy)


def test_the_registry_names_it_and_the_terms_have_the_noise_of_each_exchange():
    assert GENERATORS.resolve("marginal_dp") is MarginalDP
    assert len(NOISY_GENERATORS["marginal_dp"]) == MarginalDP.max_rounds.fget(None) == 2


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16), st.integers(2, 12))
def test_no_patient_moves_any_exchange_by_more_than_the_sensitivity(ranged, fitted, seed, most):
    """The length of one patient's own vector, over all arrays of an exchange, whoever it is."""
    learner = MarginalDP(facts=ranged.facts, most_flags=most)
    rng = np.random.default_rng(seed)
    wild = {name: rng.permutation(ranged[name])[:1].copy() for name in ranged}
    for fact in ranged.facts.of_group("gene"):
        wild[fact.name][:] = rng.choice([0.0, 1.0, 1.0, np.nan])
    for fact in (fact for fact in ranged.facts.columns if fact.is_number or fact.kind == "event"):
        wild[fact.name][:] = rng.choice([wild[fact.name][0], np.nan, 0.0, 1e9 if fact.is_number else 1.0])
    one = Rows(ranged.facts, wild)
    middle = Parameters({**dict(fitted[1].items()), "phase": np.array([1])})
    for state in (learner.initial(None, rng=None), middle):
        answer = learner.answer(state, one)
        assert np.sqrt(sum((array.astype(float) ** 2).sum() for array in answer.values())) <= UNITS


@pytest.mark.parametrize(
    ("column", "value"), [("TP53", 3.0), ("os_years", np.nan), ("os_years", np.inf), ("died", np.nan), ("hb", 1e12)]
)
def test_nor_does_one_whose_record_holds_what_it_should_not(ranged, fitted, column, value):
    learner, _ = fitted
    first = learner.initial(None, rng=np.random.default_rng(0))
    second = learner.advance(first, learner.answer(first, ranged))
    odd = ranged.take(np.array([0])).with_columns({column: np.array([value])})
    for state in (first, second):
        told = np.concatenate([np.asarray(a, dtype=np.float64).ravel() for a in learner.answer(state, odd).values()])
        assert np.sqrt((told**2).sum()) <= UNITS


def test_the_noise_has_the_promised_width_in_both_exchanges(ranged, fitted):
    learner, state = fitted
    nobody = ranged.take(np.zeros(0, dtype=int))
    middle = Parameters({**dict(state.items()), "phase": np.array([1])})
    for question in (learner.initial(None, rng=None), middle):
        answer = learner.answer(question, nobody, steps=_steps(2.0))
        drawn = np.concatenate([array.ravel() for array in answer.values()]) / UNITS
        assert drawn.std() == pytest.approx(2.0, rel=0.15)
        assert {array.dtype.kind for array in answer.values()} == {"i"}


def test_parts_of_the_noise_add_up_and_any_partition_gives_the_same_sums(ranged, fitted):
    learner, _ = fitted
    half = np.arange(len(ranged)) % 2 == 0
    question = learner.initial(None, rng=None)
    whole, parts = learner.answer(question, ranged), [learner.answer(question, ranged.take(h)) for h in (half, ~half)]
    for name, array in whole.items():
        assert (array == parts[0][name] + parts[1][name]).all()


def test_without_noise_it_is_close_and_with_much_it_is_not(ranged, fitted):
    learner, state = fitted
    made = learner.sample(state, len(ranged), rng=np.random.default_rng(0))
    csf, gsf = classic_pair(ranged, made)
    assert csf > 0.94
    assert gsf > 0.93
    pairs = [(rows["os_years"], rows["died"]) for rows in (ranged, made)]
    assert km_gap(*pairs, tau_of(ranged["os_years"])) < 0.04
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")
    lost = fit_privately(learner, [ranged], epsilon=0.02, delta=1e-5, entropy=np.random.default_rng(0).bytes)
    noisy = learner.sample(lost, len(ranged), rng=np.random.default_rng(0))
    assert classic_pair(ranged, noisy)[1] < gsf - 0.15


def test_worse_patients_die_sooner_still(ranged, fitted):
    learner, state = fitted
    made = learner.sample(state, 3000, rng=np.random.default_rng(1))
    ill = made["TP53"] == 1
    assert np.median(made["os_years"][ill]) < 0.8 * np.median(made["os_years"][~ill])


def test_nothing_is_learned_without_noise_terms(world, ranged, fitted):
    learner, _ = fitted

    class Asked:
        private = None

    with pytest.raises(UsageError, match=r"learns with noise only; add \[privacy.dp\]"):
        learner.fit(learner.initial(None, rng=None), None, instructions=Asked(), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"\d columns have no range that everybody may know: age, .*os_years; agree"):
        MarginalDP(facts=world.facts)
    with pytest.raises(ValueError, match="most_flags"):
        MarginalDP(facts=ranged.facts, most_flags=1)
    with pytest.raises(UsageError, match="not finished"):
        learner.sample(learner.initial(None, rng=None), 5, rng=np.random.default_rng(0))


def test_no_generator_by_sums_nor_any_use_loads_torch():
    import subprocess
    import sys

    names = ("generators.bn", "generators.copula", "generators.marginal_dp", "uses.impute", "uses.control_arm")
    code = "; ".join(f"import cohortium.synth.{name}" for name in names)
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"
