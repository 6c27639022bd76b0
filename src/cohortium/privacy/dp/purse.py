"""`Purse`: one site's budget in one run (seam `Budget`), kept in the site's own book.

    purse = Purse(book, version=version_of(book, ...), terms=terms, caps=caps, plan=plan, compose=epsilon)
    purse.admit(run)        # before approving
    purse.reserve(run, round, state)  ->  train  ->  purse.settle(run, round)

Check and reservation are one transaction, so two runs at once cannot both take the last of a budget, nor can a kill
between the two lose one. The book is written first, the ledger is told. A reservation is given back only by the process
that holds the proof that nothing left: after a crash it stays, and counts as spent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from cohortium.core.parameters import Parameters
from cohortium.core.seams import Book
from cohortium.core.spending import BudgetRecord, DataVersion, Entry, SpendingState, merged
from cohortium.errors import TrainingFailed
from cohortium.privacy.dp.accounting import micro
from cohortium.privacy.dp.budget import Admitted, Caps, Compose, Events, Refused, admit, claimed, inherited

__all__ = ["Plan", "Purse", "Terms", "recall", "version_of"]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What every record of a run says alike. run: the study's name. consortium: hex, keeps equal run numbers apart."""

    site: str
    run: str
    consortium: str
    accountant: str
    code: str
    clip: str
    unit: Literal["patient", "site"] = "patient"
    against: Literal["everybody", "colluders", "alone"] = "everybody"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will cost a site. whole: all its trainings together; training: one, from this state (may be none)."""

    whole: Events
    training: Callable[[Parameters], Events]


def version_of(
    book: Book, *, commitment: bytes, patients: frozenset[bytes] | None, entropy: Callable[[int], bytes]
) -> tuple[DataVersion, bool]:
    """The data version of a table, known by its commitment or new under a random handle; and whether it is new."""
    with book.exclusive():
        for known in book.versions():
            if known.commitment == commitment:
                return known, False
        version = DataVersion(handle=entropy(32).hex(), commitment=commitment, patients=patients)
        book.add_version(version)
        return version, True


def recall(book: Book, told: Iterable[tuple[int, BudgetRecord]], *, consortium: str) -> int:
    """Write down what the ledger remembers of this site and the book does not; returns how many rounds that were.

    told: run number and record of each of the site's own entries on the ledger, oldest first. So a lost book costs the
    site its proof that data versions share no patient, never the memory of what was spent.
    """
    newest = {(record.dataset, f"{consortium}/{run}", record.round): record for run, record in told}
    with book.exclusive():
        known = {version.handle for version in book.versions()}
        held = {(entry.dataset, entry.run, entry.round) for entry in book.entries()}
        lost = {place: record for place, record in newest.items() if place not in held}
        for handle in dict.fromkeys(place[0] for place in lost if place[0] not in known):
            book.add_version(DataVersion(handle=handle, commitment=b""))
        for (handle, run, round), one in lost.items():
            state: SpendingState = "returned" if one.state == "returned" else "spent"
            book.write(Entry(dataset=handle, run=run, round=round, state=state, events=one.events, name=one.run))
    return len(lost)


class Purse:
    """A site's budget for the runs of one study. is_new: the data version has no spending yet and no name elsewhere."""

    def __init__(
        self,
        book: Book,
        *,
        version: DataVersion,
        terms: Terms,
        caps: Caps,
        plan: Plan,
        compose: Compose,
        is_new: bool = False,
    ) -> None:
        self._book, self._version, self._terms, self._caps = book, version, terms, caps
        self._plan, self._compose = plan, compose
        self._to_announce = bytes.fromhex(version.handle) if is_new else b""

    def admit(self, run: int) -> str:
        """Empty when the site can take part; keeps the whole plan reserved unless the site is to stop when short."""
        if not self._plan.whole:
            return ""
        with self._book.exclusive():
            answer = self._admit(run, self._asked_at_once())
            if isinstance(answer, Refused):
                return answer.sentence
            if self._caps.when_short == "decline" and self._entry(run, 0) is None:
                self._write(run, 0, "reserved", merged(self._plan.whole))
        return ""

    def afford(self) -> str:
        """Empty when the whole plan could be paid for now; nothing is reserved."""
        with self._book.exclusive():
            answer = self._admit(0, merged(self._plan.whole)) if self._plan.whole else None
        return answer.sentence if isinstance(answer, Refused) else ""

    def _asked_at_once(self) -> Events:
        """The whole plan, or one use of each of its mechanisms where the site stops by itself."""
        if self._caps.when_short == "decline":
            return self._plan.whole
        return tuple(event.once() for event in merged(self._plan.whole))

    def reserve(self, run: int, round: int, state: Parameters) -> tuple[BudgetRecord, ...]:
        """Book a round before it is trained. Raises TrainingFailed with code `budget` when it cannot be paid for."""
        events = merged(self._plan.training(state))
        if not events:
            return ()
        with self._book.exclusive():
            records = self._settle_before(run, round)
            known = self._entry(run, round)
            if known is not None and known.state != "returned":
                return records
            answer = self._admit(run, events)
            if isinstance(answer, Refused):
                raise TrainingFailed(f"round {round} is not trained: {answer.sentence}", code="budget")
            return *records, self._write(run, round, "reserved", events)

    def settle(self, run: int, round: int) -> tuple[BudgetRecord, ...]:
        """The reservation is spent; nothing where nothing is reserved."""
        return self._turn(run, round, "spent")

    def give_back(self, run: int, round: int) -> tuple[BudgetRecord, ...]:
        """The reservation is void; what is spent stays spent."""
        return self._turn(run, round, "returned")

    def close(self, run: int) -> None:
        """Free what was planned and never begun. Rounds that were reserved stay reserved."""
        with self._book.exclusive():
            plan = self._entry(run, 0)
            if plan is not None and plan.state != "returned":
                self._book.write(replace(plan, state="returned"))

    def spent_micro(self, run: int) -> int:
        """Epsilon of all rounds of the run that are reserved or spent, in millionths."""
        with self._book.exclusive():
            return micro(self._compose(self._rounds_of(run), delta=self._caps.delta))

    def new_version(self) -> bytes:
        """The handle of a new data version, once."""
        handle, self._to_announce = self._to_announce, b""
        return handle

    # --- the book, while it is held ----------------------------------------------------------------------------

    def _admit(self, run: int, planned: Events) -> Admitted | Refused:
        """Whether this fits beside everything else; the run's own plan counts as what is asked, not as taken."""
        others = [one for one in self._book.entries() if (one.run, one.round) != (self._key(run), 0)]
        handles = inherited(self._book.versions(), self._version)
        return admit(
            claimed(others, handles, state="spent"),
            claimed(others, handles, state="reserved"),
            planned,
            self._caps,
            of_run=self._rounds_of(run),
            compose=self._compose,
        )

    def _turn(self, run: int, round: int, state: SpendingState) -> tuple[BudgetRecord, ...]:
        with self._book.exclusive():
            known = self._entry(run, round)
            if known is None or known.state != "reserved":
                return ()
            return (self._write(run, round, state, known.events),)

    def _settle_before(self, run: int, round: int) -> tuple[BudgetRecord, ...]:
        """Earlier rounds that were reserved and never settled: a crash took the proof that nothing left."""
        left = [one.round for one in self._mine(run) if 0 < one.round < round and one.state == "reserved"]
        return tuple(self._write(run, one, "spent", self._known(run, one).events) for one in left)

    def _write(self, run: int, round: int, state: SpendingState, events: Events) -> BudgetRecord:
        terms, caps = self._terms, self._caps
        self._book.write(
            Entry(
                dataset=self._version.handle,
                run=self._key(run),
                round=round,
                state=state,
                events=events,
                name=terms.run,
            )
        )
        handles = inherited(self._book.versions(), self._version)
        rounds = [one for one in self._book.entries() if one.round]
        total = (*claimed(rounds, handles, state="spent"), *claimed(rounds, handles, state="reserved"))
        return BudgetRecord(
            site=terms.site,
            dataset=self._version.handle,
            run=terms.run,
            round=round,
            state=state,
            events=events,
            delta=f"{caps.delta:g}",
            clip=terms.clip,
            accountant=terms.accountant,
            code=terms.code,
            unit=terms.unit,
            against=terms.against,
            eps_run_micro=micro(self._compose(self._rounds_of(run), delta=caps.delta)),
            eps_total_micro=micro(self._compose(total, delta=caps.delta)),
            cap_micro=_rounded_down(caps.total),
        )

    def _rounds_of(self, run: int) -> Events:
        """What the rounds of this run have spent or reserved, also on data versions before this one."""
        key = self._key(run)
        mine = [one for one in self._book.entries() if one.run == key and one.round and one.state != "returned"]
        return merged(event for one in mine for event in one.events)

    def _mine(self, run: int) -> tuple[Entry, ...]:
        key = self._key(run)
        return tuple(one for one in self._book.entries() if one.run == key and one.dataset == self._version.handle)

    def _entry(self, run: int, round: int) -> Entry | None:
        return next((one for one in self._mine(run) if one.round == round), None)

    def _known(self, run: int, round: int) -> Entry:
        return next(one for one in self._mine(run) if one.round == round)

    def _key(self, run: int) -> str:
        return f"{self._terms.consortium}/{run}"


def _rounded_down(cap: float) -> int:
    """A cap in millionths."""
    return math.floor(round(min(cap, 1e6) * 1e6, 3))
