"""Equivocation, harm verdicts and appeals, budgets, audits."""

import pytest

H1, H2, E1, E2 = (bytes([i]) * 32 for i in (1, 2, 3, 4))
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


# equivocation


def report(court, liar="porto", *, reporter="bonn", slot=(1, 4, 0, 1), h1=H1, h2=H2, s1=None, s2=None):
    s1 = court.signed(liar, *slot, h1) if s1 is None else s1
    s2 = court.signed(liar, *slot, h2) if s2 is None else s2
    return reporter, "report_equivocation", *slot, h1, s1, h2, s2


def test_two_digests_of_one_signer_in_one_slot_exclude_without_a_vote(court):
    events = court.do(*report(court))
    assert court.names(events) == ["Equivocated", "MemberChanged"]
    assert court.last("Equivocated")["site"] == "porto"
    assert court.read("members", 4)[2] == 2
    assert court.refused("porto", "heartbeat") == "member"
    assert court.refused(*report(court)) == "subject"


@pytest.mark.parametrize("slot", [(1, 4, 2 << 32 | 7, 2), (1, 4, 3, 3), (1, 4, 0, 255)])
def test_survivor_bitmaps_and_dealt_shares_have_slots_too(court, slot):
    court.do(*report(court, slot=slot))
    assert court.last("Equivocated")["kind"] == slot[3]


def test_what_is_no_proof_is_refused(court, harness):
    assert court.refused(*report(court, h2=H1)) == "same"
    assert court.refused(*report(court, slot=(1, 4, 0, 0))) == "value"
    assert court.refused(*report(court, s2=court.signed("lund", 1, 4, 0, 1, H2))) == "signature"
    assert court.refused(*report(court, s2=court.signed("porto", 1, 4, 1, 1, H2))) == "signature"
    assert court.refused(*report(court, liar="varna")) == "subject"
    assert court.refused(*report(court, reporter="varna")) == "member"


def test_a_signature_for_another_contract_or_chain_is_no_proof(court, harness):
    for contract, chain_id in ((b"\xc1" * 20, harness.CHAIN_ID), (harness.ADDRESS, harness.CHAIN_ID + 1)):
        foreign = harness.slot_digest(contract, chain_id, 1, 4, 0, 1, H2)
        s2 = harness.key_named("porto").sign_message(foreign)
        assert court.refused(*report(court, s2=s2)) == "signature"


def spoiled(signature: bytes) -> list[bytes]:
    s = int.from_bytes(signature[32:64], "big")
    order = 2 * HALF_ORDER + 1
    return [
        signature[:64],
        b"",
        bytes(65),
        signature[:64] + b"\x00",
        signature[:64] + b"\x1d",
        signature[:32] + (order - s).to_bytes(32, "big") + bytes([55 - signature[64]]),
        b"\xff" * 32 + signature[32:],
        signature[:32] + bytes(32) + signature[64:],
    ]


@pytest.mark.parametrize("case", range(8))
def test_a_signature_in_any_other_form_is_none(court, case):
    signature = court.signed("porto", 1, 4, 0, 1, H2)
    assert court.refused(*report(court, s2=spoiled(signature)[case])) == "signature"


def test_a_signature_of_66_bytes_is_refused_before_anything_runs(court):
    assert court.refused(*report(court, s2=court.signed("porto", 1, 4, 0, 1, H2) + b"\0")) == "reverted"


# harm


def record(court, run, *voters, verdict=4, evidence=E1, site="porto", round=1):
    for voter in voters:
        court.do(voter, "record_harm", run, round, site, verdict, evidence)


def test_equal_records_of_more_than_half_make_a_verdict_stand(court):
    run = court.start()
    record(court, run, "bonn", "graz")
    assert court.read("standings", 4)[0] == 0
    record(court, run, "lund")
    assert court.last("HarmVerdict") == {"run": run, "round": 1, "subject": "porto", "verdict": 4, "evidence": E1}
    assert court.read("standings", 4) == (4, run, 1, E1, 0, 0)
    assert court.names(court.do("oslo", "record_harm", run, 1, "porto", 4, E1)) == ["HarmRecorded"]


def test_other_verdicts_and_other_evidence_do_not_add_up(court):
    run = court.start()
    record(court, run, "bonn", "graz")
    record(court, run, "lund", verdict=3)
    record(court, run, "oslo", evidence=E2)
    assert court.read("standings", 4)[0] == 0


def test_a_site_gives_one_verdict_about_another_and_none_about_itself(court):
    run = court.start()
    record(court, run, "bonn")
    assert court.refused("bonn", "record_harm", run, 1, "porto", 4, E1) == "once"
    assert court.refused("bonn", "record_harm", run, 1, "porto", 3, E1) == "once"
    assert court.refused("porto", "record_harm", run, 1, "porto", 1, E1) == "subject"
    assert court.refused("bonn", "record_harm", run, 1, "varna", 1, E1) == "subject"
    record(court, run, "bonn", site="lund")


@pytest.mark.parametrize(
    ("round", "verdict", "evidence", "reason"),
    [(0, 4, E1, "phase"), (2, 4, E1, "phase"), (1, 0, E1, "value"), (1, 7, E1, "value"), (1, 4, bytes(32), "value")],
)
def test_a_verdict_says_what_when_and_why(court, round, verdict, evidence, reason):
    run = court.start()
    assert court.refused("bonn", "record_harm", run, round, "porto", verdict, evidence) == reason


