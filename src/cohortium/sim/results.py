"""What a run leaves behind: record, page, model and ledger, written whole or not at all, and read back."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortium.assembly import build_program
from cohortium.core.codec import decode, encode
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.schema import CohortSchema
from cohortium.errors import DataError, FrameError, StudyError, UsageError, VerificationFailed
from cohortium.ledger.archive import Verified, verify
from cohortium.reports.pages import Report
from cohortium.reports.record import RunRecord
from cohortium.reports.scope import Scope
from cohortium.sim.comparison import TrainedModel

__all__ = [
    "LedgerCheck",
    "SavedModel",
    "load_model",
    "read_record",
    "save_model",
    "verify_ledger",
    "write_report",
    "write_whole",
]

MODEL_FORMAT = "cohortium-model/1"
MAX_MODEL_BYTES = 8 << 30
MAX_RECORD_BYTES = 256 << 20


def write_whole(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file so that readers see all of it or the one before: temporary name, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedModel:
    """A model as it was released: the plan, the meaning of its columns, and the final state."""

    study: Study
    schema: CohortSchema
    model: TrainedModel
    digest: str


def save_model(path: Path, model: TrainedModel, *, study: Study, schema: CohortSchema) -> None:
    """The final state with its preprocessing, in the safetensors layout; everything needed to use it again."""
    metadata = {
        "format": MODEL_FORMAT,
        "study": study.canonical().decode(),
        "schema": json.dumps(schema.to_dict(), sort_keys=True, ensure_ascii=True),
        "sites": json.dumps(model.program.sites),
        "seed": str(model.program.chance.seed),
        "digest": model.state.digest.hex(),
    }
    write_whole(path, encode(model.state, metadata))


def load_model(path: Path) -> SavedModel:
    """A saved model. Raises DataError when the file is not one or its digest does not fit."""
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise DataError(f"model '{path}' is larger than {MAX_MODEL_BYTES} bytes")
        state, metadata = decode(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read model '{path}': {error.strerror}") from None
    except FrameError as error:
        raise DataError(f"model '{path}': {error}") from None
    if metadata.get("format") != MODEL_FORMAT:
        raise DataError(f"model '{path}': format {metadata.get('format')!r}, expected {MODEL_FORMAT!r}")
    if metadata.get("digest") != state.digest.hex():
        raise DataError(f"model '{path}': its arrays have digest {state.digest.hex()[:16]}, its metadata say otherwise")
    try:
        study = Study.model_validate_json(metadata["study"], strict=True)
        schema = CohortSchema.from_dict(json.loads(metadata["schema"]))
        sites = [str(site) for site in json.loads(metadata["sites"])]
        chance = Chance(int(metadata["seed"]))
    except (KeyError, ValueError, StudyError) as error:
        raise DataError(f"model '{path}': its metadata are not those of a cohortium model ({error})") from None
    program = build_program(study, schema.layout(), sites=sites, chance=chance)
    return SavedModel(
        study=study, schema=schema, model=TrainedModel(program=program, state=state), digest=state.digest.hex()
    )


def read_record(path: Path) -> RunRecord:
    """The record of a finished run."""
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise DataError(f"record '{path}' is larger than {MAX_RECORD_BYTES} bytes")
        return RunRecord.from_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read record '{path}': {error.strerror}") from None


def write_report(record: RunRecord, path: Path, *, scope: str) -> None:
    """The page of a record. scope: `site` or `consortium`."""
    readers: dict[str, Scope] = {"consortium": "consortium", "site": "site"}
    if scope not in readers:
        raise UsageError(f"unknown scope {scope!r}; available: {', '.join(readers)}")
    write_whole(path, [Report(record, scope=readers[scope]).html().encode()])


@dataclass(frozen=True, kw_only=True)
class LedgerCheck:
    """What an offline replay showed."""

    path: Path
    found: Verified

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        found = self.found
        return {
            "verified": True,
            "engine": found.engine,
            "height": found.height,
            "head": found.head.hex(),
            "members": [site.name for site in found.members],
            "runs": [
                {
                    "run": run.run,
                    "state": run.state,
                    "study": run.study.hex(),
                    "sites": list(run.sites),
                    "merges": [
                        {"round": m.round, "digest": m.digest.hex(), "contributors": list(m.contributors)}
                        for m in run.merges
                    ],
                }
                for run in found.runs
            ],
        }

    def sentences(self) -> Sequence[str]:
        """For people."""
        found = self.found
        lines = [
            f"verified: {self.path.name}, {found.height} blocks, {len(found.members)} members, engine {found.engine}"
        ]
        for run in found.runs:
            digest = run.merges[-1].digest.hex()[:16] if run.merges else "none"
            lines.append(f"run {run.run}: {run.state}, {len(run.merges)} merges, last digest {digest}")
        return lines


def verify_ledger(path: Path, study: Path | None) -> LedgerCheck:
    """Replay an export. With a study, also that the export records a run of it. Raises VerificationFailed."""
    from cohortium.sim.inputs import read_study

    if not path.is_file():
        raise UsageError(f"ledger file '{path}' does not exist")
    found = verify(path)
    if study is not None:
        wanted = read_study(study).digest
        if wanted not in {run.study for run in found.runs}:
            raise VerificationFailed(
                f"{path.name} records no run of study '{study}' (digest {wanted.hex()[:16]}); "
                f"it holds {', '.join(run.study.hex()[:16] for run in found.runs) or 'none'}"
            )
    return LedgerCheck(path=path, found=found)
