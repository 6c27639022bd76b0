"""Who can be reached: the ledger's members whose keys a card brings; nobody else's word counts."""

import pytest

from cohortium.core.seams import LedgerEvent
from cohortium.errors import PeerError, SignatureError
from cohortium.ledger.memory import MemoryLedger
from cohortium.ledger.rules.words import ADMIT, EXCLUDE
from cohortium.node.cards import make_card
from cohortium.node.home import Home
from cohortium.node.membership import Ballot, MemberDirectory, open_ballots, runs_of
from cohortium.node.voting import admit, cast, exclude, rotate

NOW = 1_800_000_000.0


@pytest.fixture
def ledger(porto):
    return MemoryLedger.found(porto.founding.genesis, clock=lambda: NOW)


def key(homes, site):
    return homes[site].keys.ledger


@pytest.fixture
def oslo(tmp_path):
    return Home.create(tmp_path / "oslo", site="oslo", now=NOW, advertise="oslo.example:443")


@pytest.fixture
def directory(porto, ledger):
    followed = MemberDirectory(porto, now=NOW)
    followed.follow(ledger.events())
    return followed


def test_the_founders_are_reached_by_their_cards_own_site_included(directory, homes):
    contacts = directory.contacts()
    assert set(contacts) == {"bonn", "lund", "porto"}
    assert contacts["porto"].endpoint == "localhost:4430"
    assert contacts["bonn"].fingerprint == homes["bonn"].card(NOW).tls
    assert directory.without_card() == ()
    assert directory.own(None) == "active"


def test_before_the_ledger_is_read_nobody_is_known(porto):
    assert MemberDirectory(porto, now=NOW).contacts() == {}


def test_a_newcomer_is_reached_once_voted_in_and_its_card_is_here(directory, ledger, homes, oslo):
    height = ledger.head().height + 1
    admit(ledger, key(homes, "porto"), oslo.card(NOW))
    assert not directory.follow(ledger.events(height))
    height = ledger.head().height + 1
    admit(ledger, key(homes, "bonn"), oslo.card(NOW))
    directory.follow(ledger.events(height))
    assert directory.without_card() == ("oslo",)
    assert "oslo" not in directory.contacts()
    assert directory.learn(oslo.card(NOW).to_bytes())
    assert directory.contacts()["oslo"].endpoint == "oslo.example:443"
    assert not directory.learn(oslo.card(NOW).to_bytes())


def test_a_card_put_into_peers_by_a_command_is_found_again(directory, ledger, homes, oslo, porto):
    for site in ("porto", "bonn"):
        admit(ledger, key(homes, site), oslo.card(NOW))
    directory.follow(ledger.events(2))
    assert directory.without_card() == ("oslo",)
    porto.cards().put(oslo.card(NOW))
    assert directory.reload()
    assert "oslo" in directory.contacts()


def test_a_newcomer_learns_the_others_from_the_founding(ledger, homes, oslo):
    oslo.keep_founding(homes["porto"].founding)
    for site in ("porto", "bonn"):
        admit(ledger, key(homes, site), oslo.card(NOW))
    mine = MemberDirectory(oslo, now=NOW)
    mine.follow(ledger.events())
    assert set(mine.contacts()) == {"bonn", "lund", "oslo", "porto"}


def test_a_newcomer_may_dial_before_it_has_read_of_its_admission(ledger, homes, oslo):
    oslo.keep_founding(homes["porto"].founding)
    mine = MemberDirectory(oslo, now=NOW)
    mine.follow(ledger.events())
    assert mine.own(None) == "unknown"
    assert mine.contacts()["oslo"].fingerprint == oslo.card(NOW).tls
    for site in ("porto", "bonn"):
        admit(ledger, key(homes, site), oslo.card(NOW))
    for site in ("porto", "bonn"):
        exclude(ledger, key(homes, site), "oslo")
    exclude(ledger, key(homes, "lund"), "oslo")
    mine.follow(ledger.events(2))
    assert mine.own(None) == "excluded"
    assert mine.contacts()["oslo"].fingerprint == oslo.card(NOW).tls, "the others refuse it; it may be admitted again"


def test_a_site_with_a_new_ledger_key_may_dial_to_read_of_it(ledger, homes, tmp_path):
    again = Home.create(tmp_path / "lund-again", site="lund", now=NOW)
    again.keep_founding(homes["porto"].founding)
    mine = MemberDirectory(again, now=NOW)
    mine.follow(ledger.events())
    assert mine.own(None) == "other keys"
    assert mine.contacts()["lund"].fingerprint == again.card(NOW).tls


def test_a_site_knows_its_own_new_keys_once_they_are_in_use(ledger, homes, porto):
    mine = MemberDirectory(porto, now=NOW)
    mine.follow(ledger.events())
    staged = porto.stage_keys(NOW)
    rotate(ledger, key(homes, "porto"), staged)
    mine.follow(ledger.events(2))
    assert "porto" not in mine.contacts()
    porto.promote_keys()
    assert mine.reload()
    assert mine.contacts()["porto"].fingerprint == staged.tls


