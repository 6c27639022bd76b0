"""Calls told by a node, checked by the rules: honest ones pass, invented ones do not, odd ones stop nobody."""

import pytest

from cohortium.core.identity import keccak
from cohortium.ledger import rlp
from cohortium.ledger import transactions as made
from cohortium.ledger.blocks import Happening
from cohortium.ledger.witnessed import Witnessed

BEAT = (Happening("Heartbeat", {"site": "bonn"}),)


@pytest.fixture
def told(hospitals):
    """The rules after a founding, and a way to spell transactions."""
    genesis = hospitals.genesis_of("evm-rpc")
    rules = Witnessed(genesis, founded_s=hospitals.start)

    def raw(site, function="heartbeat", *args, nonce=0, **fields):
        place = {"chain_id": genesis.chain_id, "contract": genesis.contract}
        signed = made.sign_call(hospitals.key_of(site), nonce=nonce, function=function, args=args, **place)
        items = dict(zip(("nonce", "price", "gas", "to", "value", "data"), rlp.decode(signed), strict=False))
        return made._sign(hospitals.key_of(site), genesis.chain_id, [*{**items, **fields}.values()])

    return rules, raw


def tell(rules, raw, *, ok=True, events=BEAT, height=2):
    return rules.tell(raw, ok=ok, events=events, time=1_800_000_000 + height, height=height)


def test_honest_calls_pass_and_refusals_have_their_reason(told):
    rules, raw = told
    assert tell(rules, raw("bonn")) == ""
    assert tell(rules, raw("graz", "approve", 9, bytes(32)), ok=False, events=()) == "run"
    assert tell(rules, raw("bonn", "leave", nonce=1), events=[Happening("MemberChanged", left(rules))]) == ""
    assert [site.name for site in rules.membership().active] == ["graz", "lund", "oslo", "porto"]
    assert rules.unfollowed == ""


def left(rules):
    site = rules.membership().named("bonn")
    return {"site": "bonn", "account": site.address, "status": 3, "tls": site.tls, "seal": site.seal, "epoch": 6}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ok": False, "events": ()}, "heartbeat is said to have failed, and the rules accept it"),
        ({"events": ()}, "other events"),
        ({"events": (Happening("Heartbeat", {"site": "graz"}),)}, "other events"),
        ({"events": (*BEAT, *BEAT)}, "other events"),
    ],
)
def test_an_invented_outcome_is_noticed(told, change, says):
    rules, raw = told
    with pytest.raises(ValueError, match=says):
        tell(rules, raw("bonn"), **change)


def test_an_invented_success_is_noticed(told):
    rules, raw = told
    with pytest.raises(ValueError, match=r"approve is said to have passed, and the rules refuse it \(run\)"):
        tell(rules, raw("bonn", "approve", 9, bytes(32)), events=())


def test_a_transaction_is_told_once(told):
    rules, raw = told
    tell(rules, raw("bonn", nonce=4))
    for nonce in (4, 3):
        with pytest.raises(ValueError, match="used before"):
            tell(rules, raw("bonn", nonce=nonce))
    assert tell(rules, raw("bonn", nonce=9)) == ""  # numbers in between went elsewhere


def test_a_call_that_ran_out_of_gas_changed_nothing(told):
    rules, raw = told
    assert tell(rules, raw("bonn", gas=rlp.to_bytes(30_000)), ok=False, events=()) == "gas"
    assert tell(rules, raw("bonn", nonce=1)) == ""


def test_a_strangers_call_is_judged_by_the_contract_alone(told, hospitals):
    """The chain lets anybody in; `sweep` is the one function that then does something."""
    rules, raw = told
    assert tell(rules, raw("nobody", "heartbeat"), ok=False, events=()) == "member"
    assert tell(rules, raw("nobody", "sweep", 1, "bonn", nonce=1), ok=False, events=()) == "run"


@pytest.mark.parametrize("form", ["typed", "price", "value", "loose", "elsewhere", "unspelled"])
def test_an_odd_form_is_passed_over_until_it_changes_something(told, form):
    rules, raw = told
    good = raw("bonn")
    odd = {
        "typed": b"\x02" + good,
        "price": raw("bonn", price=b"\1"),
        "value": raw("bonn", value=b"\1"),
        "loose": raw("bonn", data=rlp.decode(good)[5] + bytes(32)),
        "elsewhere": raw("bonn", to=b"\1" * 20),
        "unspelled": b"",
    }[form]
    assert tell(rules, odd, ok=False, events=()) == "reverted"
    assert tell(rules, odd, ok=True, events=()) == ""
    assert tell(rules, good) == ""
    assert rules.unfollowed == ""
    assert tell(rules, odd, events=[Happening("MemberChanged", left(rules))], height=7) == ""
    assert "block 7" in rules.unfollowed
    assert rules.is_active(rules.membership().named("graz").address)
    assert not rules.is_active(rules.membership().named("bonn").address)  # who belongs, the events still say
    assert tell(rules, raw("graz", "approve", 9, bytes(32)), ok=False, events=()) == "reverted"
    assert tell(rules, b"", events=[Happening("Heartbeat", {"site": "graz"})], height=9) == ""
    assert "block 7" in rules.unfollowed


def test_block_time_is_the_chains(told):
    rules, raw = told
    study = keccak(b"study")
    assert rules.follow(raw("bonn", "propose", study, 2, 3, 3600, 60, 0, 0), ok=True, time=2_000_000_000, height=2)
    outcome = rules.follow(raw("graz", "close_approvals", 1), ok=False, time=2_000_000_010, height=3)
    assert outcome.reason
