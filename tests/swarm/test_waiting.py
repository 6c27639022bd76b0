import pytest

from cohortium.swarm.waiting import Policy, Pulse, leader_is_lost, overdue, should_close

POLICY = Policy()


def close(
    policy: Policy = POLICY, *, age_s: float = 700.0, n_committed: int = 3, heard_s: float = 0.0, **pulse
) -> bool:
    missing = {"porto": Pulse(heard_s, heard_s, **pulse)}
    return should_close(
        policy, age_s=age_s, n_committed=n_committed, min_sites=3, missing=missing, now_s=age_s
    )  # fmt: skip


def test_silence_closes_after_the_timeout_and_progress_does_not() -> None:
    assert close()
    assert not close(heard_s=650.0)
    assert not close(age_s=599.0)
    assert not close(n_committed=2), "a missing quorum never closes"


def test_rules_all_and_quorum_are_the_two_ends() -> None:
    assert not close(Policy(wait="all"))
    assert close(Policy(wait="quorum"), heard_s=699.0)


def test_even_progress_is_not_waited_for_beyond_the_longest_round() -> None:
    assert close(age_s=86_400.0, heard_s=86_399.0)
    assert close(Policy(wait="all"), age_s=86_400.0, heard_s=86_399.0)


def test_told_trouble_is_not_waited_for() -> None:
    assert close(heard_s=699.0, trouble="device")


def test_nothing_missing_needs_no_vote() -> None:
    assert not should_close(POLICY, age_s=1e6, n_committed=3, min_sites=3, missing={}, now_s=1e6)


def test_heartbeats_without_movement_become_silence_after_three_usual_rounds() -> None:
    pulse = Pulse(0.0, 0.0, durations=[1000.0, 2000.0])
    pulse.hear(10.0, "train", 0.4)
    pulse.hear(4400.0, "train", 0.4)
    assert not pulse.silent(4450.0, POLICY)
    pulse.hear(4600.0, "train", 0.4)
    assert pulse.silent(4600.0, POLICY), "fraction stuck for more than 3 x 1500 s"
    pulse.hear(4610.0, "train", 0.5)
    assert not pulse.silent(4610.0, POLICY)


def test_progress_ends_trouble() -> None:
    pulse = Pulse(0.0, 0.0, trouble="device", troubles=2)
    pulse.hear(5.0)
    assert pulse.troubles == 2
    pulse.hear(5.0, "train", 0.1)
    assert (pulse.trouble, pulse.troubles) == ("", 0)


def test_leader_is_lost_when_overdue_and_silent_or_four_times_overdue() -> None:
    assert not leader_is_lost(POLICY, age_s=119.0, silent=True)
    assert leader_is_lost(POLICY, age_s=121.0, silent=True)
    assert not leader_is_lost(POLICY, age_s=479.0, silent=False)
    assert leader_is_lost(POLICY, age_s=481.0, silent=False)


def test_senders_who_stay_away_are_named_sorted() -> None:
    pulses = {"b": Pulse(0.0, 0.0), "a": Pulse(0.0, 0.0), "c": Pulse(129.0, 129.0)}
    asked = {"absent": ["b", "c", "a"], "pulses": pulses}
    assert overdue(POLICY, age_s=119.0, now_s=119.0, **asked) == []
    assert overdue(POLICY, age_s=130.0, now_s=130.0, **asked) == ["a", "b"]
    assert overdue(POLICY, age_s=241.0, now_s=130.0, **asked) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "wrong", [{"round_timeout_s": 0.0}, {"silence_s": -1.0}, {"complete_share": 0.0}, {"complete_share": 1.1},
              {"max_attempts": 0}]
)  # fmt: skip
def test_impossible_policies_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Policy(**wrong)


def test_a_node_speaks_twice_within_any_silence_and_no_oftener_than_it_must() -> None:
    assert Policy(silence_s=8.0).beat_s == 4.0
    assert Policy().beat_s == Policy().heartbeat_s == 15.0
