"""Statements of account: every total a site ever claimed, computed again by somebody else from the events on a ledger.

    statements(booked, committed=..., promised=..., compose=epsilon) -> one `Statement` for each site

Nothing a site says about its epsilons is believed: each record's events are composed anew with those before it. What
cannot be checked from outside is whether data versions share patients; so all versions of a site are taken together
first, and a total that holds only for one of them alone is accepted with a remark. A site may claim more than one
ledger shows, because it has spent elsewhere; it may never claim less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cohortium.core.spending import Booked, BudgetRecord, MechanismEvent, merged
from cohortium.privacy.dp.accounting import micro
from cohortium.privacy.dp.budget import Compose

__all__ = ["RunSpending", "Statement", "statements"]

_SHARE, _SLACK_MICRO = 0.005, 1_000
"""How far another version of the accountant may differ: half a percent, and a thousandth."""

_AFTER = {"reserved": ("spent", "returned"), "spent": (), "returned": ("reserved",)}

Place = tuple[int, int, str]


@dataclass(frozen=True, kw_only=True)
class RunSpending:
    """What one run has cost one site: events and their epsilon. n_rounds: paid for."""

    run: int
    name: str
    n_rounds: int
    events: tuple[MechanismEvent, ...]
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One site's account as the ledger proves it. total: over all its data versions; cap: the newest the site stated.

    history: total after each record, in order. faults: what does not hold, each with its place; empty when all does.
    remarks: what could not be decided from outside.
    """

    site: str
    runs: tuple[RunSpending, ...]
    total: float
    cap: float
    delta: float
    versions: tuple[str, ...]
    accountant: str = ""
    history: tuple[float, ...] = ()
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def statements(
    booked: Iterable[Booked],
    *,
    committed: Mapping[Place, int],
    promised: Mapping[int, int],
    compose: Compose,
) -> tuple[Statement, ...]:
    """One statement for each site that has a record, sorted. committed: by run, round and site."""
    accounts: dict[str, _Account] = {}
    for one in booked:
        accounts.setdefault(one.site, _Account(one.site, compose)).add(one)
    for (run, round, site), eps_micro in sorted(committed.items()):
        if site in accounts:
            accounts[site].check_commitment(run, round, eps_micro)
        elif eps_micro:
            accounts.setdefault(site, _Account(site, compose)).faults.append(
                f"run {run}, round {round}: epsilon {_words(eps_micro)} is committed, but nothing is booked"
            )
    for account in accounts.values():
        account.check_promises(promised)
    return tuple(account.statement() for _, account in sorted(accounts.items()))


