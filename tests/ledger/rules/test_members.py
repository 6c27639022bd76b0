"""Who belongs: founding, admission, exclusion, new keys, leaving."""

import pytest

from cohortium.core.identity import keccak
from cohortium.errors import LedgerRefused

TLS, SEAL = b"\1" * 32, b"\2" * 32


def newcomer(harness, name="varna"):
    return harness.key_named(name).address


def admit(court, harness, *voters, name="varna", account=None):
    for voter in voters:
        court.do(voter, "vote_admit", account or newcomer(harness, name), name, TLS, SEAL)


def test_founders_are_seated_in_the_order_given(court, harness):
    assert [args["site"] for _, args in court.engine.founding] == court.sites
    assert [args["epoch"] for _, args in court.engine.founding] == [1, 2, 3, 4, 5]
    assert court.read("n_members") == 5
    assert court.read("active") == 0b11111
    assert court.read("epoch") == 5
    bonn = harness.founder_named("bonn")
    assert court.read("members", 0) == ("bonn", bonn.address, 1, bonn.tls, bonn.seal, harness.START)
    assert court.read("slots", bonn.address) == 1
    assert court.read("names", "lund") == 3
    assert court.read("members", 5) == ("", bytes(20), 0, bytes(32), bytes(32), 0)


@pytest.mark.parametrize(
    ("names", "reason"),
    [([], "value"), (["bonn", "bonn"], "name"), (["Bonn"], "name"), (["a b"], "name"), ([""], "name"), (["ü"], "name")],
)
def test_impossible_founders_are_refused(found, names, reason):
    with pytest.raises(LedgerRefused) as refused:
        found(0, names=names)
    assert refused.value.reason == reason


def test_two_founders_with_one_address_are_refused(found, harness, request):
    twins = tuple(harness.Founder(b"\7" * 20, name, TLS, SEAL) for name in ("bonn", "graz"))
    with pytest.raises(LedgerRefused, match="address"):
        harness.ENGINES[request.node.callspec.params["found"]](twins)


def test_more_than_half_of_the_active_members_admit(court, harness):
    admit(court, harness, "bonn", "graz")
    assert court.read("n_members") == 5
    assert court.last("Voted") == {
        "kind": 1, "run": 0, "round": 5, "subject": "varna", "site": "graz", "count": 2, "need": 3,
    }  # fmt: skip
    court.wait(7)
    admit(court, harness, "lund")
    assert court.read("members", 5) == ("varna", newcomer(harness), 1, TLS, SEAL, court.now)
    assert court.read("active") == 0b111111
    assert court.read("epoch") == 6
    assert court.last("MemberChanged")["status"] == 1
    court.do("varna", "heartbeat")


def test_nobody_votes_twice_in_one_epoch(court, harness):
    admit(court, harness, "bonn")
    assert court.refused("bonn", "vote_admit", newcomer(harness), "varna", TLS, SEAL) == "voted"


def test_votes_for_other_keys_are_votes_for_another_matter(court, harness):
    admit(court, harness, "bonn", "graz")
    court.do("lund", "vote_admit", newcomer(harness), "varna", TLS, TLS)
    assert court.read("n_members") == 5


@pytest.mark.parametrize("name", ["", "Varna", "var_na", "värna", "a" * 31 + "."])
def test_a_name_has_small_letters_digits_and_hyphens(court, harness, name):
    assert court.refused("bonn", "vote_admit", newcomer(harness), name, TLS, SEAL) == "name"


def test_a_name_of_33_letters_is_refused_before_anything_runs(court, harness):
    assert court.refused("bonn", "vote_admit", newcomer(harness), "a" * 33, TLS, SEAL) == "reverted"
    court.do("bonn", "vote_admit", newcomer(harness), "a" * 31 + "9", TLS, SEAL)


def test_names_and_addresses_are_unique(court, harness):
    assert court.refused("bonn", "vote_admit", newcomer(harness), "graz", TLS, SEAL) == "name"
    taken = harness.key_named("graz").address
    assert court.refused("bonn", "vote_admit", taken, "varna", TLS, SEAL) == "address"
    assert court.refused("bonn", "vote_admit", bytes(20), "varna", TLS, SEAL) == "address"
    assert court.refused("bonn", "vote_rekey", "graz", harness.key_named("lund").address, TLS, SEAL) == "address"
    assert court.refused("bonn", "vote_rekey", "graz", bytes(20), TLS, SEAL) == "address"


