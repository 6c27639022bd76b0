"""An audit in which nothing leaves without noise: what it finds, what it asks for, what it refuses."""

import numpy as np
import pytest

from cohortium.core.marks import shows
from cohortium.core.parameters import Parameters
from cohortium.core.spending import MechanismEvent
from cohortium.data.public_scale import PublicScale
from cohortium.errors import PeerError, StudyError, UsageError
from cohortium.privacy.dp.accounting import epsilon
from cohortium.quality.noisy_audit import EXCHANGES, NoisyOutOfBag
from cohortium.quality.pool import pool_of

SCALE = PublicScale(ranges=(("*", -4.0, 4.0),))
SIZES = (90, 80, 80, 70, 70, 60, 60, 50, 50, 40, 40, 3)


@pytest.fixture
def sites(kit):
    return kit.flipped(kit.consortium(sizes=SIZES), "c")


def run(sites, *, seed=0, **facts):
    rng = np.random.default_rng(seed)
    detector = NoisyOutOfBag(**{"epsilon": 4.0, "scale": SCALE, **facts})
    return detector, detector.run(sites, entropy=rng.bytes, seed=seed)


def test_a_reversed_site_is_found_and_no_other_in_spite_of_the_noise(sites):
    for seed in range(3):
        _, found = run(sites, seed=seed)
        assert found.table.status == "decided"
        assert [one.site for one in found.table.verdicts if one.left_out] == ["c"]
        assert found.cost.exchanges == EXCHANGES


def test_with_little_epsilon_nobody_is_judged(sites):
    _, found = run(sites, epsilon=0.1)
    assert found.table.status == "inconclusive"
    assert not any(one.left_out or one.look for one in found.table.verdicts)


def test_what_an_audit_costs_is_two_noisy_sums_and_a_number_within_its_epsilon(sites):
    detector = NoisyOutOfBag(epsilon=1.0, scale=SCALE)
    terms = detector.auditor(sites, sites["a"].layout).terms
    planned = terms.planned()
    assert [one.type for one in planned] == ["gaussian", "gaussian", "laplace"]
    assert planned[2] == MechanismEvent.laplace(scale=1 / 0.6)
    assert 0.99 < epsilon(planned, delta=1e-5) <= 1.0
    assert terms.of_first(EXCHANGES) == planned
    assert [event for k in range(EXCHANGES) for event in terms.of_exchange(k)] == list(planned)
    assert terms.least_survivors == len(sites) - terms.n_silent
    assert epsilon(terms.planned(against="outsiders"), delta=1e-5) < 1.0


def test_every_site_adds_its_share_of_the_noise_to_every_slot(sites):
    detector = NoisyOutOfBag(epsilon=1.0, scale=SCALE)
    auditor = detector.auditor(sites, sites["a"].layout)
    pool = pool_of({0: sites["a"]})
    rng, state = np.random.default_rng(3), auditor.initial(1)
    first = auditor.noisy(state, pool, steps=auditor.terms.asked(0, clipping_norm=1.0, entropy=rng.bytes))
    state = auditor.advance(state, first)
    steps = auditor.terms.asked(1, clipping_norm=1.0, entropy=rng.bytes)
    drawn = np.array([auditor.noisy(state, pool, steps=steps)["labels"] for _ in range(300)])
    spread = drawn.std(axis=0)
    from cohortium.quality.noisy_probe import second_grid

    meant = auditor.terms.sums[1] / np.sqrt(auditor.terms.n_sharing) * second_grid(5, halves=8).sensitivity
    np.testing.assert_allclose(spread, meant, rtol=0.25)


def test_nothing_is_answered_without_noise_and_the_last_answers_are_shown(sites):
    detector, found = run(sites)
    auditor = detector.auditor(sites, sites["a"].layout)
    with pytest.raises(UsageError, match="answered with noise"):
        auditor.answer(auditor.initial(0), pool_of({0: sites["a"]}))
    assert auditor.finished(found.state)
    assert not shows(found.state)
    assert {one.site for one in auditor.evidence(found.state)} == set(sites), "silence would tell of three records"
    assert all(one.size % 10 == 0 for one in auditor.evidence(found.state))