@dataclass
class _Account:
    """A site's records so far. newest: by data version, run and round."""

    site: str
    compose: Compose
    newest: dict[tuple[str, int, int], BudgetRecord] = field(default_factory=dict)
    after: dict[tuple[int, int], float] = field(default_factory=dict)
    history: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    last: BudgetRecord | None = None

    def add(self, one: Booked) -> None:
        where = f"run {one.run}, round {one.round}"
        try:
            record = BudgetRecord.read(one.record)
        except ValueError as wrong:
            self.faults.append(f"{where}: {wrong}")
            return
        said = (record.site, record.dataset, record.round, record.eps_run_micro)
        if said != (one.site, one.dataset, one.round, one.eps_micro):
            self.faults.append(f"{where}: the record is not about the site, data, round or epsilon it was booked for")
            return
        self._check_order(one, record, where)
        self.newest[one.dataset, one.run, one.round] = self.last = record
        self._check_epsilons(one, record, where)

    def _check_order(self, one: Booked, record: BudgetRecord, where: str) -> None:
        before = self.newest.get((one.dataset, one.run, one.round))
        allowed = ("reserved",) if before is None else _AFTER[before.state]
        if before is not None and record.state not in allowed:
            self.faults.append(f"{where}: {record.state} after {before.state}; what is spent stays spent")
        elif before is None and record.state == "returned":
            self.faults.append(f"{where}: returned, but it was never reserved")
        elif before is not None and before.state == "reserved" and before.events != record.events:
            self.faults.append(f"{where}: {record.state} other events than were reserved")

    def _check_epsilons(self, one: Booked, record: BudgetRecord, where: str) -> None:
        delta = float(record.delta)
        run = micro(self.compose(self._events(run=one.run), delta=delta))
        if not _agree(record.eps_run_micro, run):
            self.faults.append(
                f"{where}: the run's epsilon is {_words(run)}, the record says {_words(record.eps_run_micro)}"
            )
        total = self.compose(self._events(), delta=delta)
        if record.eps_total_micro < micro(total) and not _agree(record.eps_total_micro, micro(total)):
            alone = micro(self.compose(self._events(dataset=one.dataset), delta=delta))
            if record.eps_total_micro < alone and not _agree(record.eps_total_micro, alone):
                self.faults.append(
                    f"{where}: the total is {_words(alone)}, the record says {_words(record.eps_total_micro)}"
                )
            else:
                self.remarks.append(
                    f"data version {one.dataset[:8]} is counted without the versions before it; only the site"
                    " can prove that they share no patient"
                )
        if record.state == "reserved" and record.eps_total_micro > record.cap_micro:
            self.faults.append(
                f"{where}: reserved up to {_words(record.eps_total_micro)}, above the site's cap"
                f" {_words(record.cap_micro)}"
            )
        self.after[one.run, one.round] = run / 1e6
        self.history.append(total)

    def check_commitment(self, run: int, round: int, eps_micro: int) -> None:
        """What was committed is what the run's records add up to at that round."""
        booked = [number for (of, number) in self.after if of == run and number <= round]
        rebuilt = micro(self.after[run, max(booked)]) if booked else 0
        if eps_micro < rebuilt and not _agree(eps_micro, rebuilt):
            self.faults.append(
                f"run {run}, round {round}: epsilon {_words(eps_micro)} is committed, the records come to"
                f" {_words(rebuilt)}"
            )

    def check_promises(self, promised: Mapping[int, int]) -> None:
        """No run costs more than its proposal allowed."""
        for spending in self._runs():
            limit = promised.get(spending.run, 0)
            found = micro(spending.epsilon)
            if found > limit and not _agree(found, limit):
                self.faults.append(f"run {spending.run}: epsilon {_words(found)}, the study promised {_words(limit)}")

    def statement(self) -> Statement:
        delta = float(self.last.delta) if self.last else 0.0
        return Statement(
            site=self.site,
            runs=tuple(self._runs()),
            total=self.compose(self._events(), delta=delta) if self.last else 0.0,
            cap=self.last.cap_micro / 1e6 if self.last else 0.0,
            delta=delta,
            versions=tuple(dict.fromkeys(dataset for dataset, _, _ in self.newest)),
            accountant=self.last.accountant if self.last else "",
            history=tuple(self.history),
            faults=tuple(self.faults),
            remarks=tuple(dict.fromkeys(self.remarks)),
        )

    def _runs(self) -> Iterable[RunSpending]:
        for run in sorted({run for _, run, _ in self.newest}):
            records = [record for (_, of, _), record in self.newest.items() if of == run]
            events = self._events(run=run)
            yield RunSpending(
                run=run,
                name=records[-1].run,
                n_rounds=sum(record.state != "returned" for record in records),
                events=events,
                epsilon=self.compose(events, delta=float(records[-1].delta)),
            )

    def _events(self, *, run: int | None = None, dataset: str | None = None) -> tuple[MechanismEvent, ...]:
        chosen: Sequence[BudgetRecord] = [
            record
            for (of_data, of_run, _), record in self.newest.items()
            if record.state != "returned" and run in (None, of_run) and dataset in (None, of_data)
        ]
        return merged(event for record in chosen for event in record.events)


def _agree(one: int, other: int) -> bool:
    return abs(one - other) <= max(_SHARE * max(one, other), _SLACK_MICRO)


def _words(eps_micro: int) -> str:
    return f"{eps_micro / 1e6:.4f}"
