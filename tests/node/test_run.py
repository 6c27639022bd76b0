"""One run as one site sees it: every line once, where it stands in a few words, whom it waits for."""

import asyncio
import itertools

import pytest

from cohortium.core.seams import LedgerEvent
from cohortium.node.run import Run
from cohortium.node.run_folder import Ending, RunFolder
from cohortium.swarm.membership import Members
from cohortium.swarm.notices import Progressed, RoundRecord, Troubled

TERMS = {"min_sites": 2, "n_rounds": 4, "answer_timeout_s": 60, "leader_timeout_s": 60, "budget": 0, "flags": 0}


@pytest.fixture
def run(tmp_path):
    members = Members()
    for number, site in enumerate(("bonn", "lund", "porto")):
        members.admit(site, bytes([number]) * 20)
    proposed = LedgerEvent(3, 0, "Proposed", {"run": 1, "spec": b"s" * 32, "site": "lund", **TERMS})
    clock = itertools.count()
    return Run(
        proposed,
        site="bonn",
        members=members,
        folder=RunFolder(tmp_path / "1"),
        clock=lambda: float(next(clock)),
        monotonic=lambda: 100.0,
        sent_bytes=lambda: 50,
    )


def tell(run, name, **args):
    run.apply(LedgerEvent(4, 0, name, {"run": 1, **args}))


def begin(run):
    for number, site in enumerate(("porto", "bonn")):
        tell(run, "Approved", site=site, joiner=number, commitment=bytes(32))
    tell(run, "Readying", live=0b11)
    tell(run, "Ready", site="bonn", nonce=b"")
    tell(run, "Started", seed=b"", live=0b11, missing=0)
    tell(run, "RoundOpened", round=1, live=0b11, leader="bonn")


def events(run):
    return [line["event"] for line in run.watch()[0]]


def test_joiners_are_all_members_until_approvals_are_closed(run):
    assert run.joiners == ("bonn", "lund", "porto")
    begin(run)
    assert run.joiners == ("bonn", "porto")
    tell(run, "Joined", site="lund", round=2)
    assert run.joiners == ("bonn", "porto"), "the program stays what it was when others join late"


def test_where_it_stands_in_a_few_words(run):
    assert run.sentence() == "waits for the answer of bonn, lund, porto"
    begin(run)
    assert run.sentence() == "round 1/4, waits for bonn, porto"
    assert run.missing() == ["bonn", "porto"]
    tell(run, "Committed", round=1, site="porto", digest=b"", weight=1, eps_micro=0)
    assert run.missing() == ["bonn"]
    tell(run, "Ended", state=5, reason=18)
    assert run.sentence() == "failed (ledger, merge, quorum)"
    assert run.is_over_without_us
    assert run.ended_line(None)["exit_code"] == 4


def test_events_of_others_and_of_this_site_become_lines_once(run):
    begin(run)
    run.hear(Troubled(site="porto", round=1, stage="train", code="device"))
    run.hear(Troubled(site="porto", round=1, stage="train", code="device"))
    tell(run, "Dropped", site="porto", round=1, reason=3)
    assert events(run) == ["approved", "approved", "ready", "started", "trouble", "left"]
    assert run.watch()[0][-1] | {"time": 0} == {
        "event": "left", "run": 1, "time": 0, "site": "porto", "round": 1, "stage": "train", "reason": "device",
    }  # fmt: skip
    assert run.document()["sites"]["porto"]["trouble"] == "device"


def test_progress_is_told_to_watchers_and_not_kept(run):
    _, queue = run.watch()
    run.hear(Progressed(site="lund", round=1, stage="train", fraction=0.25))
    assert queue.get_nowait()["fraction"] == 0.25
    assert "progress" not in events(run)
    assert run.document()["sites"]["lund"]["fraction"] == 0.25


def test_a_round_is_told_with_own_figures_or_from_the_ledger_alone(run):
    begin(run)
    tell(run, "Final", round=1, digest=b"d" * 32, contributors=0b11)
    adopted = {"digest": b"d" * 32, "contributors": (), "leader": "", "measures": {"brier": 0.1}}
    run.hear(RoundRecord(site="bonn", round=1, turn=1, **adopted))
    alone, own = [line for line in run.watch()[0] if line["event"] == "round"]
    assert alone["contributors"] == own["contributors"] == ["bonn", "porto"]
    assert (alone["measures"], own["measures"]) == ({}, {"brier": 0.1})
    assert (own["of"], own["bytes"]) == (4, 0)
    assert run.rounds() == {1: own}


def test_a_peer_that_tells_ever_new_troubles_pushes_no_round_out(run):
    run.say("round", turn=1, measures={"auroc": 0.7})
    for number in range(5000):
        run.hear(Troubled(site="lund", round=1, stage="train", code=f"code-{number}"))
    assert run.rounds()[1]["measures"] == {"auroc": 0.7}


def test_a_watcher_that_reads_nothing_is_cut_off(run):
    _, queue = run.watch()
    for _ in range(5000):
        run.say("ready", site="lund")
    assert not run.is_watched(queue)
    assert len(events(run)) == 4096


def test_what_happened_before_this_process_has_no_time(run):
    run.replaying = True
    run.say("ready", site="lund")
    run.replaying = False
    run.say("ready", site="porto")
    assert [line["time"] is None for line in run.watch()[0]] == [True, False]


def test_a_change_wakes_and_so_does_the_time(run):
    async def main():
        waiting = asyncio.ensure_future(run.changed(timeout_s=60))
        await asyncio.sleep(0)
        run.change()
        await waiting
        await run.changed(timeout_s=0.01)

    asyncio.run(main())


def test_a_recorded_ending_is_what_watchers_hear_last(run):
    ending = Ending(status="partial", sentence="partial (1/2 sites), missing: porto", missing={"porto": "left"})
    line = run.ended_line(ending)
    assert (line["exit_code"], line["missing"], line["report"]) == (3, {"porto": "left"}, "")
