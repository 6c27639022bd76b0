import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.core.identity import keccak
from cohortium.swarm.election import attestors, first_leader, is_drawn, next_leader, rotation_start, votes_needed

ABCD = ["a", "b", "c", "d"]


def test_start_is_keccak_of_seed_and_run() -> None:
    seed = b"\5" * 32
    assert rotation_start(seed, 3, 7) == int.from_bytes(keccak(seed + bytes(31) + b"\3"), "big") % 7


def test_everybody_leads_once_in_n_rounds() -> None:
    assert [first_leader(ABCD, ABCD, start=2, round=r) for r in range(1, 5)] == ["d", "a", "b", "c"]
    assert first_leader(ABCD, {"a", "c"}, start=2, round=1) == "a"
    assert first_leader(ABCD, set(), start=0, round=1) == ""


def test_failover_never_names_the_same_leader_again_when_a_member_vanished() -> None:
    # counting terms over the live list would: (7 + 0) mod 4 is d; without a, (7 + 1) mod 3 is d again
    assert first_leader(ABCD, ABCD, start=6, round=1) == "d"
    assert next_leader(ABCD, {"b", "c", "d"}, "d") == "b"


def test_contract_and_machine_elect_the_same(play) -> None:
    game = play(5, rounds=3)
    game.until_quiet()
    run = game.ledger.call("runs", (1,))[0]
    start, joiners = run[3], game.ledger.view.joiners
    assert start == rotation_start(run[2], 1, 5)
    for opened in game.ledger.named("RoundOpened"):
        assert opened["leader"] == first_leader(joiners, set(joiners), start=start, round=opened["round"])


@pytest.mark.parametrize(
    ("m", "every", "drawn"), [(2, 1, 1), (3, 2, 2), (4, 2, 2), (5, 3, 2), (6, 3, 3), (7, 4, 3), (20, 10, 7)]
)
def test_votes_needed_are_those_of_the_design(m: int, every: int, drawn: int) -> None:
    assert votes_needed(m, drawn=False) == every
    assert votes_needed(m, drawn=True) == drawn


@given(n=st.integers(2, 40), drawn=st.booleans())
def test_never_more_attestations_are_asked_for_than_there_are_attestors(n: int, drawn: bool) -> None:
    joiners = [f"s{i:02d}" for i in range(n)]
    asked = attestors(joiners, joiners, joiners[1], drawn=drawn)
    assert votes_needed(n, drawn=drawn) <= len(asked) <= n - 1
    assert joiners[1] not in asked
    assert asked[0] == joiners[2 % n]


def test_auto_lets_all_recompute_up_to_256_mb_a_site() -> None:
    at_the_limit = (256 << 20) // 4
    assert not is_drawn("auto", n_sites=5, size_bytes=at_the_limit)
    assert is_drawn("auto", n_sites=5, size_bytes=at_the_limit + 1)
    assert is_drawn("drawn", n_sites=2, size_bytes=1)
    assert not is_drawn("all", n_sites=99, size_bytes=1 << 40)
