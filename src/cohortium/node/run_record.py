"""What an ended run leaves at a site: record, page, model, ledger - written together - and how it ended.

The site's own figures come from its worker (`own_record.py`), the others' from the others (`figures.py`), all else from
the ledger, exported and verified offline before anything of it is printed. One row for each site that approved: its
figures, or why they are missing.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cohortium.core.verdicts import CODES
from cohortium.errors import VerificationFailed
from cohortium.ledger.archive import verify
from cohortium.ledger.story import Merge
from cohortium.node.figures import TOPIC, gather_figures, own_figures, shared_figures
from cohortium.node.means import Means, Seat
from cohortium.node.run import Run
from cohortium.node.run_folder import COPIES, EVIDENCE, FINDINGS, SCORES, SUSPECTS, Ending, Figures, draft_of
from cohortium.node.work import audits
from cohortium.reports.quality import QualityRecord
from cohortium.reports.record import LedgerRecord, Member, RoundRecord, RunRecord, Timings
from cohortium.sim.folder import write_together, write_whole
from cohortium.sim.protection import egress_of, rounds_of
from cohortium.sim.results import page_file
from cohortium.sim.versions import installed_versions
from cohortium.swarm.actions import Outcome
from cohortium.swarm.egress import EgressLog

__all__ = ["write_results"]

_ASK_S = 10.0
_JUDGING_S = 900.0
"""How long others' seals are awaited: a large hospital takes minutes to judge a table."""
_PIECE = 1 << 20
_NOT_POOLED = (
    "a run between hospitals: each holds its own patients, so there is no model of all patients in one place to"
    " compare with, and this page measures on this site's patients only"
)
_NOT_TRAINED = (
    "an audit between hospitals: no model was trained; the records this site should look at are listed in"
    " suspects.csv, here and nowhere else"
)
_SHOWN = (
    "an audit between hospitals: no model was kept; every hospital's own model was shown to all others, and tried on"
    " their patients at home"
)
_LEARNED = (
    "a generator between hospitals: nobody holds the patients of all, so its patients are judged at every hospital on"
    " its own, and by sums of all hospitals where the study has masks"
)


async def write_results(means: Means, run: Run, seat: Seat, outcome: Outcome) -> Ending:
    """Measure, tell, ask, write. Afterwards the run is closed here. Never raises for what others do."""
    sentence = _sentence(outcome)
    if audits(seat.study):
        await _votes_are_cast(means, run, {one.site for one in seat.said})
    if seat.study.synth is not None:
        await _seals_are_set(means, run)
    exported, ledger = await means.blocking(lambda: _export(means, run))
    if outcome.rounds == 0 or not seat.node.has_final_merge:
        why = "no merge became final" if outcome.rounds == 0 else "nobody could give the last merge in time"
        run.folder.keep_figures(Figures(withheld=why))
        await means.blocking(lambda: write_together({run.folder.path / "ledger.jsonl": [exported]}))
        return Ending(status=outcome.status, sentence=f"{sentence}; {why}")
    draft, chain = run.folder.path / ".model.draft", run.folder.path / ".ledger.draft"
    try:
        own, withheld = await means.blocking(lambda: _own(seat, draft, chain, exported))
        run.folder.keep_figures(own_figures(own, means.site, withheld=withheld))
        told: dict[str, Figures | str] = {}
        if own.quality is None and seat.study.synth is None:
            told = await gather_figures(
                _peers(means, run),
                run.number,
                lambda peer, request: means.board.ask(peer, TOPIC, request, timeout_s=_ASK_S),
                wait_s=means.figures_s,
                again_s=means.heartbeat_s / 4,
            )
            told[means.site] = run.folder.figures() or Figures(withheld="not measured")
        record = _protected(means, run, _record(means, run, own, outcome, ledger, told), seat.egress)
        await means.blocking(lambda: _write(run, record, draft, exported))
    finally:
        for left in (draft, chain, *_findings(run.folder.path).values()):
            left.unlink(missing_ok=True)
    missing = {site: shared.missing for site, shared in record.shared.items() if shared.missing}
    return Ending(status=outcome.status, sentence=sentence, missing=missing)