def test_no_verdict_before_the_run_starts_but_after_it_has_finished(court):
    run = court.propose()
    court.approve(run)
    assert court.refused("bonn", "record_harm", run, 1, "porto", 4, E1) == "phase"
    second = court.start(n_rounds=1)
    court.play(second)
    record(court, second, "bonn", "graz", "lund")
    assert court.read("standings", 4)[1] == second


def test_records_decide_as_soon_as_others_are_gone(court):
    run = court.start()
    record(court, run, "bonn", "graz")
    court.do("oslo", "withdraw", run, 1)
    court.do("lund", "withdraw", run, 1)
    assert court.read("standings", 4)[0] == 0
    record(court, run, "bonn")
    assert court.read("standings", 4)[0] == 4


def test_elimination_needs_a_quarantine_that_stands(court):
    run = court.start()
    assert court.refused("bonn", "record_harm", run, 1, "porto", 5, E1) == "verdict"
    record(court, run, "bonn", "graz", "lund")
    court.play(run)
    record(court, run, "bonn", "graz", "lund", verdict=5, round=2)
    assert court.read("standings", 4)[0] == 5


def test_an_appeal_stops_elimination_until_the_next_verdict(court):
    run = court.start()
    assert court.refused("porto", "appeal", run, 1) == "verdict"
    record(court, run, "bonn", "graz", "lund")
    assert court.refused("porto", "appeal", run, 0) == "value"
    assert court.refused("porto", "appeal", run, 6) == "value"
    assert court.refused("porto", "appeal", 2, 1) == "run"
    court.do("porto", "appeal", run, 2)
    assert court.last("Appealed") == {"run": run, "site": "porto", "code": 2, "lost": 0}
    assert court.refused("porto", "appeal", run, 2) == "once"
    court.play(run)
    assert court.refused("bonn", "record_harm", run, 2, "porto", 5, E1) == "appealed"
    record(court, run, "bonn", "graz", "lund", round=2)
    assert court.read("standings", 4) == (4, run, 2, E1, 0, 1)
    record(court, run, "bonn", site="graz", round=2)
    court.play(run)
    record(court, run, "bonn", "graz", "lund", verdict=5, round=3)
    assert court.read("standings", 4)[0] == 5


def test_an_appeal_that_is_heard_is_not_lost(court):
    run = court.start()
    record(court, run, "bonn", "graz", "lund")
    court.do("porto", "appeal", run, 4)
    court.play(run)
    record(court, run, "bonn", "graz", "lund", verdict=1, round=2)
    assert court.read("standings", 4) == (1, run, 2, E1, 0, 0)
    assert court.refused("porto", "appeal", run, 4) == "verdict"


def test_three_lost_appeals_are_the_last_until_there_are_new_data(court):
    run = court.start(n_rounds=9)
    for round in range(1, 5):
        record(court, run, "bonn", "graz", "lund", round=round)
        if round < 4:
            court.do("porto", "appeal", run, 3)
            court.play(run)
    assert court.read("standings", 4)[5] == 3
    assert court.refused("porto", "appeal", run, 3) == "appeals"
    court.do("porto", "record_data", H1)
    assert court.read("standings", 4) == (0, 0, 0, bytes(32), 0, 0)


def test_a_late_record_about_an_old_round_does_not_replace_the_verdict(court):
    run = court.start()
    record(court, run, "bonn", "graz", "lund", verdict=4, round=1)
    court.play(run)
    record(court, run, "bonn", "graz", "lund", verdict=1, round=2)
    record(court, run, "oslo", verdict=4, round=1)
    assert court.read("standings", 4)[:3] == (1, run, 2)


# budgets and audits


def test_a_budget_record_is_put_on_record_whole(court):
    run = court.start(budget=9)
    text = b"{" + b"x" * 1022 + b"}"
    court.do("lund", "spend", run, 1, H1, text, 9)
    assert court.last("Spent") == {
        "run": run, "round": 1, "site": "lund", "dataset": H1, "record": text, "eps_micro": 9,
    }  # fmt: skip
    court.do("lund", "spend", run, 2, H1, b"{}", 0)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ((3, H1, b"{}", 0), "phase"),
        ((1, bytes(32), b"{}", 0), "value"),
        ((1, H1, b"", 0), "value"),
        ((1, H1, b"{}", 10), "budget"),
        ((1, H1, b"x" * 1025, 0), "reverted"),
    ],
)
def test_a_budget_record_beyond_the_limits_is_refused(court, args, reason):
    run = court.start(budget=9)
    assert court.refused("lund", "spend", run, *args) == reason


def test_who_withdrew_still_accounts_for_what_it_spent(court):
    run = court.start(budget=9)
    court.do("lund", "withdraw", run, 7)
    court.do("lund", "spend", run, 1, H1, b"{}", 3)


def test_an_audit_is_recorded_by_a_joiner_once_the_run_goes(court):
    run = court.propose()
    court.approve(run)
    assert court.refused("lund", "record_audit", run, 0, 1, H1) == "phase"
    court.ready(run)
    court.do("lund", "record_audit", run, 2, 3, H1)
    assert court.last("Audited") == {"run": run, "site": "lund", "tier": 2, "verdict": 3, "digest": H1}
    for args in ((3, 1, H1), (0, 0, H1), (0, 4, H1), (0, 1, bytes(32))):
        assert court.refused("lund", "record_audit", run, *args) == "value"
