"""What a lab is made of, in `lab.json` in its folder: written before anything is started, read by every command.

    lab.json            this file, 0600
    study.toml          the study all sites run, its columns pinned
    SITE/               one node's home, as a hospital would have it, with table.csv
    etcd/ or anvil/     the ledger's own processes, where the engine needs some
    logs/               what they say

A lab that was killed is stopped and removed by what stands here.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from cohortium.errors import CohortiumError, UsageError
from cohortium.lab.processes import Proc
from cohortium.node.keys import write_private

__all__ = ["FORMAT", "Lab", "LabSite", "changing", "read_lab", "write_lab"]

FORMAT: Final = "cohortium-lab-1"
_FILE: Final = "lab.json"
_MAX_BYTES: Final = 4 << 20


class LabSite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One hospital of the lab. home: relative to the lab's folder. port: on loopback, 0 where it only dials out.

    wires: ports on which this site alone reaches the ledger's processes, by name; what the lab can cut.
    """

    name: str
    home: str
    port: int
    wires: dict[str, int] = {}


class Lab(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. seed: of the study, which the patients' secrets follow. ports: of the ledger's processes by name."""

    format: str
    engine: str
    seed: int
    sites: tuple[LabSite, ...]
    heartbeat_s: float
    ports: dict[str, int] = {}
    procs: tuple[Proc, ...] = ()

    def site(self, name: str) -> LabSite:
        """A site by name. Raises UsageError that lists them."""
        for one in self.sites:
            if one.name == name:
                return one
        raise UsageError(f"no site '{name}' in this lab; sites: {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The sites' names, sorted."""
        return tuple(sorted(one.name for one in self.sites))

    def proc(self, role: str, name: str) -> Proc | None:
        """The newest process of this role and name."""
        return next((one for one in reversed(self.procs) if (one.role, one.name) == (role, name)), None)

    def with_proc(self, proc: Proc) -> Lab:
        """The same with one process more; what it replaces is forgotten once it has gone."""
        kept = tuple(one for one in self.procs if (one.role, one.name) != (proc.role, proc.name) or one.is_alive)
        return msgspec.structs.replace(self, procs=(*kept, proc))


def read_lab(folder: Path) -> Lab:
    """The lab in a folder. Raises UsageError where there is none."""
    path = folder / _FILE
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError:
        raise UsageError(f"no lab in '{folder}'", hint="start one: cohortium lab up, or give --dir DIR") from None
    try:
        lab = msgspec.json.decode(raw[:_MAX_BYTES], type=Lab)
    except msgspec.MsgspecError as error:
        raise CohortiumError(
            f"'{path}' is damaged: {error}", hint="stop its processes by hand, remove the folder"
        ) from None
    if lab.format != FORMAT:
        raise UsageError(f"'{path}' was written by another release ({lab.format:.40}); remove the folder")
    return lab


def write_lab(folder: Path, lab: Lab) -> None:
    """Keep it, whole or not at all."""
    write_private(folder / _FILE, msgspec.json.format(msgspec.json.encode(lab), indent=1))


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Let one command at a time change the lab."""
    handle = os.open(folder / "lab.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