def test_an_excluded_site_is_reached_no_more(directory, ledger, homes):
    for site in ("porto", "bonn"):
        exclude(ledger, key(homes, site), "lund")
    assert directory.follow(ledger.events(2))
    assert set(directory.contacts()) == {"bonn", "porto"}
    assert directory.card_of("lund") is None
    with pytest.raises(PeerError, match="not signed by the ledger's address"):
        directory.learn(homes["lund"].card(NOW + 1).to_bytes())


def test_an_announced_card_counts_from_the_rotation_on(directory, ledger, homes):
    before = directory.contacts()["bonn"].certificate
    card = homes["bonn"].stage_keys(NOW + 5)
    assert not directory.learn(card.to_bytes())
    assert directory.contacts()["bonn"].certificate == before
    rotate(ledger, key(homes, "bonn"), card)
    assert directory.follow(ledger.events(2))
    assert directory.contacts()["bonn"].certificate == card.certificate


def test_a_rotated_site_without_its_new_card_is_named(directory, ledger, homes):
    rotate(ledger, key(homes, "bonn"), homes["bonn"].stage_keys(NOW + 5))
    directory.follow(ledger.events(2))
    assert directory.without_card() == ("bonn",)


def test_a_newer_card_of_the_same_keys_moves_the_endpoint(directory, homes):
    moved = make_card(homes["bonn"].keys, site="bonn", issued=int(NOW) + 9, endpoint="bonn.example:443")
    assert directory.learn(moved.to_bytes())
    assert directory.contacts()["bonn"].endpoint == "bonn.example:443"
    assert directory.card_of("bonn") == moved.to_bytes()


def test_what_is_no_card_of_a_member_is_refused(directory, oslo, homes, tmp_path):
    with pytest.raises(PeerError, match="'oslo'"):
        directory.learn(oslo.card(NOW).to_bytes())
    twin = Home.create(tmp_path / "twin", site="bonn", now=NOW)
    with pytest.raises(PeerError, match="not signed by the ledger's address"):
        directory.learn(twin.card(NOW + 1).to_bytes())
    with pytest.raises(SignatureError):
        directory.learn(homes["bonn"].card(NOW + 1).to_bytes().replace(b"bonn.example", b"evil.example"))
    assert directory.contacts()["bonn"].fingerprint == homes["bonn"].card(NOW).tls


def test_how_the_ledger_knows_this_site(ledger, homes, porto, oslo, tmp_path):
    oslo.keep_founding(porto.founding)
    stranger = MemberDirectory(oslo, now=NOW)
    stranger.follow(ledger.events())
    assert stranger.own(None) == "unknown"
    staged = porto.stage_keys(NOW)
    rotate(ledger, key(homes, "porto"), staged)
    mine = MemberDirectory(porto, now=NOW)
    mine.follow(ledger.events())
    assert mine.own(porto.staged_digest()) == "rotated"
    assert mine.own(None) == "other keys"
    porto.promote_keys()
    fresh = MemberDirectory(porto, now=NOW)
    fresh.follow(ledger.events())
    assert fresh.own(porto.staged_digest()) == "active"
    cast(ledger, key(homes, "porto"), "leave")
    fresh.follow(ledger.events(2))
    assert fresh.own(None) == "left"


def test_open_ballots_are_counted_and_end_with_any_change(ledger, homes, oslo):
    admit(ledger, key(homes, "porto"), oslo.card(NOW))
    exclude(ledger, key(homes, "bonn"), "lund")
    assert open_ballots(ledger.events()) == (
        Ballot(kind="admit", subject="oslo", count=1, need=2, by=("porto",)),
        Ballot(kind="exclude", subject="lund", count=1, need=2, by=("bonn",)),
    )
    admit(ledger, key(homes, "bonn"), oslo.card(NOW))
    assert open_ballots(ledger.events()) == ()


def event(name, **args):
    return LedgerEvent(1, 0, name, args)


def test_ballots_of_runs_are_not_about_members():
    votes = [event("Voted", kind=kind, subject="", site="porto", count=1, need=2) for kind in range(1, 13)]
    assert {one.kind for one in open_ballots(votes)} == {"admit", "exclude", "rekey"}
    assert (ADMIT, EXCLUDE) == (1, 2)


def test_a_site_is_in_a_run_from_its_approval_to_its_withdrawal_or_the_end():
    told = [
        event("Approved", run=1, site="porto"),
        event("Approved", run=2, site="porto"),
        event("Approved", run=3, site="bonn"),
        event("Withdrawn", run=1, site="porto"),
        event("Joined", run=4, site="porto"),
        event("Ended", run=2),
    ]
    assert runs_of(told, "porto") == (4,)
    assert runs_of(told, "bonn") == (3,)
