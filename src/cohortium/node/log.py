"""The node's log: one JSON line for each thing an operator may ask about later. No patient's value, no secret.

Of an error of ours the sentence is written, of a foreign one its kind and the places it passed: its text may quote a
table. A file that has grown to 16 MiB moves aside, to `node.jsonl.1`; the one before it is let go.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cohortium.node.failures import sentence_of

__all__ = ["Log"]

MAX_BYTES = 16 << 20


class Log:
    """Appends lines to a file; a disk that refuses is no reason to stop a node."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock

    def __call__(self, level: str, what: str, *, error: BaseException | None = None, **more: Any) -> None:
        """One line. level: info, warn or error."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        line: dict[str, Any] = {"time": at, "level": level, "what": what, **more}
        if error is not None:
            line |= {"why": sentence_of(error), "error": type(error).__name__, "places": _places(error)}
        try:
            self._write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        except OSError:
            return

    def _write(self, line: str) -> None:
        if self._path.is_file() and self._path.stat().st_size > MAX_BYTES:
            self._path.replace(self._path.with_suffix(".jsonl.1"))
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(line)


def _places(error: BaseException) -> list[str]:
    return [f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in traceback.extract_tb(error.__traceback__)]
