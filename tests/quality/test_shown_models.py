"""The exchanges of `agreement`: rows of each site alone give the table of all; rows that cannot be are named."""

import numpy as np
import pytest

from cohortium.core.marks import shows
from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.quality.agreement import Agreement, table_of
from cohortium.quality.pool import as_examples, pool_of
from cohortium.quality.shown_models import EXCHANGES, MICRO

LOT = bytes(range(32))


@pytest.fixture
def four(kit):
    return kit.consortium(sizes=(60, 50, 40, 30))


def pools(sites):
    return {name: pool_of({at: as_examples(sites[name])}) for at, name in enumerate(sorted(sites))}


def exchange(auditor, state, held, *, without=()):
    """One exchange between sites that see their own rows only."""
    answers = {name: auditor.answer(state, pool) for name, pool in held.items() if name not in without}
    if shows(state):
        return auditor.advance(state, auditor.gather(state, answers))
    names = next(iter(answers.values()))
    return auditor.advance(state, Parameters({n: sum(one[n] for one in answers.values()) for n in names}))


def begun(sites, exchanges):
    auditor, held = Agreement().auditor(sites), pools(sites)
    state = auditor.initial(LOT)
    for _ in range(exchanges):
        state = exchange(auditor, state, held)
    return auditor, state, held


def test_sites_that_answer_alone_come_to_the_table_of_one_process(four, kit):
    sites = kit.flipped(four, sorted(four)[1])
    auditor, state, _ = begun(sites, EXCHANGES)
    assert auditor.finished(state)
    assert not shows(state)
    table = table_of(auditor, state)
    assert table.digest == Agreement().run(sites, seed=LOT).digest
    assert [one.site for one in table.verdicts if one.left_out] == [auditor.sites[1]]


def test_aurocs_are_those_of_the_shown_probes(four):
    auditor, state, _ = begun(four, EXCHANGES)
    point = np.asarray(state["probes"])[0, 1:] / 2**20
    mean, sd = state["scale"]
    other = as_examples(four[auditor.sites[2]])
    score = np.rint((np.asarray(other.x, dtype=float) - mean) / sd * 2**12) / 2**12 @ point[1:] + point[0]
    cases, controls = score[other.y == 1], score[other.y == 0]
    by_hand = np.mean(cases[:, None] > controls[None, :])
    assert auditor.aurocs(state)[0, 2] == pytest.approx(by_hand, abs=1e-3)


def test_a_site_that_stays_away_or_comes_late_is_not_judged_and_not_blamed(four):
    auditor, state, held = begun(four, 1)
    late, away = auditor.sites[0], auditor.sites[3]
    state = exchange(auditor, state, held, without=(late,))
    state = exchange(auditor, state, held)
    assert auditor.silent(state) == {late}
    auditor, state, _ = begun(four, 2)
    state = exchange(auditor, state, held, without=(away,))
    assert auditor.silent(state) == {away}
    assert "has not answered to the end" in {one.site: one.reason for one in table_of(auditor, state).verdicts}[away]


def test_a_site_of_one_class_shows_no_number_and_too_few_others_end_inconclusive(four):
    whole = {name: as_examples(content) for name, content in four.items()}
    for name in sorted(whole)[:2]:
        whole[name] = whole[name].take(np.flatnonzero(whole[name].y == 0))
        auditor, state, _ = begun(whole, EXCHANGES)
        at = auditor.sites.index(name)
        assert not np.asarray(state["probes"])[at, 1:].any()
        assert not np.asarray(state["rankings"])[:, 1 + at].any()
    assert table_of(auditor, state).status == "inconclusive"


@pytest.mark.parametrize(
    ("exchanges", "place", "number", "why"),
    [
        (1, (1, 2), 300 << 20, "a coefficient above 256"),
        (1, (1, 0), 7, "the word 7"),
        (1, (1, 0), 1, "in spite of too few records"),
        (2, (1, 1), MICRO + 1, "an AUROC outside 0 to 1"),
        (2, (1, 2), 5, "rankings of a probe that was not shown"),
        (2, (1, 0), 1, "in spite of too few records"),
        (2, (0, 1), 5, "answers for another site"),
    ],
)
def test_numbers_that_no_site_can_have_found_name_it(four, exchanges, place, number, why):
    auditor, state, held = begun(four, exchanges)
    answers = {name: auditor.answer(state, pool) for name, pool in held.items()}
    (name,) = answers[auditor.sites[1]]
    table = np.array(answers[auditor.sites[1]][name])
    table[place] = number
    answers[auditor.sites[1]] = Parameters({name: table})
    with pytest.raises(PeerError, match=why) as caught:
        auditor.gather(state, answers)
    assert caught.value.site == auditor.sites[1]


def test_nothing_after_a_probe_and_rankings_without_one_are_named(four):
    auditor, state, held = begun(four, 2)
    answers = {name: auditor.answer(state, pool) for name, pool in held.items()}
    empty = Parameters({"rankings": np.zeros_like(answers[auditor.sites[1]]["rankings"])})
    with pytest.raises(PeerError, match="nothing, after its probe"):
        auditor.gather(state, {**answers, auditor.sites[1]: empty})
    told = np.array(state["probes"])
    told[1] = 0
    with pytest.raises(PeerError, match="rankings without a probe"):
        auditor.gather(state | Parameters({"probes": told}), {auditor.sites[1]: answers[auditor.sites[1]]})
