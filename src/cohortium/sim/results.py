"""What a run leaves behind, as bytes and read back: model, record, page, ledger. Files read are nobody's friends."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cohortium.assembly import build_program
from cohortium.core.codec import decode, encode
from cohortium.core.examples import Examples, Layout
from cohortium.core.foreign_json import read_json
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.core.verdicts import VERDICTS
from cohortium.data.schema import CohortSchema
from cohortium.errors import DataError, FrameError, InvariantBroken, StudyError, UsageError, VerificationFailed
from cohortium.ledger.archive import Verified, verify
from cohortium.reports.pages import Report
from cohortium.reports.record import RunRecord
from cohortium.reports.scope import Scope
from cohortium.sim.comparison import SiteRows, TrainedModel
from cohortium.sim.folder import write_whole
from cohortium.sim.swarm import SwarmRun

__all__ = [
    "LedgerCheck",
    "SavedModel",
    "chain_file",
    "load_model",
    "model_file",
    "page_file",
    "read_record",
    "verify_ledger",
    "write_report",
]

MODEL_FORMAT = "cohortium-model/1"
MAX_MODEL_BYTES = 8 << 30
MAX_RECORD_BYTES = 256 << 20
_RECORD_DEPTH = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedModel:
    """A model as it was released: the plan, the meaning of its columns, and the final state.

    personal: sites that predicted with a variant of their own, which is not in here.
    """

    study: Study
    schema: CohortSchema
    model: TrainedModel
    digest: str
    personal: tuple[str, ...] = ()


def model_file(model: TrainedModel, *, study: Study, schema: CohortSchema) -> Iterable[bytes | memoryview]:
    """The final state with its preprocessing, in the safetensors layout; everything needed to use it again."""
    metadata = {
        "format": MODEL_FORMAT,
        "study": study.canonical().decode(),
        "schema": json.dumps(schema.to_dict(), sort_keys=True, ensure_ascii=True),
        "sites": json.dumps(model.program.sites),
        "personal": json.dumps(model.personal_sites),
        "seed": str(model.program.chance.seed),
        "digest": model.state.digest.hex(),
    }
    return encode(model.state, metadata)


def load_model(path: Path, *, approve: Callable[[Study], None] = lambda study: None) -> SavedModel:
    """A saved model. Raises DataError when the file is not one or its parts do not fit each other.

    approve: called with the model's study before any of it is built, to refuse it (or the code it names).
    """
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise DataError(f"model '{path}' is larger than {MAX_MODEL_BYTES} bytes")
        state, metadata = decode(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read model '{path}': {error.strerror}", hint=_hint(path)) from None
    except FrameError as error:
        raise DataError(f"model '{path}': {error}") from None
    if metadata.get("format") != MODEL_FORMAT:
        raise DataError(f"model '{path}': format {metadata.get('format')!r:.60}, expected {MODEL_FORMAT!r}")
    if metadata.get("digest") != state.digest.hex():
        raise DataError(f"model '{path}': its arrays have digest {state.digest.hex()[:16]}, its metadata say otherwise")
    try:
        study = Study.model_validate_json(metadata["study"], strict=True)
        schema = CohortSchema.from_dict(_json(metadata, "schema"))
        layout = schema.layout()
        sites, personal = ([str(site) for site in _json(metadata, name)] for name in ("sites", "personal"))
        chance = Chance(int(metadata["seed"]))
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, StudyError):
        raise DataError(f"model '{path}': its metadata are not those of a cohortium model") from None
    approve(study)
    model = TrainedModel(program=build_program(study, layout, sites=sites, chance=chance), state=state)
    if not _usable(model, layout):
        raise DataError(f"model '{path}': its arrays are not those of the model its own study describes")
    return SavedModel(study=study, schema=schema, model=model, digest=state.digest.hex(), personal=tuple(personal))


def _json(metadata: Mapping[str, str], name: str) -> Any:
    return read_json(metadata[name].encode(), max_depth=8)


def _usable(model: TrainedModel, layout: Layout) -> bool:
    """Whether the state has the right shapes and predicts three made-up rows: a hostile file may hold any arrays."""
    survival = layout.outcome == "survival"
    ones = np.ones(3)
    rows = Examples(
        layout=layout,
        x=np.zeros((3, *(layout.image or (len(layout.features),)))),
        y=None if survival else ones,
        time=ones if survival else None,
        event=np.ones(3, dtype=np.int8) if survival else None,
    )
    made_up = SiteRows(
        site=model.program.sites[0] if model.program.sites else "", training=rows, calibration=rows, test=rows
    )
    try:
        with np.errstate(all="ignore"):
            return _shaped(model) and len(model.scores(made_up, rows)) == 3
    except (
        ArithmeticError,
        AttributeError,
        InvariantBroken,
        LookupError,
        RuntimeError,
        StudyError,
        TypeError,
        ValueError,
    ):
        return False


def _shaped(model: TrainedModel) -> bool:
    """Whether all stages are over, and the arrays they began with have kept their shapes (empty ones may grow)."""
    program, state = model.program, model.state
    index, exchanges = program.position(state)
    by_weights = program.learner.learns_by == "weights"  # such a run may end early, with the last merge that was paid
    if not program.finished(state) and not (by_weights and index == len(program.stages) - 1 and exchanges):
        return False
    for index, stage in enumerate(program.stages):
        held = state.under(f"{stage.name}/model")
        first = stage.learner.initial(program.prepared_layout(state, index), rng=program.chance.stream("shape"))
        if any(a.size and name in held and held[name].shape != a.shape for name, a in first.items()):
            return False
    return True


def read_record(path: Path) -> RunRecord:
    """The record of a finished run."""
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise DataError(f"record '{path}' is larger than {MAX_RECORD_BYTES} bytes")
        text = path.read_bytes()
        read_json(text, max_depth=_RECORD_DEPTH)
        return RunRecord.from_json(text)
    except ValueError as error:
        raise DataError(f"record '{path}': not JSON ({error})") from None
    except DataError as error:
        raise DataError(f"record '{path}': {error}") from None
    except OSError as error:
        raise UsageError(f"cannot read record '{path}': {error.strerror}", hint=_hint(path)) from None


def _hint(path: Path) -> str:
    """What to do with the folder of a generator, which has neither model nor record."""
    there = (path.parent / "generator.safetensors").is_file()
    return "a generator is judged by its patients: cohortium synth validate, synth canary" if there else ""


def chain_file(swarm: SwarmRun) -> tuple[bytes, Verified]:
    """The chain as JSON lines, and what an offline replay by the rules finds in them; closes the ledger."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        swarm.ledger.export(path)
        swarm.ledger.close()
        return path.read_bytes(), verify(path, evm=False)


