"""Verdicts that stand, folded from the ledger, and what a node does about them."""

import json
from dataclasses import replace

import pytest

from cohortium.core.seams import LedgerEvent
from cohortium.core.verdicts import CODES, Verdict
from cohortium.node.run_folder import EVIDENCE, STATEMENTS
from cohortium.node.standings import left_out, standings_of, unsigned, what_to_sign, worth_saying
from cohortium.quality.decide import Table
from cohortium.swarm.ports import Judged

TABLE = Table(
    status="decided",
    auroc=0.8,
    slope=1.0,
    verdicts=(
        Verdict(site="lund", kind="keep", posterior=0.0, channel="sound", reason="labels agree"),
        Verdict(site="porto", kind="repair", posterior=1.0, channel="reversed", reason="labels look reversed",
                repair="label-polarity", gain=32, left_out=True),
        Verdict(site="ulm", kind="repair", posterior=0.1, channel="sound", reason="an axis", repair="units:a:x10",
                gain=8),
    ),
)  # fmt: skip


def events(*told):
    return [LedgerEvent(name=name, height=at, index=0, args=args) for at, (name, args) in enumerate(told)]


def verdict(site, kind, run=1):
    args = {"run": run, "round": 3, "subject": site, "verdict": CODES[kind], "evidence": TABLE.digest}
    return "HarmVerdict", args


def test_a_verdict_stands_until_the_next_or_a_new_data_version():
    accused = verdict("porto", "quarantine")
    found = standings_of(events(accused))["porto"]
    assert (found.run, found.word, found.guilty, found.appeal) == (1, "quarantine", True, 0)
    assert standings_of(events(accused, ("Appealed", {"run": 1, "site": "porto", "code": 4})))["porto"].appeal == 4
    assert not standings_of(events(accused, verdict("porto", "keep", run=2)))["porto"].guilty
    assert standings_of(events(accused, ("DataChanged", {"site": "porto", "dataset": b"x"}))) == {}


def test_a_node_votes_for_what_asks_for_something_and_for_what_ends_such_a_verdict():
    said = [Judged(site=one.site, verdict=CODES[one.kind], evidence=TABLE.digest) for one in TABLE.verdicts]
    assert [one.site for one in worth_saying(said, [])] == ["porto", "ulm"]
    assert [one.site for one in worth_saying(said, events(verdict("lund", "quarantine")))] == ["lund", "porto", "ulm"]


def keep(folder, table):
    told = {**json.loads(table.canonical()), "digest": table.digest.hex(), "evidence": []}
    (folder / EVIDENCE).write_text(json.dumps(told))
    return folder


@pytest.fixture
def kept(tmp_path):
    return keep(tmp_path, TABLE)


def test_who_is_left_out_follows_from_the_table_this_node_keeps(kept):
    standings = standings_of(events(verdict("porto", "repair"), verdict("ulm", "repair"), verdict("lund", "keep")))
    assert left_out(standings, lambda run: kept) == {"porto"}, "ulm has a small repair and trains all the same"


def test_without_the_table_or_with_another_nobody_is_left_out(kept, tmp_path):
    standings = standings_of(events(verdict("porto", "repair")))
    assert left_out(standings, lambda run: tmp_path / "absent") == frozenset()
    table = kept / EVIDENCE
    table.write_text(table.read_text().replace('"left_out": false', '"left_out": true'))
    assert left_out(standings, lambda run: kept) == frozenset()
    table.write_text("{")
    assert left_out(standings, lambda run: kept) == frozenset()


def test_where_a_subgroup_is_at_stake_nobody_is_left_out_before_a_person_here_has_signed_that_very_table(tmp_path):
    asks = replace(TABLE, verdicts=tuple(replace(one, to_sign=one.left_out) for one in TABLE.verdicts))
    folder, statements = keep(tmp_path, asks), tmp_path / STATEMENTS
    args = {"run": 1, "round": 3, "subject": "porto", "verdict": CODES["repair"], "evidence": asks.digest}
    standings = standings_of(events(("HarmVerdict", args)))

    def found():
        return left_out(standings, lambda run: folder), unsigned(standings, lambda run: folder)

    assert found() == (frozenset(), {"porto"})
    assert what_to_sign("porto", run=1, verdict=standings["porto"].word) == (
        "the verdict of run 1 on 'porto' waits for a person here, since a twentieth or more of a registered subgroup "
        "is there: cohortium audit harm sign 1 --site porto --verdict repair"
    )
    signed = {"signed": "repair", "subject": "porto", "table": asks.digest.hex()}
    for other in ({**signed, "table": TABLE.digest.hex()}, {**signed, "subject": "ulm"}, {"answer": "confirmed"}):
        statements.write_text(json.dumps(other) + "\n")
        assert found() == (frozenset(), {"porto"})
    for broken in ("{", "7", '{"subject": "porto"}'):
        statements.write_text(broken + "\n")
        assert found() == (frozenset(), {"porto"}), "what cannot be read is no signature"
    statements.write_text(json.dumps(signed) + "\n")
    assert found() == ({"porto"}, frozenset())
    keep(folder, TABLE)
    assert found() == (frozenset(), frozenset()), "this node has computed another table"
