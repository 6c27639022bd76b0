"""Offline check of what sites say they have spent: replay exports, then compose every booked event anew.

A site has one account over all chains of a simulated run: the audits of its data come first, then the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cohortium.core.spending import Booked
from cohortium.errors import VerificationFailed
from cohortium.ledger.archive import Verified
from cohortium.privacy.dp.accounting import accountant, epsilon
from cohortium.privacy.dp.statement import RunSpending, Statement, statements
from cohortium.sim.results import verify_ledger

__all__ = ["BudgetCheck", "accounts_of", "chains_of", "check_budgets"]


@dataclass(frozen=True, kw_only=True)
class BudgetCheck:
    """What ledgers prove of each site's spending. path, found: of the last chain; before: of those before it.

    accountant: what composed the events here.
    """

    path: Path
    found: Verified
    statements: tuple[Statement, ...]
    accountant: str
    before: tuple[tuple[Path, Verified], ...] = ()

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
            "before": [
                {"file": path.name, "consortium": one.consortium.hex(), "height": one.height, "head": one.head.hex()}
                for path, one in self.before
            ],
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
        chains = (*self.before, (self.path, self.found))
        head = ", ".join(f"{path.name}: {one.height} blocks replayed" for path, one in chains)
        if not self.statements:
            return [
                f"{head}; no site has booked any spending, so no epsilon was promised on this ledger (`synth fit` books"
                " none, whatever its noise)"
            ]
        lines = [f"{head}, events composed anew by {self.accountant}"]
        for one in self.statements:
            of = "1 data version" if len(one.versions) == 1 else f"{len(one.versions)} data versions"
            lines.append(
                f"{one.site}: epsilon {one.total:.4f} of {one.cap:g} at delta {one.delta:g}, {of}"
                + "".join(f"; {self._called(run)} {run.epsilon:.4f} in {run.n_rounds} rounds" for run in one.runs)
            )
            lines += [f"{one.site}: note: {remark}" for remark in one.remarks]
        return lines

    def _called(self, run: RunSpending) -> str:
        """A run by its number, or by the file it stands in where there are several."""
        if not self.before:
            return f"run {run.run} ({run.name})"
        last = 0
        for path, one in self.before:
            last += _n_runs(one)
            if run.run <= last:
                return path.name
        return self.path.name

    def refuse_faults(self) -> None:
        """Raise VerificationFailed with the first fault, and how many more there are."""
        if faults := self.faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise VerificationFailed(f"{self.path.name}: {faults[0]}{more}")


def check_budgets(path: Path, *, consortium: str | None = None, before: Sequence[Path] = ()) -> BudgetCheck:
    """Replay exports and rebuild every site's totals. Raises VerificationFailed for a chain that does not hold.

    path: the last chain, whose identity may be demanded. before: chains of the same sites on which they have paid from
    the same books, oldest first.
    """
    found = verify_ledger(path, None, consortium=consortium).found
    earlier = tuple((one, verify_ledger(one, None).found) for one in before)
    rebuilt = accounts_of([*(one for _, one in earlier), found])
    by = accountant() if rebuilt else "nobody"
    return BudgetCheck(path=path, found=found, statements=rebuilt, accountant=by, before=earlier)


def chains_of(folder: Path) -> list[Path]:
    """The chains of a run folder: of its audits, in order, then of its training."""
    audits = sorted(folder.glob("audit-*.jsonl"), key=lambda one: (len(one.name), one.name))
    return [*audits, folder / "ledger.jsonl"]


def accounts_of(chains: Sequence[Verified]) -> tuple[Statement, ...]:
    """One statement a site over several chains, oldest first. Runs are counted on from one chain to the next."""
    booked: list[Booked] = []
    committed: dict[tuple[int, int, str], int] = {}
    promised: dict[int, int] = {}
    so_far = 0
    for one in chains:
        said = one.privacy
        booked += [replace(entry, run=entry.run + so_far) for entry in said.booked]
        committed |= {(run + so_far, round, site): spent for (run, round, site), spent in said.committed.items()}
        promised |= {run + so_far: limit for run, limit in said.promised.items()}
        so_far += _n_runs(one)
    return statements(booked, committed=committed, promised=promised, compose=epsilon)


def _n_runs(chain: Verified) -> int:
    return max((run.run for run in chain.runs), default=0)
