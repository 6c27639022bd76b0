"""Who is in which half: as many in each, the same for all, and nobody moves when somebody joins."""

import pytest

from cohortium.core.exchange import Context, n_colluders, threshold
from cohortium.privacy.secagg.halves import halves_of, least_with_halves


def context(n, *, run=1, frozen=None, order=None):
    joiners = tuple(order or [f"site-{i:02d}" for i in range(n)])
    return Context(
        consortium=b"c", study=b"s", run=run, round=1, attempt=1, base=b"", frozen=tuple(frozen or joiners),
        weights={}, n_joiners=n, joiners=joiners,
    )  # fmt: skip


@pytest.mark.parametrize("n", [8, 11, 20])
def test_halves_share_all_sites_out_evenly(n):
    one, other = halves_of(context(n))
    assert sorted((*one, *other)) == [f"site-{i:02d}" for i in range(n)]
    assert abs(len(one) - len(other)) <= 1
    assert list(one) == sorted(one)


def test_another_run_has_other_halves_and_a_late_site_changes_nobody_elses():
    drawn = {halves_of(context(12, run=run)) for run in range(1, 20)}
    assert len(drawn) > 10
    before, after = halves_of(context(12)), halves_of(context(13))
    assert all(set(half) <= set(grown) for half, grown in zip(before, after, strict=True))


def test_absent_sites_leave_their_own_half():
    whole, less = halves_of(context(10)), halves_of(context(10, frozen=[f"site-{i:02d}" for i in range(1, 10)]))
    assert [set(one) - {"site-00"} for one in whole] == [set(one) for one in less]


@pytest.mark.parametrize("n", range(8, 65))
def test_no_loss_that_is_allowed_leaves_a_half_too_small(n):
    half, needed = n // 2, max(3, n_colluders(n) + 2)
    if half < needed:
        with pytest.raises(ValueError, match=f"halves of {needed} sites or more, {n} sites make {half}"):
            least_with_halves(n)
        return
    left = half - (n - least_with_halves(n))
    assert left == max(needed, threshold(half, n))


def test_three_groups_could_never_each_hide_their_sites():
    assert all(n // 3 < n_colluders(n) + 2 for n in range(3, 65))