def test_a_site_shows_nothing_but_its_size_in_tens_that_follows_a_patient_without_noise(sites, kit):
    """A third case beside two, or a fifth record beside four: one patient, who must not decide what is told."""
    detector, found = run(sites)
    auditor = detector.auditor(sites, sites["a"].layout)
    state, told = found.state | Parameters({"clock": np.array([2], dtype=np.int64)}), []
    y = np.asarray(sites["a"].y)
    cases, others = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    for n_cases, n_others in ((2, 10), (3, 10), (1, 3), (2, 3), (0, 10), (0, 1)):
        part = sites["a"].take(np.concatenate([cases[:n_cases], others[:n_others]]))
        steps = auditor.terms.asked(2, clipping_norm=1.0, entropy=lambda n: bytes(n))
        row = auditor.noisy(state, pool_of({0: part}), steps=steps)["table"][0]
        told.append(tuple(int(one) for one in row[:-2]))
    assert told == [(10,)] * 6


def test_a_liar_who_turns_the_sums_round_convicts_nobody(sites):
    """One site takes four times what all have added from the labels of every half; masks hide who it was."""
    detector = NoisyOutOfBag(epsilon=4.0, scale=SCALE)
    auditor, rng = detector.auditor(sites, sites["a"].layout), np.random.default_rng(1)
    pools = {name: pool_of({at: sites[name]}) for at, name in enumerate(sorted(sites))}
    state = auditor.initial(0)
    for exchange in range(EXCHANGES):
        steps = auditor.terms.asked(exchange, clipping_norm=1.0, entropy=rng.bytes)
        answers = {name: auditor.noisy(state, pool, steps=steps) for name, pool in pools.items()}
        if exchange == 2:
            total = auditor.gather(state, answers)
        else:
            names = next(iter(answers.values()))
            total = Parameters({name: sum(one[name] for one in answers.values()) for name in names})
            if "labels" in total:
                total |= Parameters({"labels": -3 * total["labels"]})
        state = auditor.advance(state, total)
    table = auditor.table(state)
    assert table.status == "inconclusive"
    assert not any(one.left_out or one.look for one in table.verdicts)


def test_an_epsilon_that_takes_minutes_to_account_for_or_is_none_is_refused_at_once(sites):
    for wrong in (0.0, -1.0, float("nan"), float("inf"), 1e-6, 0.01, 40.0, 1e9):
        with pytest.raises(StudyError, match=r"an audit's epsilon is 0.1 to 20, got"):
            NoisyOutOfBag(epsilon=wrong, scale=SCALE).auditor(sites, sites["a"].layout)


def test_a_row_that_cannot_be_is_laid_at_its_sites_door(sites):
    detector = NoisyOutOfBag(scale=SCALE)
    auditor = detector.auditor(sites, sites["a"].layout)
    state = auditor.initial(0)
    honest = np.zeros((len(sites), 3), dtype=np.int64)
    for at, row in ((1, (-30, 0, 0)), (2, (33, 0, 0)), (3, (0, 5, 0))):
        table = honest.copy()
        table[at] = row
        name = auditor.sites[at]
        with pytest.raises(PeerError, match=f"site '{name}' shows evidence that no site can have found"):
            auditor.gather(state, {name: Parameters({"table": table})})


def test_too_few_sites_and_too_many_columns_are_refused(sites, kit):
    with pytest.raises(UsageError, match="at least 6 sites, got 1"):
        NoisyOutOfBag(scale=SCALE).auditor(["a"], sites["a"].layout)
    wide = kit.consortium(n_columns=33)
    with pytest.raises(UsageError, match="sees 32 columns at most, got 33"):
        NoisyOutOfBag(scale=SCALE).auditor(wide, wide["a"].layout)


def test_own_records_are_ranked_at_home(sites):
    detector, found = run(sites)
    auditor = detector.auditor(sites, sites["a"].layout)
    ranked = auditor.ranked(found.state, pool_of({2: sites["c"]}))
    assert len(ranked) == len(sites["c"])
    assert [one.suspicion for one in ranked] == sorted((one.suspicion for one in ranked), reverse=True)
    sound = auditor.ranked(found.state, pool_of({3: sites["d"]}))
    assert np.median([one.suspicion for one in ranked]) > 2 * np.median([one.suspicion for one in sound])
    drawn = auditor.drawing(found.state)
    assert len(drawn["halves"]) == 8
