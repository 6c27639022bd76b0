"""Votes about members: what decides, what is refused and why, and that a running node may sign in between."""

import pytest

from cohortium.errors import LedgerRefused, PeerError, UsageError
from cohortium.ledger.memory import MemoryLedger
from cohortium.ledger.transactions import sign_call
from cohortium.node.cards import Card
from cohortium.node.home import Home
from cohortium.node.membership import MemberDirectory
from cohortium.node.voting import (
    admit,
    cast,
    exclude,
    keep_evidence,
    leave,
    membership_of,
    perform,
    rekey,
    rotate,
)

NOW = 1_800_000_000.0


@pytest.fixture
def ledger(porto):
    return MemoryLedger.found(porto.founding.genesis, clock=lambda: NOW)


@pytest.fixture
def oslo(tmp_path):
    return Home.create(tmp_path / "oslo", site="oslo", now=NOW)


def status(ledger, site):
    found = membership_of(ledger.events()).named(site)
    return found.status if found is not None else "unknown"


def key(homes, site):
    return homes[site].keys.ledger


def test_more_than_half_admit(ledger, homes, oslo):
    admit(ledger, key(homes, "porto"), oslo.card(NOW))
    assert status(ledger, "oslo") == "unknown"
    admit(ledger, key(homes, "lund"), oslo.card(NOW))
    assert status(ledger, "oslo") == "active"


def test_votes_for_two_cards_of_one_name_do_not_add_up(ledger, homes, oslo, tmp_path):
    other = Home.create(tmp_path / "mallory", site="oslo", now=NOW)
    admit(ledger, key(homes, "porto"), oslo.card(NOW))
    admit(ledger, key(homes, "lund"), other.card(NOW))
    assert status(ledger, "oslo") == "unknown"


def test_two_thirds_exclude_and_the_excluded_has_no_vote(ledger, homes):
    exclude(ledger, key(homes, "porto"), "lund")
    with pytest.raises(LedgerRefused, match="subject"):
        exclude(ledger, key(homes, "lund"), "lund")
    exclude(ledger, key(homes, "bonn"), "lund")
    assert status(ledger, "lund") == "excluded"
    with pytest.raises(LedgerRefused) as caught:
        exclude(ledger, key(homes, "lund"), "bonn")
    assert caught.value.hint == "this site is no active member"


def test_a_second_vote_is_refused_in_words(ledger, homes, oslo):
    admit(ledger, key(homes, "porto"), oslo.card(NOW))
    with pytest.raises(LedgerRefused) as caught:
        admit(ledger, key(homes, "porto"), oslo.card(NOW))
    assert "this site has voted on it" in caught.value.hint


def test_a_lost_ledger_key_is_replaced_by_two_thirds(ledger, homes, tmp_path):
    again = Home.create(tmp_path / "lund-again", site="lund", now=NOW)
    rekey(ledger, key(homes, "porto"), again.card(NOW))
    rekey(ledger, key(homes, "bonn"), again.card(NOW))
    assert membership_of(ledger.events()).named("lund").address == again.keys.ledger.address


def test_new_transport_keys_count_at_once(ledger, homes, porto):
    card = porto.stage_keys(NOW)
    rotate(ledger, key(homes, "porto"), card)
    assert card.fits(membership_of(ledger.events()).named("porto"))


def test_leaving_withdraws_from_runs_first(ledger, homes):
    cast(ledger, key(homes, "bonn"), "propose", b"s" * 32, 2, 3, 60, 60, 0, 0)
    cast(ledger, key(homes, "porto"), "approve", 1, b"c" * 32)
    leave(ledger, key(homes, "porto"), site="porto")
    assert [event.name for event in ledger.events()][-2:] == ["Withdrawn", "MemberChanged"]
    assert status(ledger, "porto") == "left"


class Racing:
    """A ledger on which another transaction of the same key slips in before the first try."""

    def __init__(self, ledger, key):
        self._ledger, self._key, self._slips = ledger, key, 1

    def __getattr__(self, name):
        return getattr(self._ledger, name)

    def submit(self, raw):
        if self._slips:
            self._slips -= 1
            nonce = self._ledger.nonce(self._key.address)
            facts = {"chain_id": self.chain_id, "nonce": nonce, "contract": self.contract}
            self._ledger.submit(sign_call(self._key, **facts, function="heartbeat", args=()))
        return self._ledger.submit(raw)


