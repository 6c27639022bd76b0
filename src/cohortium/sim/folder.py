"""The folder of a run: tried before anything trains, kept for a restart meanwhile, filled when the run has succeeded.

Results of an earlier run stay until all files of the new one are written. While a run on a ledger on disk goes on,
`state` holds what a restart needs, which run it belongs to and the command that goes on with it; it goes when the run
has ended. What is in it afterwards was left by a run that was interrupted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.errors import DataError, RunFailed, StudyError, TrainingFailed, UsageError

__all__ = [
    "FILES",
    "check_free",
    "check_run_of",
    "fingerprint",
    "kept_state",
    "not_over",
    "resumed_by",
    "run_folder",
    "write_together",
    "write_whole",
]

FILES = ("run.json", "report.html", "model.safetensors", "ledger.jsonl")
"""What a finished run leaves."""

_STATE = "state"
_MARK = "run-of.json"
_WORDS = {
    "study": "another study or seed",
    "data": "other data",
    "ledger": "another ledger",
    "engine": "another engine",
    "faults": "another failure played on it",
}


def write_whole(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file so that readers see all of it or the one before. Raises UsageError where the disk refuses."""
    write_together({path: pieces})


def write_together(files: Mapping[Path, Iterable[bytes | memoryview]], *, private: Collection[Path] = ()) -> None:
    """Write all files or none: each under a temporary name and synced, then all renamed.

    private: those that only their owner may read.
    """
    drafts: dict[Path, Path] = {}
    try:
        for path, pieces in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if path in private else 0o666)
            drafts[draft] = path
            with os.fdopen(handle, "wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
        for draft, path in drafts.items():
            draft.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write '{', '.join(str(path) for path in files)}': {error.strerror}") from None
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)


def not_over(files: Iterable[Path | None], *sources: Path | None) -> None:
    """Raises UsageError when one of the files to be written is one that is read. None: not given."""
    read = {source.resolve(): source for source in sources if source is not None}
    for file in files:
        if file is not None and (source := read.get(file.resolve())) is not None:
            raise UsageError(f"'{source}' is what is read; choose another name for what is written")


def check_free(files: Iterable[Path]) -> None:
    """Raises UsageError when one of the files to be written is there already."""
    for file in files:
        if file.exists():
            raise UsageError(f"'{file}' exists already; choose another name, or overwrite it with --replace")


def check_run_of(out: Path, name: str) -> None:
    """Raises UsageError when the folder holds results, and not those of the study of this name."""
    if state := kept_state(out):
        owner = _mark_of(state).get("name", "")
        held = f"an interrupted run of '{owner}'"
    else:
        owner, held = _record_of(out).get("name", ""), _finished(out)
    if held and owner != name:
        raise UsageError(f"'{out}' holds {held}, which is not this demonstration's; choose another --out")


def fingerprint(
    study: Study, tables: Mapping[str, Table], *, ledger: str, engine: str, faults: str = ""
) -> dict[str, str]:
    """What a restart must share with the run it goes on with."""
    data = hashlib.sha256(b"".join(site.encode() + b"\0" + tables[site].digest for site in sorted(tables)))
    of = {"name": study.name, "study": study.digest.hex(), "data": data.hexdigest(), "ledger": ledger, "engine": engine}
    return {**of, "faults": faults}


def kept_state(out: Path) -> Path | None:
    """Where an interrupted run has left its state, None where there is none."""
    state = out / _STATE
    return state if (state / _MARK).is_file() else None


def resumed_by(out: Path) -> str:
    """The command that goes on with the interrupted run in `out`; empty where there is none, or none is known."""
    state = kept_state(out)
    return "" if state is None else str(_mark_of(state).get("command", ""))


@contextmanager
def run_folder(
    out: Path, run_of: Mapping[str, str], *, keeps_state: bool, resume: bool, replace: bool = False, command: str = ""
) -> Iterator[Path | None]:
    """The folder, ready for the run inside the `with`; gives the folder of its state, None where it keeps none.

    run_of: its `fingerprint`. resume: go on with an interrupted run. replace: a finished or interrupted run that is
    there, instead of refusing. command: what goes on with this one when it is interrupted, kept beside its state.
    A run that fails for a reason of its own takes its state along; one that is interrupted leaves it.
    Raises UsageError: not a folder, not writable, nothing to resume, a run there that is neither resumed nor replaced.
    """
    _refuse(out, run_of, resume=resume, replace=replace)
    made = not out.exists()
    _try(out)
    home = out / _STATE if keeps_state else None
    try:
        if not resume:
            _clear(out / _STATE)
        if home is not None and not resume:
            home.mkdir(mode=0o700)
            write_whole(home / _MARK, [json.dumps({**run_of, "command": command}).encode()])
        yield home
    except (DataError, RunFailed, StudyError, TrainingFailed):
        _clear(home)
        raise
    else:
        _clear(home)
    finally:
        if made:
            with contextlib.suppress(OSError):  # not empty: something was kept
                out.rmdir()


def _refuse(out: Path, run_of: Mapping[str, str], *, resume: bool, replace: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"'{out}' is a file; results need a folder")
    if blocked := [name for name in FILES if (out / name).is_dir()]:
        raise UsageError(f"'{out / blocked[0]}' is a folder, a result of that name could not be written")
    state, finished = kept_state(out), _finished(out)
    if resume and state is None:
        raise UsageError(f"nothing to resume in '{out}'{finished and f', it holds {finished}'}; start without --resume")
    if resume:
        _refuse_another(out, run_of)
    elif state is not None and not replace:
        go_on = f", or go on with: {command}" if (command := resumed_by(out)) else ""
        hint = f"choose another --out, begin again with --replace{go_on}"
        raise UsageError(f"'{state}' holds a run that was interrupted", hint=hint)
    elif finished and not replace:
        raise UsageError(f"'{out}' holds {finished}; choose another --out, or overwrite it with --replace")


def _refuse_another(out: Path, run_of: Mapping[str, str]) -> None:
    state = out / _STATE
    kept = _mark_of(state)
    if not kept:
        raise UsageError(f"'{state / _MARK}' is damaged, so the run cannot be resumed; begin again with --replace")
    other = [word for key, word in _WORDS.items() if kept.get(key, "") != run_of.get(key, "")]
    if other:
        raise UsageError(
            f"the interrupted run in '{out}' has {' and '.join(other)}; resume it as it was started"
            + (f": {kept['command']}" if kept.get("command") else "")
        )


def _mark_of(state: Path) -> dict[str, object]:
    """What the mark of an interrupted run says, nothing where it is damaged."""
    try:
        kept = json.loads((state / _MARK).read_bytes())
    except ValueError:
        return {}
    return kept if isinstance(kept, dict) else {}


def _finished(out: Path) -> str:
    """Which finished run is in the folder, in words, or which file a run would overwrite; empty where there is none."""
    if not (out / "run.json").exists():
        return next((f"'{name}' without a run" for name in FILES if (out / name).exists()), "")
    record = _record_of(out)
    try:
        return f"a finished run of study '{record['name']}' (digest {record['study_digest'][:16]})"
    except (LookupError, TypeError):
        return "a run.json"


def _record_of(out: Path) -> dict[str, Any]:
    """What the finished run in the folder says, nothing where there is none or it is damaged."""
    try:
        record = json.loads((out / "run.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _try(out: Path) -> None:
    """Make the folder and write to it, so that nobody trains for results that cannot be kept."""
    probe = out / f".{secrets.token_hex(4)}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write results to '{out}': {error.strerror}") from None


def _clear(home: Path | None) -> None:
    if home is not None and home.exists():
        shutil.rmtree(home)
