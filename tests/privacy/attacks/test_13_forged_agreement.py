"""Attack 13: forge survivor signatures, or use those of another attempt again, to reach the threshold alone."""

import pytest

from cohortium.core.exchange import threshold
from cohortium.core.identity import LedgerKey
from cohortium.errors import PeerError


def attack(post, court):
    """One colluder's words, as often and as differently as it can say them, and those of a stranger."""
    wanted = court.survivors(court.sites[:4])
    stranger = LedgerKey.from_bytes(bytes(31) + b"\x63")
    said = []
    for site, key in [("site-00", None)] * 4 + [("site-01", stranger), ("site-02", court.keys["site-00"])]:
        for round, attempt in ((1, 1), (1, 2), (2, 1)):
            said.append(post(site, round, attempt, wanted, key))
    return said


def test_who_counts_messages_and_not_members_is_talked_into_an_agreement(attacker) -> None:
    court = attacker.Court(5)
    messages = []  # weak: anything that says these survivors counts once more
    attack(lambda site, round, attempt, wanted, key: messages.append((site, wanted)), court)
    assert len(messages) >= threshold(5, 5)


def test_the_contract_counts_different_members_on_this_very_attempt(attacker) -> None:
    court = attacker.Court(5)

    def post(site, round, attempt, wanted, key):
        try:
            court.do(site, "post", 1, round, attempt, 3, wanted, key=key)
        except Exception as refused:
            return getattr(refused, "reason", repr(refused))
        return "counted"

    said = attack(post, court)
    assert said.count("counted") == 1
    assert set(said) == {"counted", "once", "phase", "attempt", "member"} - ({"attempt"} - set(said))
    assert court.agreed == []


def test_without_an_agreement_no_share_leaves_a_site(world) -> None:
    ours = world().run("keys", "shares", "masked")
    with pytest.raises(PeerError, match="0 survivors of 5"):
        ours.ask("site-00", "unmask")