def test_exclusion_takes_two_thirds_and_the_subject_has_no_vote(found):
    court = found(6)
    assert court.refused("porto", "vote_exclude", "porto") == "subject"
    assert court.refused("bonn", "vote_exclude", "varna") == "subject"
    for site in ("bonn", "graz", "lund"):
        court.do(site, "vote_exclude", "porto")
    assert court.read("active") == 0b111111
    court.do("oslo", "vote_exclude", "porto")
    assert court.read("active") == 0b101111
    assert court.read("members", 4)[2] == 2
    assert court.refused("porto", "heartbeat") == "member"
    assert court.refused("bonn", "vote_exclude", "porto") == "subject"


def test_an_excluded_name_comes_back_by_two_thirds_only(found, harness):
    court = found(6)
    for site in ("bonn", "graz", "lund", "oslo"):
        court.do(site, "vote_exclude", "porto")
    back = harness.key_named("porto").address
    for site in ("bonn", "graz", "lund"):
        court.do(site, "vote_admit", back, "porto", TLS, SEAL)
    assert (court.last("Voted")["count"], court.last("Voted")["need"]) == (3, 4)
    court.do("oslo", "vote_admit", back, "porto", TLS, SEAL)
    assert court.read("n_members") == 6
    assert court.read("active") == 0b111111


def test_who_left_comes_back_into_its_slot_with_a_new_address(court, harness):
    court.do("porto", "leave")
    assert court.read("members", 4)[2] == 3
    assert court.read("epoch") == 6
    assert court.refused("porto", "leave") == "member"
    fresh = newcomer(harness, "porto-new")
    admit(court, harness, "bonn", "graz", "lund", name="porto", account=fresh)
    assert court.read("members", 4)[:3] == ("porto", fresh, 1)
    assert court.read("slots", harness.key_named("porto").address) == 0
    assert court.refused("porto", "heartbeat") == "member"


def test_a_lost_ledger_key_is_replaced_by_two_thirds_and_keeps_name_and_slot(court, harness):
    fresh = newcomer(harness, "porto-new")
    for site in ("bonn", "graz", "lund"):
        court.do(site, "vote_rekey", "porto", fresh, TLS, SEAL)
    assert court.read("members", 4)[1] != fresh
    court.do("oslo", "vote_rekey", "porto", fresh, TLS, SEAL)
    assert court.read("members", 4)[:5] == ("porto", fresh, 1, TLS, SEAL)
    assert court.read("names", "porto") == 5
    assert court.refused("porto", "heartbeat") == "member"
    court.do("porto-new", "heartbeat")
    assert court.refused("bonn", "vote_rekey", "varna", b"\5" * 20, TLS, SEAL) == "subject"


def test_rotation_changes_keys_at_once_and_discards_no_vote(court, harness):
    admit(court, harness, "bonn")
    court.do("lund", "rotate", SEAL, TLS)
    assert court.read("members", 2)[3:5] == (SEAL, TLS)
    assert court.read("epoch") == 5
    admit(court, harness, "graz", "oslo")
    assert court.read("n_members") == 6


def test_heartbeat_is_seen(court):
    court.wait(90)
    assert court.do("graz", "heartbeat") == [("Heartbeat", {"site": "graz"})]
    assert court.read("members", 1)[5] == court.now


def test_two_members_can_neither_exclude_nor_rekey_each_other(found):
    court = found(2)
    court.do("bonn", "vote_exclude", "graz")
    court.do("bonn", "vote_rekey", "graz", b"\5" * 20, TLS, SEAL)
    assert court.read("active") == 0b11
    assert court.last("Voted")["need"] == 2


def test_a_new_data_version_clears_the_verdict(court):
    assert court.do("bonn", "record_data", b"\3" * 32) == [("DataChanged", {"site": "bonn", "dataset": b"\3" * 32})]
    assert court.refused("bonn", "record_data", bytes(32)) == "value"


def test_there_are_at_most_255_seats(harness):
    """On the rules alone: the state is written directly."""
    engine = harness.OnRules(tuple(harness.founder_named(name) for name in ("bonn",)))
    engine.state.put("totals", "n_members", 255)
    with pytest.raises(LedgerRefused, match="full"):
        engine.call(harness.key_named("bonn").address, "vote_admit", (b"\5" * 20, "varna", TLS, SEAL), 1)


def test_a_vote_key_names_epoch_and_matter(court, harness):
    admit(court, harness, "bonn", "lund")
    matter = keccak(bytes(12) + newcomer(harness) + keccak(b"varna") + TLS + SEAL)
    assert court.votes(1, 0, 5, 0, matter) == 0b101
