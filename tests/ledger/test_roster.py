"""Membership folded from events."""

from cohortium.ledger.blocks import Happening
from cohortium.ledger.roster import Roster

A, B, C = b"\1" * 20, b"\2" * 20, b"\3" * 20


def changed(site: str, account: bytes, status: int, epoch: int) -> Happening:
    args = {"site": site, "account": account, "status": status, "tls": bytes(32), "seal": bytes(32), "epoch": epoch}
    return Happening("MemberChanged", args)


def test_who_is_admitted_excluded_or_has_left():
    roster = Roster()
    roster.tell([changed("bonn", A, 1, 1), Happening("Heartbeat", {"site": "bonn"}), changed("graz", B, 1, 2)])
    assert roster.is_active(A)
    assert roster.is_active(B)
    assert not roster.is_active(C)
    roster.tell([changed("bonn", A, 2, 3), changed("graz", B, 3, 4)])
    assert not roster.is_active(A)
    assert not roster.is_active(B)
    assert [(s.name, s.status) for s in roster.membership()] == [("bonn", "excluded"), ("graz", "left")]
    assert roster.membership().epoch == 4


def test_a_new_key_takes_the_place_of_the_old():
    roster = Roster()
    roster.tell([changed("bonn", A, 1, 1), changed("bonn", C, 1, 2)])
    assert roster.is_active(C)
    assert not roster.is_active(A)
    assert len(roster.membership()) == 1
