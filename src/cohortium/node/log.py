"""The node's log: one JSON line for each thing an operator may ask about later. No patient's value, no secret.

    log("info", "peer connected", peer="bonn", path="direct")

Of an error of ours the sentence is written, of a foreign one its kind and the places it passed: its text may quote a
table. Fields are numbers, truth values and short texts that this package wrote; arrays and other objects are named by
their type, bytes by their first four, so that no table and no key stands here. A file that has grown to 8 MiB moves
aside to `node.1.jsonl`; four of these are kept.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cohortium.node.failures import sentence_of

__all__ = ["Log"]

MAX_BYTES: Final = 8 << 20
KEPT: Final = 4
MAX_LINE: Final = 8192
MAX_WORD: Final = 300


class Log:
    """Appends lines to a file, from any thread; a disk that refuses is no reason to stop a node."""

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.time, max_bytes: int = MAX_BYTES, kept: int = KEPT
    ) -> None:
        self._path, self._clock, self._max_bytes, self._kept = path, clock, max_bytes, kept
        self._lock = threading.Lock()

    def __call__(self, level: str, what: str, *, error: BaseException | None = None, **more: object) -> None:
        """One line. level: info, warn or error."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        line = {"time": at, "level": level, "what": what}
        said: dict[str, Any] = {name: _plain(value) for name, value in more.items()}
        if error is not None:
            said |= {"why": _plain(sentence_of(error)), "error": type(error).__name__, "places": _places(error)}
        text = json.dumps(line | said, ensure_ascii=True)
        if len(text) > MAX_LINE:
            text = json.dumps(line | {"cut": len(text)}, ensure_ascii=True)
        with self._lock:
            try:
                self._append(text.encode() + b"\n")
            except OSError:
                return

    def _append(self, line: bytes) -> None:
        if self._path.is_file() and self._path.stat().st_size + len(line) > self._max_bytes:
            self._rotate()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        with os.fdopen(handle, "ab") as file:
            file.write(line)

    def _rotate(self) -> None:
        for number in range(self._kept, 0, -1):
            newer = self._path if number == 1 else self._path.with_suffix(f".{number - 1}.jsonl")
            if newer.is_file():
                newer.replace(self._path.with_suffix(f".{number}.jsonl"))


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value[:4].hex()
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in list(value)[:32]]
    text = str(value) if isinstance(value, str | Path) else type(value).__name__
    return "".join(c if c.isprintable() else " " for c in text[:MAX_WORD])


def _places(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-24:]
    return [f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in frames]
