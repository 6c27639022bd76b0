"""Runs folded from events."""

from cohortium.core.spending import Booked
from cohortium.ledger.blocks import Happening
from cohortium.ledger.story import AuditSaid, HarmSaid, Merge, Story


def told(name: str, **args: object) -> Happening:
    return Happening(name, args)


PROPOSED = told("Proposed", run=1, site="bonn", spec=b"\5" * 32, budget=0)


def test_a_run_is_its_joiners_its_merges_and_its_end():
    story = Story()
    story.tell([PROPOSED, told("Heartbeat", site="bonn")])
    story.tell([told("Approved", run=1, site="porto", joiner=0), told("Approved", run=1, site="bonn", joiner=1)])
    story.tell([told("Joined", run=1, site="lund", joiner=2)])
    story.tell([told("Final", run=1, round=1, digest=b"\1" * 32, contributors=0b101)])
    (run,) = story.summaries()
    assert (run.study, run.proposer, run.sites, run.state) == (b"\5" * 32, "bonn", ("bonn", "lund", "porto"), "open")
    assert run.merges == (Merge(round=1, digest=b"\1" * 32, contributors=("lund", "porto")),)
    story.tell([told("Ended", run=1, state=5, reason=3)])
    assert (story.summaries()[0].state, story.summaries()[0].reason) == ("failed", 3)


def test_runs_are_kept_apart_and_in_order():
    story = Story()
    story.tell(
        [
            told("Proposed", run=2, site="graz", spec=bytes(32), budget=0),
            PROPOSED,
            told("Ended", run=2, state=4, reason=1),
        ]
    )
    assert [(run.run, run.proposer, run.state) for run in story.summaries()] == [
        (1, "bonn", "open"),
        (2, "graz", "finished"),
    ]


def test_privacy_is_told_as_it_was_booked_committed_and_audited():
    story = Story()
    story.tell([told("Proposed", run=1, site="bonn", spec=b"\5" * 32, budget=3_000_000)])
    story.tell([told("DataChanged", site="porto", dataset=b"\7" * 32)])
    spent = {"run": 1, "round": 2, "site": "porto", "dataset": b"\7" * 32, "record": b"{}", "eps_micro": 5}
    story.tell([told("Spent", **spent), told("Committed", run=1, round=2, site="porto", digest=b"", eps_micro=5)])
    story.tell([told("Audited", run=1, site="porto", tier=1, verdict=2, digest=b"\6" * 32)])
    found = story.privacy()
    assert found.booked == (Booked(**{**spent, "dataset": "07" * 32}),)
    assert found.committed == {(1, 2, "porto"): 5}
    assert found.promised == {1: 3_000_000}
    assert found.versions == (("porto", "07" * 32),)
    assert found.audits == (AuditSaid(run=1, site="porto", tier=1, verdict=2, digest=b"\6" * 32),)


def test_a_verdict_stands_with_the_votes_that_said_the_same():
    story, same = Story(), {"run": 1, "round": 9, "subject": "porto", "verdict": 3, "evidence": b"\7" * 32}
    other = {**same, "verdict": 4}
    story.tell([PROPOSED, told("HarmRecorded", site="graz", **other), told("HarmRecorded", site="bonn", **same)])
    assert story.harm() == (), "one vote is no verdict"
    story.tell([told("HarmRecorded", site="lund", **same), told("HarmVerdict", **same)])
    story.tell([told("HarmRecorded", site="brno", **same), told("HarmRecorded", site="cork", **other)])
    said = HarmSaid(run=1, subject="porto", verdict=3, evidence=b"\7" * 32, votes=("bonn", "brno", "lund"))
    assert story.harm() == (said,)
    story.tell([told("Appealed", run=1, site="porto", code=2, lost=0)])
    assert [one.appeal for one in story.harm()] == [2]