def page_file(record: RunRecord, *, scope: str) -> list[bytes]:
    """The page of a record. scope: `site` or `consortium`."""
    readers: dict[str, Scope] = {"consortium": "consortium", "site": "site"}
    if scope not in readers:
        raise UsageError(f"unknown scope {scope!r}; available: {', '.join(readers)}")
    return [Report(record, scope=readers[scope]).html().encode()]


def write_report(record: RunRecord, path: Path, *, scope: str) -> None:
    """Write the page of a record."""
    write_whole(path, page_file(record, scope=scope))


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
            "consortium": found.consortium.hex(),
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
            "verdicts": [
                {
                    "run": one.run,
                    "site": one.subject,
                    "verdict": one.verdict,
                    "evidence": one.evidence.hex(),
                    "votes": list(one.votes),
                    "appeal": one.appeal,
                }
                for one in found.harm
            ],
        }

    def sentences(self) -> Sequence[str]:
        """For people."""
        found = self.found
        lines = [
            f"verified: {self.path.name}, {found.height} blocks, {len(found.members)} members, engine {found.engine}, "
            f"consortium {found.consortium.hex()[:16]}"
        ]
        for run in found.runs:
            digest = run.merges[-1].digest.hex()[:16] if run.merges else "none"
            lines.append(f"run {run.run}: {run.state}, {len(run.merges)} merges, last digest {digest}")
            for one in found.harm:
                if one.run == run.run:
                    appealed = ", appealed" if one.appeal else ""
                    said = f"{VERDICTS[one.verdict]}, said by {len(one.votes)} of {len(run.sites) - 1} others{appealed}"
                    lines.append(f"run {run.run}: data of {one.subject}: {said}")
        return lines


def verify_ledger(
    path: Path, study: Path | None, *, seed: int | None = None, consortium: str | None = None
) -> LedgerCheck:
    """Replay an export; with a study (and the seed it was run with) also that this is a run or an audit of it.

    consortium: at least 16 hexadecimal digits of the identity it must have, as its members know it.
    Raises VerificationFailed where a record does not hold, UsageError where it is the ledger of another study.
    """
    from cohortium.sim.auditing import audit_study
    from cohortium.sim.inputs import read_study

    if not path.is_file():
        raise UsageError(f"ledger file '{path}' does not exist")
    if consortium is not None and not re.fullmatch(r"[0-9a-f]{16,64}", consortium):
        raise UsageError(f"--consortium must be 16 to 64 hexadecimal digits, got {consortium!r:.80}")
    found = verify(path)
    if consortium is not None and not found.consortium.hex().startswith(consortium):
        raise VerificationFailed(
            f"{path.name} is the ledger of consortium {found.consortium.hex()[:16]}, expected {consortium[:16]}"
        )
    if study is not None:
        plan = read_study(study).with_seed(seed)
        wanted = plan.digest
        if not {wanted, audit_study(plan).digest} & {run.study for run in found.runs}:
            held = ", ".join(run.study.hex()[:16] for run in found.runs) or "none"
            raise UsageError(
                f"{path.name} is the ledger of another study: '{study}' has digest {wanted.hex()[:16]}, found {held}",
                hint="a run started with --seed is found with the same --seed",
            )
    return LedgerCheck(path=path, found=found)
