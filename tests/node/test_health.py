"""Healthy is more than alive: every reason why not is a sentence with what to do."""

from types import SimpleNamespace

import pytest

from cohortium.core.seams import Head
from cohortium.errors import LedgerUnreachable
from cohortium.node.health import FRESH_S, Health
from cohortium.swarm.membership import Members


@pytest.fixture
def parts():
    members = Members()
    for number, site in enumerate(("bonn", "lund", "porto")):
        members.admit(site, bytes([number]) * 20)
    traffic = SimpleNamespace(sent_bytes=7, received_bytes=9)
    network = SimpleNamespace(
        paths=lambda: {"lund": "direct"}, traffic=lambda: {"lund": traffic}, refusals=dict, own_trouble=""
    )
    directory = SimpleNamespace(own=lambda staged: "active", without_card=tuple)
    ledger = SimpleNamespace(head=lambda: Head(7, b"\xab" * 32, bytes(32)))
    return SimpleNamespace(network=network, directory=directory, ledger=ledger, members=members, now=0.0)


@pytest.fixture
def health(parts):
    return Health(
        site="bonn",
        network=parts.network,
        directory=parts.directory,
        ledger=parts.ledger,
        members=parts.members,
        monotonic=lambda: parts.now,
    )


def problems(health):
    return health.problems(staged=None, forked="")


def test_one_peer_with_the_same_chain_is_enough_for_a_minute(health, parts):
    assert problems(health) == ["no other member was heard within 60 s"]
    health.heard("lund", height=7, same=True)
    assert problems(health) == []
    document = health.document(staged=None, forked="")
    assert document["healthy"]
    assert document["peers"]["lund"] == {
        "path": "direct", "heard_s_ago": 0.0, "height": 7, "same_chain": True, "sent_bytes": 7, "received_bytes": 9,
    }  # fmt: skip
    assert document["peers"]["porto"]["path"] == "none: no card"
    parts.now = FRESH_S + 1
    assert problems(health) == ["no other member was heard within 60 s"]


def test_another_chain_at_every_peer_is_a_problem_and_a_shorter_one_is_none(health):
    health.heard("lund", height=9, same=None)
    assert problems(health) == []
    health.heard("lund", height=7, same=False)
    assert problems(health) == ["the chain here differs from that of lund"]


@pytest.mark.parametrize(
    ("own", "words"),
    [("excluded", "was excluded"), ("other keys", "node rotate"), ("unknown", "node approve"), ("left", "has left")],
)
def test_what_the_ledger_says_of_this_site_is_said_with_what_to_do(health, parts, own, words):
    health.heard("lund", height=7, same=True)
    parts.directory.own = lambda staged: own
    assert len(problems(health)) == 1
    assert words in problems(health)[0]


def test_certificate_ledger_cards_and_forks_are_named(health, parts):
    health.heard("lund", height=7, same=True)
    parts.network.own_trouble = "the certificate ended on 2026-01-01; run: cohortium node rotate"
    parts.directory.without_card = lambda: ("porto",)
    health.ledger_away("the host does not answer")
    assert len(problems(health)) == 2, "a ledger that is away for a moment is no problem"
    parts.now = 31.0
    found = health.problems(staged=None, forked="block 3")
    assert [sentence.partition(";")[0] for sentence in found] == [
        "the ledger was written twice: block 3",
        "the certificate ended on 2026-01-01",
        "the ledger is away since 31 s: the host does not answer",
        "no card is known of porto, so they cannot be reached",
    ]
    health.ledger_read()
    assert len(problems(health)) == 2


def test_a_ledger_that_cannot_be_read_does_not_break_the_status(health, parts):
    def away():
        raise LedgerUnreachable("etcd is down")

    parts.ledger.head = away
    assert health.document(staged=None, forked="")["ledger"]["trouble"] == "etcd is down"
