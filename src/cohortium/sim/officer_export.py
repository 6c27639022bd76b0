"""The officer's page of a run folder: its record, its ledger replayed again, its audit if there was one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cohortium.errors import VerificationFailed
from cohortium.reports.officer import OfficerPage, Proof
from cohortium.sim.accounts import chains_of, check_budgets
from cohortium.sim.folder import write_whole
from cohortium.sim.release import read_release
from cohortium.sim.results import read_record

__all__ = ["export_page"]


def export_page(folder: Path, to: Path) -> OfficerPage:
    """Write the page. Raises VerificationFailed where the ledger, or what sites say they spent, does not hold."""
    record, release = read_record(folder / "run.json"), read_release(folder)
    *before, ledger = chains_of(folder)
    budgets = check_budgets(ledger, before=before)
    budgets.refuse_faults()
    found = budgets.found
    if found.head.hex() != record.ledger.head:
        raise VerificationFailed(f"{folder}: ledger.jsonl is not the ledger of run.json")
    runs = [run for run in found.runs if run.study.hex() == record.study_digest]
    page = OfficerPage(
        record,
        Proof(
            consortium=found.consortium.hex(),
            engine=found.engine,
            height=found.height,
            head=found.head.hex(),
            began=_day(found.began),
            ended=_day(found.time),
            command=f"cohortium audit ledger ledger.jsonl --consortium {found.consortium.hex()[:16]}",
            approved=runs[-1].sites if runs else (),
            budgets=tuple(budgets.sentences()),
        ),
        audit=None if release is None or release.model != record.model.digest else release.audit,
        released_by="" if release is None else release.released_by,
    )
    write_whole(to, [page.html().encode()])
    return page


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