def test_a_number_that_a_running_node_took_is_drawn_again(ledger, homes, oslo):
    admit(Racing(ledger, key(homes, "porto")), key(homes, "porto"), oslo.card(NOW))
    assert [event.name for event in ledger.events()][-2:] == ["Heartbeat", "Voted"]


# as a request


def test_a_request_admits_keeps_and_tells_how_the_vote_stands(ledger, homes, oslo):
    text = oslo.card(NOW).to_bytes().decode()
    first = perform(ledger, homes["porto"], {"do": "admit", "card": text})
    assert first == {"did": "admit", "site": "oslo", "height": 2, "decided": False, "count": 1, "need": 2}
    assert homes["porto"].cards().of("oslo") == (Card.from_bytes(text.encode()),)
    directory = MemberDirectory(homes["bonn"], now=NOW)
    assert perform(ledger, homes["bonn"], {"do": "admit", "card": text}, directory=directory)["decided"]
    directory.follow(ledger.events())
    assert "oslo" in directory.contacts()
    assert perform(ledger, homes["lund"], {"do": "admit", "card": text}) == {
        "did": "kept",
        "site": "oslo",
        "decided": True,
    }


def test_a_members_card_with_other_keys_asks_for_a_rotation(ledger, homes):
    text = homes["lund"].stage_keys(NOW).to_bytes().decode()
    with pytest.raises(UsageError, match="other keys than on this card") as caught:
        perform(ledger, homes["porto"], {"do": "admit", "card": text})
    assert "cohortium node rotate" in caught.value.hint


def test_a_card_of_a_member_with_another_ledger_key_is_a_rekey(ledger, homes, tmp_path):
    again = Home.create(tmp_path / "lund-again", site="lund", now=NOW)
    request = {"do": "admit", "card": again.card(NOW).to_bytes().decode()}
    assert perform(ledger, homes["porto"], request)["did"] == "rekey"
    assert perform(ledger, homes["bonn"], request)["decided"]


def test_a_request_rotates_and_promotes(ledger, porto):
    before = porto.card(NOW).tls
    answer = perform(ledger, porto, {"do": "rotate", "now": NOW})
    assert answer["did"] == "rotate"
    assert porto.card(NOW).tls != before
    assert porto.card(NOW).fits(membership_of(ledger.events()).named("porto"))


def test_a_refused_rotation_keeps_the_old_keys(ledger, homes, porto):
    leave(ledger, key(homes, "porto"), site="porto")
    before = porto.card(NOW).tls
    with pytest.raises(LedgerRefused):
        perform(ledger, porto, {"do": "rotate", "now": NOW})
    assert porto.card(NOW).tls == before


def test_members_and_ballots_are_listed(ledger, homes):
    perform(ledger, homes["porto"], {"do": "exclude", "site": "lund"})
    told = perform(ledger, homes["porto"], {"do": "members"})
    assert [(one["site"], one["status"]) for one in told["members"]] == [
        ("bonn", "active"),
        ("lund", "active"),
        ("porto", "active"),
    ]
    assert told["ballots"] == [{"about": "exclude", "site": "lund", "count": 1, "need": 2, "by": ["porto"]}]
    assert perform(ledger, homes["porto"], {"do": "leave"})["did"] == "leave"


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"do": "dance"},
        {"do": "exclude"},
        {"do": "exclude", "site": "../x"},
        {"do": "admit", "card": 7},
        {"do": "admit", "card": "{}"},
        {"do": "admit", "card": "x" * 9000},
        {"do": "rotate"},
        {"do": "rotate", "now": True},
    ],
)
def test_a_malformed_request_is_refused_and_changes_nothing(ledger, porto, request_):
    with pytest.raises((UsageError, PeerError)):
        perform(ledger, porto, request_)
    assert ledger.head().height == 1


def test_evidence_is_kept_privately(porto):
    path = keep_evidence(porto, b"two signatures", "ab" * 32)
    assert path.read_bytes() == b"two signatures"
    assert path.stat().st_mode & 0o777 == 0o600
