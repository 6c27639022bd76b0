"""Processes the lab has started: found again and stopped from any later process, and never confused with others.

A process is known by its id and its birth (start time in clock ticks since boot, and the boot). A number that was given
to another process since is not ours: it is left alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from cohortium.errors import CohortiumError

__all__ = ["Proc", "children_of", "spawn"]

_PROC = Path("/proc")
_THREADS_FIELD, _START_FIELD = 17, 19  # of /proc/PID/stat, counted after the name
_LOOK_S = 0.02


class Proc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One process. role: site, etcd or anvil; name: of the site or member; birth: what tells it from a later one."""

    role: str
    name: str
    pid: int
    birth: str

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; a child of this process that has ended is buried on the way."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return _birth_of(self.pid) == self.birth

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal; False when it has gone."""
        if not self.is_alive:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self, *, timeout_s: float) -> bool:
        """Whether it has gone within the time."""
        deadline = time.monotonic() + timeout_s
        while self.is_alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_S)
        return True

    def end(self, *, patience_s: float = 12.0) -> None:
        """Ask it to stop, then make it. Its workers follow, as they see their node end."""
        self.send(signal.SIGTERM)
        if not self.wait(timeout_s=patience_s):
            self.send(signal.SIGCONT)
            self.send(signal.SIGKILL)
            self.wait(timeout_s=5.0)


def spawn(
    role: str,
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
) -> Proc:
    """Start a process that outlives this one. Its output goes to a file only this user can read."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        started = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise CohortiumError(f"cannot start {role} '{name}': {error.strerror}", hint=f"command: {command[0]}") from None
    finally:
        os.close(handle)
    started.returncode = 0  # it is buried by `Proc`, not by subprocess
    return Proc(role=role, name=name, pid=started.pid, birth=_birth_of(started.pid) or "gone")


def children_of(pid: int, *, word: str) -> list[int]:
    """Children of a process whose command line holds a word."""
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None and int(stat[1]) == pid:
            with contextlib.suppress(OSError):
                if word in (entry / "cmdline").read_bytes().decode("utf-8", "replace"):
                    found.append(int(entry.name))
    return found


def _birth_of(pid: int) -> str | None:
    """When a process was born; None for one that is gone or only waits to be buried.

    A killed process whose first thread has ended already holds its sockets and locks until its last one has.
    """
    if not _PROC.is_dir():
        return _birth_elsewhere(pid)
    stat = _stat(pid)
    if stat is None or stat[0] == "X" or (stat[0] == "Z" and int(stat[_THREADS_FIELD]) < 2):
        return None
    return f"{stat[_START_FIELD]}@{_boot()}"


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; the name before them may hold blanks and brackets."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        return ""


def _birth_elsewhere(pid: int) -> str | None:
    """Where there is no /proc: what `ps` says."""
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, since = done.stdout.strip().partition(" ")
    return since.strip() or None if state and not state.startswith("Z") else None
