"""Offline check of what sites say they have spent: replay an export, then compose every booked event anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortium.errors import VerificationFailed
from cohortium.ledger.archive import Verified
from cohortium.privacy.dp.accounting import accountant, epsilon
from cohortium.privacy.dp.statement import Statement, statements
from cohortium.sim.results import verify_ledger

__all__ = ["BudgetCheck", "check_budgets"]


@dataclass(frozen=True, kw_only=True)
class BudgetCheck:
    """What the ledger proves of each site's spending. accountant: what composed the events here."""

    path: Path
    found: Verified
    statements: tuple[Statement, ...]
    accountant: str

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that does not hold, site first."""
        return tuple(f"{one.site}: {fault}" for one in self.statements for fault in one.faults)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "verified": not self.faults,
            "consortium": self.found.consortium.hex(),
            "height": self.found.height,
            "head": self.found.head.hex(),
            "accountant": self.accountant,
            "sites": {
                one.site: {
                    "epsilon": one.total,
                    "cap": one.cap,
                    "delta": one.delta,
                    "data_versions": list(one.versions),
                    "accountant": one.accountant,
                    "history": list(one.history),
                    "runs": [
                        {
                            "run": run.run,
                            "study": run.name,
                            "rounds": run.n_rounds,
                            "epsilon": run.epsilon,
                            "events": [event.facts() for event in run.events],
                        }
                        for run in one.runs
                    ],
                    "faults": list(one.faults),
                    "remarks": list(one.remarks),
                }
                for one in self.statements
            },
        }

    def sentences(self) -> Sequence[str]:
        """For people."""
        head = f"{self.path.name}: {self.found.height} blocks replayed"
        if not self.statements:
            return [f"{head}; no site has booked any spending, so nobody was promised differential privacy"]
        lines = [f"{head}, events composed anew by {self.accountant}"]
        for one in self.statements:
            of = "1 data version" if len(one.versions) == 1 else f"{len(one.versions)} data versions"
            lines.append(
                f"{one.site}: epsilon {one.total:.4f} of {one.cap:g} at delta {one.delta:g}, {of}"
                + "".join(
                    f"; run {run.run} ({run.name}) {run.epsilon:.4f} in {run.n_rounds} rounds" for run in one.runs
                )
            )
            lines += [f"{one.site}: note: {remark}" for remark in one.remarks]
        return lines

    def refuse_faults(self) -> None:
        """Raise VerificationFailed with the first fault, and how many more there are."""
        if faults := self.faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise VerificationFailed(f"{self.path.name}: {faults[0]}{more}")


def check_budgets(path: Path, *, consortium: str | None = None) -> BudgetCheck:
    """Replay an export and rebuild every site's totals. Raises VerificationFailed for a chain that does not hold."""
    found = verify_ledger(path, None, consortium=consortium).found
    said = found.privacy
    rebuilt = statements(said.booked, committed=said.committed, promised=said.promised, compose=epsilon)
    return BudgetCheck(path=path, found=found, statements=rebuilt, accountant=accountant() if rebuilt else "nobody")
