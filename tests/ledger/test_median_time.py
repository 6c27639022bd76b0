"""Block time from the members' clocks: known answers by hand, and what one liar can do to it (nothing)."""

from hypothesis import given
from hypothesis import strategies as st

from cohortium.ledger.median_time import Claims

A, B, C, D = (bytes([n]) * 20 for n in range(1, 5))
GENESIS = 1000


def test_who_never_spoke_counts_with_the_genesis():
    claims = Claims(genesis_s=GENESIS)
    assert claims.block_time(A, 5000, active=[A, B, C], last_s=GENESIS) == GENESIS + 1  # 1000, 1000, 5000
    claims.tell(A, 5000)
    assert claims.block_time(B, 4000, active=[A, B, C], last_s=1001) == 4000  # 1000, 4000, 5000
    claims.tell(B, 4000)
    assert claims.block_time(C, 4500, active=[A, B, C], last_s=4000) == 4500


def test_an_even_number_takes_the_lower_of_the_two_in_the_middle():
    claims = Claims(genesis_s=GENESIS)
    for member, claimed in ((A, 10_000), (B, 20_000), (C, 30_000)):
        claims.tell(member, claimed)
    assert claims.block_time(D, 40_000, active=[A, B, C, D], last_s=0) == 20_000
    assert claims.block_time(A, 15_000, active=[A, B], last_s=0) == 15_000


def test_the_newest_word_counts_even_if_it_is_earlier():
    claims = Claims(genesis_s=GENESIS)
    claims.tell(A, 10**10)
    assert claims.block_time(A, 3000, active=[A], last_s=0) == 3000


def test_time_moves_at_least_a_second():
    assert Claims(genesis_s=GENESIS).block_time(A, 5, active=[A], last_s=2000) == 2001


def test_only_who_may_act_has_a_clock():
    claims = Claims(genesis_s=GENESIS)
    claims.tell(B, 10**10)
    claims.tell(C, 10**10)
    assert claims.block_time(A, 3000, active=[A], last_s=0) == 3000
    assert claims.block_time(A, 3000, active=[], last_s=0) == 1


def test_a_trial_changes_nothing():
    claims = Claims(genesis_s=GENESIS)
    claims.block_time(A, 9999, active=[A], last_s=0)
    assert claims.block_time(B, 1, active=[A, B], last_s=0) == 1


@given(st.lists(st.integers(2000, 3000), min_size=3, max_size=9), st.integers(0, 2**53 - 1))
def test_one_lying_clock_stays_within_what_the_others_claim(honest, lie):
    members = [bytes([n]) * 20 for n in range(len(honest) + 1)]
    claims = Claims(genesis_s=GENESIS)
    for member, claimed in zip(members, honest, strict=False):
        claims.tell(member, claimed)
    liar = members[-1]
    assert min(honest) <= claims.block_time(liar, lie, active=members, last_s=0) <= max(honest)
