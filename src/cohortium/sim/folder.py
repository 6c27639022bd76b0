"""The folder of a run: tried before anything trains, kept for a restart meanwhile, filled when the run has succeeded.

Results of an earlier run stay until all files of the new one are written. While a run on a ledger on disk goes on,
`state` holds what a restart needs and which run it belongs to; it goes when the run has ended. What is in it
afterwards was left by a run that was interrupted.
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

from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.errors import DataError, RunFailed, StudyError, TrainingFailed, UsageError

__all__ = ["FILES", "fingerprint", "kept_state", "run_folder", "write_together", "write_whole"]

FILES = ("run.json", "report.html", "model.safetensors", "ledger.jsonl")
"""What a finished run leaves."""

_STATE = "state"
_MARK = "run-of.json"
_WORDS = {
    "study": "another study or seed",
    "data": "other data",
    "ledger": "another ledger",
    "engine": "another engine",
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


def fingerprint(study: Study, tables: Mapping[str, Table], *, ledger: str, engine: str) -> dict[str, str]:
    """What a restart must share with the run it goes on with."""
    data = hashlib.sha256(b"".join(site.encode() + b"\0" + tables[site].digest for site in sorted(tables)))
    return {"study": study.digest.hex(), "data": data.hexdigest(), "ledger": ledger, "engine": engine}


def kept_state(out: Path) -> Path | None:
    """Where an interrupted run has left its state, None where there is none."""
    state = out / _STATE
    return state if (state / _MARK).is_file() else None


@contextmanager
def run_folder(
    out: Path, run_of: Mapping[str, str], *, keeps_state: bool, resume: bool, discard: bool = False
) -> Iterator[Path | None]:
    """The folder, ready for the run inside the `with`; gives the folder of its state, None where it keeps none.

    run_of: its `fingerprint`. resume: go on with an interrupted run. discard: drop one, instead of refusing.
    A run that fails for a reason of its own takes its state along; one that is interrupted leaves it.
    Raises UsageError: not a folder, not writable, nothing to resume, something interrupted that is not resumed.
    """
    _refuse(out, run_of, resume=resume, discard=discard)
    made = not out.exists()
    _try(out)
    home = out / _STATE if keeps_state else None
    try:
        if home is not None and not resume:
            _clear(home)
            home.mkdir(mode=0o700)
            write_whole(home / _MARK, [json.dumps(dict(run_of)).encode()])
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


def _refuse(out: Path, run_of: Mapping[str, str], *, resume: bool, discard: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"'{out}' is a file; results need a folder")
    if blocked := [name for name in FILES if (out / name).is_dir()]:
        raise UsageError(f"'{out / blocked[0]}' is a folder, a result of that name could not be written")
    state = kept_state(out)
    if resume and state is None:
        raise UsageError(f"nothing to resume in '{out}'; start without --resume")
    if state is None:
        return
    if not resume:
        if not discard:
            hint = "go on with --resume, choose another --out, or remove that folder to begin again"
            raise UsageError(f"'{state}' holds a run that was interrupted", hint=hint)
        return
    try:
        kept = json.loads((state / _MARK).read_bytes())
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        raise UsageError(f"'{state / _MARK}' is damaged, so the run cannot be resumed; remove '{state}' to begin again")
    other = [word for key, word in _WORDS.items() if kept.get(key) != run_of[key]]
    if other:
        raise UsageError(f"the interrupted run in '{out}' has {' and '.join(other)}; resume it as it was started")


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
