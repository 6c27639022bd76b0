"""What a generator learned between hospitals leaves at one site, made in its worker.

    generator.safetensors    the same bytes at every site; `cohortium synth sample` draws patients from it
    validation.html, .json   one table drawn from it - the same at every site - judged against the site's own patients
    seal.json                which generator, which table, which report: its digest is on the ledger, one for each site

Where counts were taken under masks, the validation also holds the scores by sums over all hospitals. Whether rows or
models of single sites are in the generator, and what the own gate said, stands in the record's notes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cohortium.core.check import Check, Level
from cohortium.core.parameters import Parameters
from cohortium.errors import CohortiumError, DataError, MissingExtra
from cohortium.node.first_record import first_record
from cohortium.node.run_folder import GENERATOR, SEAL, VALIDATION, VALIDATION_PAGE, draft_of
from cohortium.node.seals import FORMAT as SEAL_FORMAT
from cohortium.node.seals import TIER
from cohortium.node.work import Ward, pinned_schema
from cohortium.reports.privacy import PrivacyRecord
from cohortium.reports.record import ModelRecord, plain
from cohortium.sim.folder import write_together
from cohortium.sim.synth_program import SynthProgram, generator_file
from cohortium.sim.synthesis import SavedGenerator
from cohortium.swarm.ports import Audited
from cohortium.synth.federate.counted import counts_in
from cohortium.synth.federate.gate import GateVerdict, gate, rows_digest, too_few
from cohortium.synth.federate.mixture import n_patients_of, opened
from cohortium.synth.rows import Rows, rows_of_examples
from cohortium.synth.study import limits_of, plan_of, with_derived
from cohortium.synth.validation.by_site import judge_by_site
from cohortium.synth.validation.document import digest_of
from cohortium.synth.validation.judge import Judgement, judge
from cohortium.synth.validation.page import ValidationPage

__all__ = ["GateBook", "OwnSynthesis"]

_CODES = {"pass": 1, "fail": 2}
_INCONCLUSIVE = 3
_MOST_ROWS = 20_000
_PUBLISH = (
    "publish patients drawn from the generator, not the generator, and only after the privacy part of the validation"
    " has passed"
)


class GateBook:
    """The site's gate, which remembers its last verdict for the site's own eyes."""

    def __init__(self) -> None:
        self.last: GateVerdict | None = None

    def __call__(self, training: Rows, reserve: Rows, table: Rows, **asked: Any) -> GateVerdict:
        self.last = gate(training, reserve, table, **asked)
        print(f"gate: {self.last.reason or 'passed'}", file=sys.stderr, flush=True)  # the worker's log
        return self.last


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnSynthesis:
    """A site's own eyes on a generator that has been learned. book: what its gate said in this worker."""

    ward: Ward
    made: SynthProgram
    state: Parameters
    book: GateBook = field(default_factory=GateBook)

    def audit(self) -> tuple[Audited, ...]:
        """The seal, for the ledger: 1 where privacy has passed on this site's patients, 2 failed, 3 neither.

        A run that promises epsilon tells nothing: the verdict looks at patients without noise.
        """
        if self.missing:
            return ()
        found = self._judged if self.made.program.privacy is None else None
        word = "" if found is None else found.verdict["privacy"]
        return (Audited(tier=TIER, verdict=_CODES.get(word, _INCONCLUSIVE), digest=digest_of(self.seal)),)

    @cached_property
    def missing(self) -> str:
        """Why there is no generator to keep; empty where there is one. What peers sent may not stop this node."""
        if not self.made.learned(self.state):
            return "the run ended before its generator was learned"
        try:
            self.saved.sample(1, rng=np.random.default_rng(0))
        except (CohortiumError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError):
            return "the generator cannot be drawn from; somebody sent sums that no patients have"
        return ""

    @cached_property
    def saved(self) -> SavedGenerator:
        """The finished generator; the same at every site."""
        state = self.made.result(self.state)
        return SavedGenerator(
            study=self.ward.study,
            schema=pinned_schema(self.ward.study),
            generator=opened(self.made.generator, state),
            state=state,
            n_real=n_patients_of(state),
        )

    @cached_property
    def seal(self) -> dict[str, Any]:
        """What every site signs of its copy. report: digest of the site's own validation, empty where there is none.

        Empty in a run that promises epsilon, too: who knows all patients but one tries both on a digest without noise.
        """
        report = self.report if self.made.program.privacy is None else None
        return {
            "format": SEAL_FORMAT,
            "study": self.ward.study.digest.hex(),
            "site": self.ward.site,
            "generator": self.saved.state.digest.hex(),
            "table": rows_digest(self.table).hex(),
            "report": "" if report is None else digest_of(report).hex(),
        }

    @cached_property
    def report(self) -> dict[str, Any] | None:
        """The document of the site's own validation."""
        document: dict[str, Any] | None = None if self._judged is None else plain(self._judged.document())
        return document

    @cached_property
    def table(self) -> Rows:
        """The table every site judges: as many patients as the generator was learned from, up to a limit."""
        n = min(self.saved.n_real, _MOST_ROWS)
        return self.saved.sample(n, rng=np.random.default_rng([self.ward.study.evaluation.seed, 0])).rows

    def record(self, *, folder: Path, privacy: PrivacyRecord | None) -> tuple[str, str]:
        """The site's part of the run's record as JSON, and why its figures may not leave; files are drafted."""
        study, learned = self.ward.study, not self.missing
        notes: tuple[str, ...] = (self.missing,)
        checks: tuple[Check, ...] = ()
        if learned:
            self._draft(folder)
            notes, checks = self._notes(), (_check(*self._found),)
        digest = (self.saved.state if learned else self.state).digest.hex()
        size = sum(array.size for array in self.saved.state.values()) if learned else 0
        model = ModelRecord(name=study.model.name, digest=digest, strategy=plan_of(study).federation, n_parameters=size)
        record = first_record(self.ward, sites=self.made.program.sites, model=model, privacy=privacy, notes=notes)
        return (
            replace(record, checks=(*checks, *record.checks)).to_json(),
            "a generator predicts nothing; every hospital judges its patients in its own validation",
        )

    # --- what is judged here ---------------------------------------------------------------------------------------

    @cached_property
    def _own(self) -> tuple[Rows, Rows]:
        """(training, reserve) of this site."""
        rows, facts = self.ward.gathered.rows()[0], self.made.generator.facts
        return rows_of_examples(rows.training, facts), rows_of_examples(rows.test, facts)

    @cached_property
    def _found(self) -> tuple[Judgement | None, str]:
        """The judgement on this site's own patients, or why there is none. It holds no patient and no small count."""
        training, reserve = self._own
        study = self.ward.study
        try:
            found = judge(
                with_derived(training, study),
                with_derived(reserve, study),
                self.table,
                seed=study.evaluation.seed,
                limits=limits_of(study),
                notes=(f"Judged at '{self.ward.site}', on the patients of this hospital only.",),
            )
        except (DataError, MissingExtra) as error:
            return None, str(error)
        except (ArithmeticError, ValueError, LookupError) as error:  # the text of such an error may hold a value
            return None, f"the table cannot be judged on these patients ({type(error).__name__})"
        counts = counts_in(training.facts, self.state)
        if counts is None:
            return found, ""
        drawn = Rows(training.facts, {name: self.table[name] for name in training.facts.names})
        site, seed = self.ward.site, study.evaluation.seed
        summed = judge_by_site({site: training}, {site: reserve}, drawn, seed=seed, counts=counts)
        return replace(found, by_site=summed), ""

    @property
    def _judged(self) -> Judgement | None:
        return self._found[0]

    def _draft(self, folder: Path) -> None:
        """Write the files under the names they have until all results of the run are written together."""
        found, files = self._judged, dict[str, Any]()
        files[GENERATOR] = generator_file(self.ward.study, self.saved.schema, self.saved.state)
        files[SEAL] = [_json({**self.seal, "digest": digest_of(self.seal).hex()})]
        if found is not None and self.report is not None:
            files[VALIDATION] = [_json(self.report)]
            files[VALIDATION_PAGE] = [self._page(found, self.report).encode()]
        write_together({draft_of(folder, name): pieces for name, pieces in files.items()})

    def _page(self, found: Judgement, report: Mapping[str, Any]) -> str:
        training, reserve = (with_derived(rows, self.ward.study) for rows in self._own)
        return ValidationPage(
            judgement=found,
            training=training,
            reserve=reserve,
            synthetic=self.table,
            name=self.ward.study.name,
            digests={
                "generator": self.seal["generator"],
                "SHA-256 of validation.json, without white space": digest_of(report).hex(),
                "SHA-256 of seal.json, as on the ledger": digest_of(self.seal).hex(),
            },
        ).html()

    def _notes(self) -> tuple[str, ...]:
        """What a reader of the page must know."""
        said = [
            f"a generator of synthetic patients was learned (digest {self.seal['generator'][:16]}); every hospital has"
            f" the same {GENERATOR}; to draw: cohortium synth sample FOLDER -n {self.saved.n_real} -o FILE",
            _PUBLISH,
        ]
        if getattr(self.made.federation, "judge", None) is not None:
            said += self._sharing()
        return tuple(said)

    def _sharing(self) -> list[str]:
        """Whose rows or models are in it, and why this site's are not."""
        what = "rows" if plan_of(self.ward.study).federation == "sharing" else "model"
        shared = self.made.shared_by(self.state)
        others = [site for site in self.made.program.sites if site not in shared]
        said = [f"{what} of {', '.join(shared)} are in the generator; each passed the gate of its own hospital"]
        if others:
            said.append(
                f"no {what} of {', '.join(others)}: not passed by the gate of its hospital, too few patients to judge"
                " by, or away"
            )
        if self.ward.site in others:
            reason = too_few(*self._own) or (self.book.last.reason if self.book.last is not None else "")
            said.append(f"this hospital gave no {what}: {reason or 'see the log of its worker'}")
        return said


def _check(found: Judgement | None, why: str) -> Check:
    """The verdict on patients drawn from the generator, as the page of the run says it."""
    if found is None:
        return Check(id="validation", level="skipped", found=f"the validation could not be made here: {why}")
    held = found.verdict
    words = ", ".join(f"{topic} {word}" for topic, word in held.items())
    level: Level = "fail" if "fail" in held.values() else "ok" if {*held.values()} == {"pass"} else "warn"
    return Check(
        id="validation",
        level=level,
        found=f"patients drawn from the generator, judged on this hospital's own: {words}; see {VALIDATION_PAGE}",
        fix="" if held["privacy"] == "pass" else "give nobody patients drawn from it",
    )


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(plain(document), indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
