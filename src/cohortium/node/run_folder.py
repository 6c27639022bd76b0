"""What one run leaves at this site, `runs/<number>/`: the site's word on it, its figures, and the four results.

decision.json   what was decided here, by whom, when; written before it is acted upon
egress.jsonl    every frame and transaction that left for the run, as it leaves
figures.json    own figures, as far as they may leave: what peers are told
outcome.json    how the run ended; written last
run.json report.html model.safetensors ledger.jsonl      the results, all of them or none
evidence.json suspects.csv       in the model's place where the run was an audit; suspects are for this site alone
generator.safetensors seal.json validation.html validation.json      in its place where a generator was learned
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from cohortium.errors import CohortiumError
from cohortium.node.keys import write_private
from cohortium.swarm.egress import EgressLog, Sent

__all__ = [
    "COPIES",
    "EVIDENCE",
    "FINDINGS",
    "GENERATOR",
    "SCORES",
    "SEAL",
    "STATEMENTS",
    "SUSPECTS",
    "VALIDATION",
    "VALIDATION_PAGE",
    "Decision",
    "Ending",
    "Figures",
    "RunFolder",
    "draft_of",
]

EVIDENCE, SUSPECTS, SCORES, COPIES = "evidence.json", "suspects.csv", "scores.json", "copies.csv"
STATEMENTS = "statements.jsonl"
GENERATOR, SEAL = "generator.safetensors", "seal.json"
VALIDATION, VALIDATION_PAGE = "validation.json", "validation.html"
FINDINGS = (EVIDENCE, SUSPECTS, SCORES, COPIES, GENERATOR, SEAL, VALIDATION, VALIDATION_PAGE)
"""What a run may leave beside its record; in the place of a model all but the list of copies."""

Word = Literal["approve", "decline", "stop"]
By = Literal["person", "automatic", "policy"]
T = TypeVar("T", bound=msgspec.Struct)
_MAX_BYTES = 64 << 10


def draft_of(folder: Path, name: str) -> Path:
    """Where a file stands until the run's results are written together."""
    return folder / f".{name}.draft"


class Decision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The site's word on a run. by: a person, the rules that say yes by themselves, or a rule that says no."""

    word: Word
    by: By
    study: str
    at: str
    why: str = ""


_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[a-z0-9_/-]+$")]


class Figures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a site lets its peers know of the finished run. measures: `swarm/auroc`, `swarm/auroc/low`, `own/auroc`, ...

    withheld: why there are none, one of our own sentences. gate: one word for each check of the site's data, where the
    study compares sites.
    """

    measures: Annotated[dict[_Name, float], msgspec.Meta(max_length=256)] = {}
    withheld: Annotated[str, msgspec.Meta(max_length=200)] = ""
    gate: Annotated[dict[_Name, Literal["pass", "warn", "fail"]], msgspec.Meta(max_length=16)] = {}


class Ending(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the run ended. status: complete, partial or failed. missing: sites without figures, and why."""

    status: Literal["complete", "partial", "failed"]
    sentence: str
    missing: dict[str, str] = {}

    @property
    def exit_code(self) -> int:
        """What `run watch` ends with."""
        return {"complete": 0, "partial": 3, "failed": 4}[self.status]


class _Left(msgspec.Struct, frozen=True):
    """One line of what left."""

    round: int
    kind: str
    what: str
    to: str
    bytes: int
    digest: str

    def sent(self) -> Sent:
        """As the log takes it."""
        digest = bytes.fromhex(self.digest)
        return Sent(
            round=self.round, kind=self.kind, what=self.what, receiver=self.to, n_bytes=self.bytes, digest=digest
        )


class _Lines:
    """Takes lines: none while a file is read back, then to its end. A disk that refuses loses lines, not the run."""

    def __init__(self) -> None:
        self._path: Path | None = None

    def append_to(self, path: Path) -> None:
        """From now on."""
        self._path = path

    def __call__(self, line: str) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):
                handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(line)


class RunFolder:
    """One folder. clock: for the date of a decision."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock

    @property
    def report(self) -> Path | None:
        """The page of the run, None where there is none."""
        path = self.path / "report.html"
        return path if path.is_file() else None

    def decide(self, word: Word, *, by: By, study: bytes, why: str = "") -> None:
        """Write the site's word down, on disk when this returns."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        self._write("decision.json", Decision(word=word, by=by, study=study.hex(), at=at, why=why))

    def decision(self) -> Decision | None:
        """The site's word, None before there is one. Raises CohortiumError for a file that is damaged."""
        return self._read("decision.json", Decision)

    def keep_figures(self, figures: Figures) -> None:
        """Write the own figures down."""
        self._write("figures.json", figures)

    def figures(self) -> Figures | None:
        """The own figures, None before the run is measured."""
        return self._read("figures.json", Figures)

    def egress(self) -> EgressLog:
        """What notes everything that leaves for the run: a line each on disk, sums over all lives of the node."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path, lines = self.path / "egress.jsonl", _Lines()
        log = EgressLog(write=lines)
        if path.is_file():
            with path.open("rb") as file:
                for line in file:
                    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, ValueError):  # torn by a kill
                        log(msgspec.json.decode(line, type=_Left).sent())
        lines.append_to(path)
        return log

    def close(self, ending: Ending) -> None:
        """Write down how the run ended: nothing more is done for it."""
        self._write("outcome.json", ending)

    def ending(self) -> Ending | None:
        """How the run ended, None while something is to be done for it."""
        return self._read("outcome.json", Ending)

    def _write(self, name: str, held: msgspec.Struct) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.path / name, msgspec.json.format(msgspec.json.encode(held)) + b"\n")

    def _read(self, name: str, kind: type[T]) -> T | None:
        path = self.path / name
        try:
            with path.open("rb") as file:
                return msgspec.json.decode(file.read(_MAX_BYTES), type=kind)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            hint = "remove the file; the node then asks again what this site decides"
            raise CohortiumError(f"'{path}' is damaged ({error})", hint=hint) from None
