"""Budgets of simulated sites: one book a site, from which its audit of harmful data and its training both pay.

    purses = Purses(patients=patients_of(gathered), chance=chance, home=home, cap=None)
    purses.of(study, program, "porto", consortium)      # a `Purse`, or None where the run promises nothing

At a hospital the node keeps one book of its own (`node.own_protection`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortium import __version__
from cohortium.core.private import PrivacyTerms
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.privacy.dp.accounting import accountant, epsilon
from cohortium.privacy.dp.budget import Caps, deltas
from cohortium.privacy.dp.purse import Plan, Purse, Terms, version_of
from cohortium.sim.cohorts import Gathered
from cohortium.swarm.book import DiskBook, MemoryBook
from cohortium.swarm.program import Program

__all__ = ["PatientSet", "Purses", "code_of_study", "patients_of", "purse_of"]

_DEFAULT_CAP = 10.0


@dataclass(frozen=True, kw_only=True)
class PatientSet:
    """Whose privacy a site spends. table: digest of its table; keys: of patients, None without a patient column."""

    table: bytes
    n: int
    keys: frozenset[bytes] | None = None


def code_of_study(study: Study) -> str:
    """What trained, as a budget record says it: the digest of own code, or this version of ours."""
    return f"sha256:{study.model.code_digest}" if study.model.code_digest else f"cohortium {__version__}"


def patients_of(gathered: Gathered) -> dict[str, PatientSet]:
    """Every site's own patients, by the columns the study names."""
    keyed = gathered.schema.the("patient") is not None
    return {
        site: PatientSet(
            table=gathered.tables[site].digest,
            n=len(set(cohort.keys)),
            keys=frozenset(cohort.keys) if keyed else None,
        )
        for site, cohort in gathered.cohorts.items()
    }


def purse_of(
    book: MemoryBook | DiskBook,
    own: PatientSet,
    study: Study,
    program: Program,
    *,
    site: str,
    consortium: str,
    salt: bytes,
    entropy: Callable[[int], bytes],
    allowed: Mapping[str, Any],
    announced: Collection[str] | None = None,
) -> Purse | None:
    """One site's budget in one run, at a node or simulated; None where the run promises nothing, so nothing is spent.

    salt: of the site's data version. entropy: n secret bytes. allowed: total, run (None: no cap of a run),
    accept_weak_privacy, when_short. announced: handles of data versions that the ledger has heard of; those in the
    book if None.
    """
    terms = program.privacy
    if terms is None:
        return None
    version, is_new = version_of(
        book, commitment=hashlib.sha256(salt + own.table).digest(), patients=own.keys, entropy=entropy
    )
    delta, strict = deltas(own.n, unit=terms.unit, study_delta=terms.delta)
    return Purse(
        book,
        version=version,
        terms=Terms(
            site=site,
            run=study.name,
            consortium=consortium,
            accountant=accountant(),
            code=code_of_study(study),
            clip=f"{terms.clipping_norm:g}",
            unit=terms.unit,
            against="colluders" if terms.shared else "everybody",
        ),
        caps=Caps(
            total=allowed["total"],
            run=allowed["run"] or math.inf,
            study=terms.epsilon,
            delta=delta,
            patient_delta=strict,
            accept_weak_privacy=allowed["accept_weak_privacy"],
            when_short=allowed["when_short"],
        ),
        plan=Plan(whole=program.planned_events(), training=program.events),
        compose=epsilon,
        is_new=is_new if announced is None else version.handle not in announced,
    )


class Purses:
    """home: where books outlive a run. cap: epsilon that each simulated site allows over all its studies."""

    def __init__(
        self,
        *,
        patients: Mapping[str, PatientSet],
        chance: Chance,
        home: Path | None = None,
        cap: float | None = None,
    ) -> None:
        self._patients, self._chance, self._home, self._cap = patients, chance, home, cap
        self._books: dict[str, MemoryBook | DiskBook] = {}

    def of(self, study: Study, program: Program, site: str, consortium: bytes) -> Purse | None:
        """The site's budget in a run of this program; None where it promises nothing, so that nothing is spent."""
        terms = program.privacy
        if terms is None:
            return None
        book, own = self._book(site), self._patients[site]
        _, strict = deltas(own.n, unit=terms.unit, study_delta=terms.delta)
        return purse_of(
            book,
            own,
            study,
            program,
            site=site,
            consortium=consortium.hex(),
            salt=self._chance.secret(32, "salt of the data version", site),
            entropy=lambda n: self._chance.secret(n, "data version", site, len(book.versions())),
            allowed={
                "total": self._cap if self._cap is not None else _enough(program, terms, strict, book, consortium),
                "run": None,
                "accept_weak_privacy": True,
                "when_short": "stop",
            },
        )

    def short_of(self, study: Study, program: Program) -> str:
        """Which site cannot pay for a run of this program as a whole, and why; empty where all can."""
        for site in program.sites:
            purse = self.of(study, program, site, b"")
            if purse is not None and (why := purse.afford()):
                return f"{site}: {why}"
        return ""

    def for_audit(self) -> Purses:
        """Purses of the same sites with empty books in memory, to be kept (`keep`) when the audit is over.

        A run that is resumed repeats its audit bit for bit; from the books on disk it would be paid for twice.
        """
        return Purses(patients=self._patients, chance=self._chance, cap=self._cap)

    def keep(self, audit: Purses) -> None:
        """Take into these books what an audit has cost; nothing where they hold it already."""
        for site, told in audit._books.items():
            book = self._book(site)
            with book.exclusive():
                known = {version.handle for version in book.versions()}
                held = {(entry.dataset, entry.run, entry.round) for entry in book.entries()}
                for version in told.versions():
                    if version.handle not in known:
                        book.add_version(version)
                for entry in told.entries():
                    if (entry.dataset, entry.run, entry.round) not in held:
                        book.write(entry)

    def close(self) -> None:
        """Close what was opened."""
        for book in self._books.values():
            book.close()

    def _book(self, site: str) -> MemoryBook | DiskBook:
        if site not in self._books:
            home = self._home
            self._books[site] = MemoryBook() if home is None else DiskBook(home / "nodes" / site / "budget.sqlite")
        return self._books[site]


def _enough(
    program: Program, terms: PrivacyTerms, delta: float, book: MemoryBook | DiskBook, consortium: bytes
) -> float:
    """A cap that no study of a simulation meets unasked, whatever its book holds of other runs.

    delta: of patients; a promise to sites costs them more. consortium: of this run, whose own entries do not count: a
    run that is resumed finds them in its book.
    """
    own = f"{consortium.hex()}/"
    other = [
        event
        for entry in book.entries()
        if entry.state != "returned" and not entry.run.startswith(own)
        for event in entry.events
    ]
    planned = (
        math.ceil(epsilon([*other, *program.planned_events()], delta=delta)) if other or terms.unit == "site" else 0
    )
    return max(_DEFAULT_CAP, terms.epsilon, planned)
