"""What is wrong with one site of a lab, in `lab-faults.json` in its home; read again whenever the file changes.

The product knows nothing of this file: only `python -m cohortium.lab.site` reads it, and `lab fault` writes it.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from cohortium.errors import CohortiumError
from cohortium.node.keys import write_private

__all__ = ["Death", "FaultFile", "SiteFaults", "deaths_died", "note_death", "write_faults"]

_FILE: Final = "lab-faults.json"
_DIED: Final = "lab-deaths"
_MAX_BYTES: Final = 64 << 10
_LOOK_S: Final = 0.05

_Code = Annotated[str, msgspec.Meta(max_length=32, pattern="^[a-z_]*$")]
_Seconds = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]


class Death(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A point at which the node kills itself with SIGKILL, once: when a fact of this kind of a round is to be written.

    when: before it is written, or right after, before anything is done that follows from it. step: of the exchange,
    any if empty.
    """

    fact: str
    round: int
    when: Literal["before", "after"] = "before"
    step: str = ""

    @property
    def name(self) -> str:
        """What tells it from other points."""
        return f"{self.when} {self.fact} {self.step} {self.round}"


class SiteFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. cut: peers no frame goes to or comes from; ledger_cut: no way to the ledger's own processes.

    slow_s: every training takes so much longer. fails: trainings and preparing fail with this code; not_ready:
    preparing alone. worker_dies: the worker is killed by SIGBUS in every training, as for want of shared memory. disk:
    every write of the node's store fails. clock_s: how far its clock is off. mute: no heartbeat leaves. deaf_to:
    topics on which it answers no peer. deaths: see `Death`.
    """

    cut: tuple[str, ...] = ()
    ledger_cut: bool = False
    slow_s: _Seconds = 0.0
    fails: _Code = ""
    not_ready: _Code = ""
    worker_dies: bool = False
    disk: Literal["", "full", "read-only"] = ""
    clock_s: _Seconds = 0.0
    mute: bool = False
    deaf_to: tuple[str, ...] = ()
    deaths: tuple[Death, ...] = ()


class FaultFile:
    """The faults of one home, as they are now."""

    def __init__(self, home: Path) -> None:
        self._path = home / _FILE
        self._seen: tuple[int, int, int] | None = None
        self._held = SiteFaults()
        self._looked_s = float("-inf")

    @property
    def now(self) -> SiteFaults:
        """Read again where the file has changed; looked at 20 times a second at most. Raises CohortiumError."""
        at = time.monotonic()
        if at - self._looked_s >= _LOOK_S:
            self._looked_s = at
            self._look()
        return self._held

    def _look(self) -> None:
        try:
            about = self._path.stat()
            mark = (about.st_ino, about.st_mtime_ns, about.st_size)
            if mark != self._seen:
                self._held, self._seen = _read(self._path), mark
        except FileNotFoundError:
            self._held, self._seen = SiteFaults(), None


def _read(path: Path) -> SiteFaults:
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    try:
        return msgspec.json.decode(raw[:_MAX_BYTES], type=SiteFaults)
    except msgspec.MsgspecError as error:
        raise CohortiumError(
            f"'{path}' is no list of faults: {error}", hint="write it again: cohortium lab fault"
        ) from None


def write_faults(home: Path, faults: SiteFaults) -> None:
    """Let these be the faults of a home; none removes the file."""
    if faults == SiteFaults():
        (home / _FILE).unlink(missing_ok=True)
    else:
        write_private(home / _FILE, msgspec.json.encode(faults))


def deaths_died(home: Path) -> frozenset[str]:
    """Names of the points at which this site's node has died already."""
    try:
        return frozenset((home / _DIED).read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return frozenset()


def note_death(home: Path, death: Death) -> None:
    """Remember a death before dying it."""
    handle = os.open(home / _DIED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with contextlib.closing(os.fdopen(handle, "w")) as file:
        file.write(f"{death.name}\n")
        file.flush()
        os.fsync(file.fileno())
