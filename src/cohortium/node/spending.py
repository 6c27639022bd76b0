"""What the ledger remembers of this site's privacy spending goes back into its own book, where the book has lost it.

The book (`budget.sqlite`) can be lost with a disk, put back from a backup, or removed by hand; a budget that began
anew with it would be none. The ledger holds every record that the site ever told, so it is read before each run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from cohortium.core.seams import LedgerEvent
from cohortium.core.spending import BudgetRecord
from cohortium.privacy.dp.purse import recall
from cohortium.swarm.book import DiskBook

__all__ = ["recall_spending"]


def recall_spending(book: Path, events: Iterable[LedgerEvent], *, site: str, consortium: str) -> int:
    """Write down what the ledger says of this site and the book does not; how many rounds that were.

    events: of the ledger, oldest first. consortium: hex. Raises StoreBroken where the book cannot be written.
    """
    told: list[tuple[int, BudgetRecord]] = []
    for event in events:
        if event.name == "Spent" and event.args["site"] == site:
            with contextlib.suppress(ValueError):  # no record of this release: nobody can count what it says
                raw = bytes(event.args["record"])  # type: ignore[call-overload]
                told.append((int(str(event.args["run"])), BudgetRecord.read(raw)))
    if not told:
        return 0
    held = DiskBook(book)
    try:
        return recall(held, told, consortium=consortium)
    finally:
        held.close()