def _sentence(outcome: Outcome) -> str:
    short = [site for site in outcome.merged if site not in outcome.satisfied]
    return f"{outcome}, missing: {', '.join(sorted(short))}" if outcome.status == "partial" and short else str(outcome)


async def _votes_are_cast(means: Means, run: Run, subjects: Collection[str]) -> None:
    """Wait until every site that is still there has said what this one says."""

    def cast() -> bool:
        said = _votes(means, run)
        return all((subject, by) in said for subject in subjects for by in run.view.live if by != subject)

    await _until(means, cast, within_s=means.figures_s)


async def _seals_are_set(means: Means, run: Run) -> None:
    """Wait until every site that is still there has sealed its copy of the generator, where this one has."""

    def sealed() -> set[str]:
        mine = [one.args for one in means.chronicle.events() if one.name == "Audited" and one.args["run"] == run.number]
        return {str(args["site"]) for args in mine}

    def done() -> bool:
        there = sealed()
        return means.site not in there or run.view.live <= there

    await _until(means, done, within_s=max(means.figures_s, _JUDGING_S))


async def _until(means: Means, done: Callable[[], bool], *, within_s: float) -> None:
    """Wait for what the ledger will say."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not done() and asyncio.get_running_loop().time() < deadline:
        await means.bell.wait(means.bell.rings, timeout_s=means.poll_s)


def _votes(means: Means, run: Run) -> dict[tuple[str, str], tuple[Any, Any]]:
    """(subject, who said so) -> verdict and digest of the table, as the ledger holds them."""
    mine = [one.args for one in means.chronicle.events()
            if one.name == "HarmRecorded" and one.args["run"] == run.number]  # fmt: skip
    return {(str(a["subject"]), str(a["site"])): (a["verdict"], a["evidence"]) for a in mine}


def _findings(folder: Path) -> dict[str, Path]:
    """What a run leaves beside record and model, as drafts."""
    return {name: path for name in FINDINGS if (path := draft_of(folder, name)).is_file()}


def _own(seat: Seat, draft: Path, chain: Path, exported: bytes) -> tuple[RunRecord, str]:
    draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(chain, [exported])
    text, withheld = seat.crew.record(seat.node.state, model=draft, ledger=chain)
    return RunRecord.from_json(text), withheld


def _peers(means: Means, run: Run) -> dict[str, str]:
    """The other sites that took part, and why those left that are gone."""
    left = {gone.site: f"left the run ({gone.stage}, {gone.reason})" for gone in run.view.departures}
    here = run.view.live | run.view.pending
    return {
        site: "" if site in here else left.get(site, "left the run") for site in run.view.joiners if site != means.site
    }


def _export(means: Means, run: Run) -> tuple[bytes, LedgerRecord]:
    """The chain as JSON lines, and what is to be said of it after an offline replay."""
    ledger, genesis = means.ledger, means.ledger.genesis
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        ledger.export(path)
        try:
            height, head = (found := verify(path, consortium=genesis.consortium, evm=False)).height, found.head
            verified = True
        except VerificationFailed as failed:  # the page says so in red; the results are not lost for it
            means.log("error", "the exported ledger does not verify", run=run.number, error=failed)
            verified, (height, head) = False, (ledger.head().height, ledger.head().hash)
        members = means.members
        return path.read_bytes(), LedgerRecord(
            engine=genesis.engine,
            height=height,
            head=head.hex(),
            members=tuple(
                Member(site=site, account=address.hex(), approved=run.spec.hex() if site in run.view.joiners else "")
                for site, address in sorted(members.address_of.items())
            ),
            verified=verified,
            verify=f"cohortium audit ledger ledger.jsonl --consortium {genesis.consortium.hex()[:16]}",
        )


def _record(
    means: Means,
    run: Run,
    own: RunRecord,
    outcome: Outcome,
    ledger: LedgerRecord,
    told: Mapping[str, Figures | str],
) -> RunRecord:
    view = run.view
    if own.quality is not None:
        own = _voted(means, run, own, own.quality)
    return replace(
        own,
        status=str(outcome),
        sites=tuple(sorted(view.joiners)),
        included=tuple(final.contributors for final in view.finals),
        ledger=ledger,
        versions=installed_versions(),
        seconds=run.seconds,
        randomness="operating system",
        engine="one node a hospital",
        rounds=_rounds(means, run, outcome),
        shared={site: shared_figures(figures) for site, figures in sorted(told.items())},
        notes=(_nature(own), *own.notes),
        timings=Timings(rounds=tuple(line["seconds"] for line in run.rounds().values())),
    )


def _nature(own: RunRecord) -> str:
    """What kind of run it was, for the top of the page."""
    if own.quality is not None:
        return _SHOWN if own.quality.detector == "agreement" else _NOT_TRAINED
    return _LEARNED if own.study.get("synth") else _NOT_POOLED


def _voted(means: Means, run: Run, own: RunRecord, held: QualityRecord) -> RunRecord:
    """The record with the votes for each verdict, with who voted otherwise, and what the audit has cost in payloads."""
    table = bytes.fromhex(json.loads(draft_of(run.folder.path, EVIDENCE).read_text())["digest"])
    said = _votes(means, run)
    right = {pair for pair, found in said.items() if found == (CODES[held.sites[pair[0]].verdict], table)}
    votes, other = Counter(subject for subject, _ in right), sorted({by for _, by in said.keys() - right})
    sent = sum(len(final.contributors) for final in run.view.finals)
    sites = {site: replace(one, votes=votes[site]) for site, one in held.sites.items()}
    quality = replace(held, sites=sites, cost=replace(held.cost, model_transfers=sent))
    odd = (f"{', '.join(other)} voted otherwise than the table this site has computed says",) if other else ()
    return replace(own, quality=quality, notes=(*odd, *own.notes))


def _protected(means: Means, run: Run, record: RunRecord, log: EgressLog) -> RunRecord:
    """The record with what the ledger shows of protection, and with everything that left this site for the run."""
    if record.privacy is None:
        return record
    events = [event for event in means.chronicle.events() if event.args.get("run") == run.number]
    merges = [Merge(round=one.round, digest=one.digest, contributors=one.contributors) for one in run.view.finals]
    left = egress_of({means.site: log})
    return replace(record, privacy=replace(record.privacy, rounds=rounds_of(events, merges), egress=left))


def _rounds(means: Means, run: Run, outcome: Outcome) -> tuple[RoundRecord, ...]:
    """One record a merge: what the ledger holds, and what this site measured (nothing from before a restart)."""
    events = [event for event in means.chronicle.events() if event.args.get("run") == run.number]
    attested = Counter(event.args["round"] for event in events if event.name == "Attested")
    published: dict[Any, Any] = {event.args["round"]: event.args for event in events if event.name == "Published"}
    lines = run.rounds()
    return tuple(
        RoundRecord(
            round=final.round,
            leader=final.leader,
            contributors=final.contributors,
            merge=final.digest.hex(),
            stage=run.stages.get(turn, ""),
            inputs=bytes(published[final.round]["inputs_root"]).hex(),
            missing={
                site: "; ".join(outcome.reasons.get(site, ())) or "not in the merge"
                for site in sorted(run.view.joiners)
                if site not in final.contributors
            },
            per_site={means.site: dict(lines[turn]["measures"])} if turn in lines and lines[turn]["measures"] else {},
            n_attested=attested[final.round],
            bytes=lines[turn]["bytes"] if turn in lines else 0,
        )
        for turn, final in enumerate(run.view.finals, start=1)
    )


def _write(run: Run, record: RunRecord, draft: Path, exported: bytes) -> None:
    folder = run.folder.path
    findings = _findings(folder)
    write_together(
        {
            **({folder / "model.safetensors": _pieces(draft)} if draft.is_file() else {}),
            **{folder / name: _pieces(path) for name, path in findings.items()},
            folder / "ledger.jsonl": [exported],
            folder / "report.html": page_file(record, scope="site"),
            folder / "run.json": [record.to_json().encode()],
        },
        private=[folder / SUSPECTS, folder / SCORES, folder / COPIES],
    )


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
