"""Two tripwires, from both sides: what fits is not doubted, what does not is looked at and convicts nobody."""

import numpy as np
import pytest

from cohortium.core.verdicts import Verdict
from cohortium.quality.decide import Table
from cohortium.quality.doubts import Influence, by_halves, influence, influence_sums, with_doubts
from cohortium.quality.halves import draw_halves

N_SITES, HALVES = 12, 8


@pytest.fixture
def member():
    return draw_halves(N_SITES, halves=HALVES, rng=np.random.default_rng(0))


@pytest.fixture
def rows():
    return np.random.default_rng(1).integers(1, 1000, size=(N_SITES, 13))


def test_rows_that_add_up_are_not_doubted(member, rows):
    assert by_halves(member.T.astype(int) @ rows, rows, member) == ()


@pytest.mark.parametrize("liar", range(N_SITES))
def test_a_changed_row_is_among_the_few_sites_in_every_half_that_does_not_add_up(member, rows, liar):
    told = member.T.astype(int) @ rows
    shown = rows.copy()
    shown[liar, 3] += 5
    found = by_halves(told, shown, member)
    assert liar in found
    assert len(found) <= 4
    assert all((member[one] == member[liar]).all() for one in found)


def test_two_changed_rows_are_found_together_and_most_others_are_not_doubted(member, rows):
    told, shown = member.T.astype(int) @ rows, rows.copy()
    shown[2, 3] += 5
    shown[7, 4] -= 9
    found = by_halves(told, shown, member)
    assert {2, 7} <= set(found)
    assert len(found) <= N_SITES // 2


def test_gaps_that_few_rows_do_not_explain_ask_for_a_look_at_everybody(member, rows):
    told = member.T.astype(int) @ rows + np.random.default_rng(2).integers(1, 99, size=(HALVES, 13))
    assert by_halves(told, rows, member) == tuple(range(N_SITES))


def test_a_gap_that_one_row_explains_but_for_a_millionth_of_a_millionth_is_not_explained(member, rows):
    told, shown = member.T.astype(int) @ rows, rows.copy()
    shown[2, 3] += 10**12
    told[0, 3] += 1
    found = by_halves(told, shown, member)
    assert set(found) > {at for at in range(N_SITES) if (member[at] == member[2]).all()}


def test_a_site_whose_row_came_too_late_for_the_sums_is_named_without_those_that_share_its_halves():
    member = draw_halves(40, halves=8, rng=np.random.default_rng(0))
    rows = np.random.default_rng(1).integers(1, 1000, size=(40, 13))
    assert sum((member == member[5]).all(axis=1)) > 1
    told = member.T.astype(int) @ np.where(np.arange(40)[:, None] == 5, 0, rows)
    assert by_halves(told, rows, member) == (5,)


def scored(member, *, harmful, seed=0, n=40):
    """Influence at all sites: probes with the harmful site rank others' patients worse."""
    rng = np.random.default_rng(seed)
    total = np.zeros((N_SITES, 5), dtype=np.int64)
    for site in range(N_SITES):
        y = (rng.random(n) < 0.5).astype(float)
        sharp = np.where(member[harmful], 0.5, 2.0) if harmful is not None else np.full(HALVES, 2.0)
        logits = (2 * y - 1)[:, None] * sharp + rng.normal(0, 1.0, (n, 1)) + rng.normal(0, 0.1, (n, HALVES))
        usable = np.ones(HALVES, dtype=bool)
        total += influence_sums(logits, y, np.ones(n), site=site, member=member, usable=usable)
    return influence(total)


def test_a_site_that_spoils_the_models_of_its_halves_is_doubted_and_comes_first(member):
    found = scored(member, harmful=4)
    assert 4 in found.places()
    assert found.effect[4] == pytest.approx(found.effect.max(), rel=0.05), "neighbours in its halves come as high"
    assert len(found.places()) <= N_SITES // 2


def test_without_harm_nobody_is_doubted(member):
    assert [scored(member, harmful=None, seed=seed).places() for seed in range(20)] == [()] * 20


def test_t_and_effect_are_those_of_the_formula():
    told = np.array([0.5, 0.1, 0.4, 0.2, 0.3])
    sums = np.array([[5, told.sum(), (told**2).sum(), 12.0, 100.0]]) * 2**20
    found = influence(np.round(sums).astype(np.int64))
    assert found.t[0] == pytest.approx(told.mean() / (told.std(ddof=1) / np.sqrt(5)), rel=1e-4)
    assert found.effect[0] == pytest.approx(0.12)
    assert found.places() == (0,)


def test_both_must_be_large_and_four_sites_say_nothing():
    assert Influence(t=np.array([9.0, 2.9, 3.1]), effect=np.array([0.039, 0.9, 0.041])).places() == (2,)
    few = np.array([[4, 2.0, 1.1, 9.0, 10.0]]) * 2**20
    assert influence(np.round(few).astype(np.int64)).places() == ()


def test_nothing_is_known_of_a_site_in_all_unseen_halves_or_of_oneself():
    member = np.zeros((6, 4), dtype=bool)
    member[1] = True
    usable = np.ones(4, dtype=bool)
    sums = influence_sums(np.ones((3, 4)), np.ones(3), np.ones(3), site=0, member=member, usable=usable)
    assert not sums.any()
    assert (influence(sums).t == 0).all()


def test_a_doubt_asks_for_a_look_and_changes_no_verdict():
    verdicts = tuple(Verdict(site=s, kind="keep", posterior=0.1, channel="sound", reason="fine") for s in "ab")
    table = Table(status="decided", auroc=0.8, slope=1.0, verdicts=verdicts)
    found = with_doubts(table, ("a", "b"), halves=(1,), influence=(1,)).verdicts
    assert found[0] == verdicts[0]
    assert (found[1].kind, found[1].left_out, found[1].look) == ("keep", False, True)
    assert found[1].reason.startswith("fine; what the halves had added up")
    assert found[1].reason.count("; ") == 3


def test_who_is_convicted_by_models_that_may_be_spoilt_hears_whose_data_come_first():
    guilty = {"kind": "quarantine", "posterior": 1.0, "channel": "reversed", "left_out": True, "reason": "reversed"}
    verdicts = tuple(Verdict(site=s, **guilty) for s in "abc")
    table = Table(status="decided", auroc=0.8, slope=1.0, verdicts=verdicts)
    found = with_doubts(table, ("a", "b", "c"), halves=(), influence=(1,)).verdicts
    assert ["look first at 'b':" in one.reason for one in found] == [True, False, True]
    assert [one.kind for one in found] == ["quarantine"] * 3
    assert with_doubts(table, ("a", "b", "c"), halves=(1,), influence=()).verdicts[0] == verdicts[0]
