import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax
from tests.synth.generators.test_modes import table_of, two_hills

from cohortium.core.parameters import Parameters
from cohortium.synth.generators.modes import start_of
from cohortium.synth.generators.modes_em import MAX_EXCHANGES, ModesByEm

VALUES = two_hills(1200)
OTHER = np.round(np.random.default_rng(4).exponential(7.0, 1200), 1)
LEARNER = ModesByEm(tables=(table_of(VALUES), table_of(OTHER), table_of(np.full(100, 3.0))))
NUMBERS = (VALUES, OTHER, np.full(100, 3.0))


def learned(sites):
    """Modes and state. sites: by site, values by number."""
    state, exchanges = LEARNER.initial(), 0
    while not LEARNER.finished(state):
        answers = [LEARNER.answer(state, values) for values in sites]
        total = {name: sum(np.asarray(one[name]) for one in answers) for name in answers[0]}
        state, exchanges = LEARNER.advance(state, Parameters(total)), exchanges + 1
    assert exchanges <= MAX_EXCHANGES
    return LEARNER.modes(state), state


POOLED, POOLED_STATE = learned([NUMBERS])


def by_hand(values, table):
    """Plain EM in float64, as many turns as the exact one takes at most."""
    modes, spread = start_of(table)
    weights, means, sds, before = modes.weights, modes.means, modes.sds, -np.inf
    for _ in range(MAX_EXCHANGES):
        log_density = np.log(weights / sds) - 0.5 * ((values[:, None] - means) / sds) ** 2
        shares = softmax(log_density, axis=1)
        score = logsumexp(log_density, axis=1).mean()
        if score - before < 1e-4:
            break
        before = score
        n = shares.sum(axis=0)
        means = shares.T @ values / n
        sds = np.sqrt((shares * (values[:, None] - means) ** 2).sum(axis=0) / n).clip(1e-3 * spread)
        weights = n / len(values)
    return weights, means, sds


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(0, 1199), min_size=0, max_size=6))
def test_the_modes_of_many_sites_are_those_of_the_pooled_patients_to_the_last_bit(cuts):
    parts = [np.split(values, sorted(cut % (len(values) + 1) for cut in cuts)) for values in NUMBERS]
    _, state = learned([[part[site] for part in parts] for site in range(len(cuts) + 1)])
    assert state.digest == POOLED_STATE.digest


def test_they_are_those_of_plain_expectation_maximisation():
    for values, table, modes in zip(NUMBERS[:2], LEARNER.tables, POOLED, strict=False):
        weights, means, sds = by_hand(values, table)
        kept = weights >= 0.005
        assert len(modes) == kept.sum()
        spread = np.subtract(*np.quantile(values, [0.75, 0.25]))
        np.testing.assert_allclose(modes.means, means[kept], atol=0.02 * spread)
        np.testing.assert_allclose(modes.weights, weights[kept] / weights[kept].sum(), atol=0.01)
        np.testing.assert_allclose(modes.sds, sds[kept], atol=0.02 * spread)


def test_a_patient_counts_as_much_whoever_stands_beside_him():
    state = LEARNER.initial()
    whole = LEARNER.answer(state, NUMBERS)
    alone = [LEARNER.answer(state, [v[k : k + 1] for v in NUMBERS]) for k in range(3)]
    first = LEARNER.answer(state, [v[:3] for v in NUMBERS])
    for name in first:
        np.testing.assert_array_equal(first[name], sum(np.asarray(one[name]) for one in alone))
    assert whole["n"].tolist() == [1200, 1200, 100]


def test_a_constant_is_not_asked_for_and_has_one_mode():
    assert LEARNER.initial()["still"].tolist() == [0, 0, 1]
    assert "sums/2" not in LEARNER.answer(LEARNER.initial(), NUMBERS)
    assert len(POOLED[2]) == 1
    assert POOLED[2].means[0] == pytest.approx(3.0)


def test_a_site_without_patients_adds_nothing():
    empty = [np.zeros(0)] * 3
    assert learned([NUMBERS, empty])[1].digest == POOLED_STATE.digest
