"""The published failures F1 to F10, and plain ones, done to a running lab: what is done, and what to look for.

Each is a function of the lab and a site; it returns sentences for whoever typed it. `heal` ends all of them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

from cohortium.errors import UsageError
from cohortium.lab.consortium import Consortium
from cohortium.lab.site_faults import SiteFaults
from cohortium.node.home import Home

__all__ = ["FAILURES", "do_fault", "seconds_of"]

_LATE_S: Final = 10.0
_SLOW_S: Final = 60.0
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Said = list[str]


def seconds_of(text: str) -> float:
    """Seconds of `+1h`, `-30m`, `90s`, `45`. Raises UsageError."""
    found = re.fullmatch(r"([+-]?)(\d{1,9}(?:\.\d{1,6})?)([smhd]?)", text)
    if found is None:
        raise UsageError(f"a time is written like +1h, -30m or 90s, got {text!r:.40}")
    return float(f"{found[1]}{float(found[2]) * _UNITS[found[3] or 's']}")


def do_fault(lab: Consortium, words: list[str]) -> Said:
    """Do what `lab fault WORDS` asks for. Raises UsageError that lists what there is."""
    what, *rest = words
    if failure := FAILURES.get(what.upper()):
        if len(rest) > 1:
            raise UsageError(f"{what.upper()} takes one site at most, got {', '.join(rest)}")
        site = rest[0] if rest else lab.lab.names[-1]
        lab.home(site)  # a site of this lab
        return failure(lab, site)
    if what not in _PLAIN:
        raise UsageError(f"unknown fault {what!r:.40}; available: {', '.join([*FAILURES, *_PLAIN])}")
    return _PLAIN[what](lab, rest)


# --- as published ------------------------------------------------------------------------------------------------


def _f1(lab: Consortium, site: str) -> Said:
    lab.fault(site, SiteFaults(slow_s=_SLOW_S))
    return [
        f"'{site}' needs {_SLOW_S:.0f} s more for every training, and tells how it goes",
        "expected: it is waited for",
    ]


def _f2(lab: Consortium, site: str) -> Said:
    lab.fault(site, SiteFaults(fails="device"))
    return [
        f"'{site}' has lost its accelerator",
        "expected: told to all, tried once more, dropped by name; after 'heal' it joins",
    ]


def _f3(lab: Consortium, site: str) -> Said:
    lab.kill(site)
    lab.start_site(site)
    lab.wait_until(f"'{site}' answers again", lambda: not lab.unreachable(site), timeout_s=60.0)
    second = subprocess.run(
        [sys.executable, "-m", "cohortium.lab.site", str(lab.home(site))], capture_output=True, text=True, check=False
    )
    said = (second.stderr.strip().splitlines() or ["it said nothing"])[0]
    return [
        f"'{site}' was killed and started again without a manual step",
        f"a second node was refused ({second.returncode}): {said}",
    ]


def _f4(lab: Consortium, site: str) -> Said:
    lab.fault(site, SiteFaults(disk="read-only"))
    return [f"'{site}' can no longer write its disk", "expected: path_readonly told to all, dropped, the others finish"]


def _f5(lab: Consortium, site: str) -> Said:
    lab.fault(site, SiteFaults(slow_s=_SLOW_S, mute=True))
    return [
        f"'{site}' needs {_SLOW_S:.0f} s more and says nothing",
        "expected: its round closes without it, its late update is no error",
    ]


def _f6(lab: Consortium, site: str) -> Said:
    lab.partition([[site]])
    return [
        f"'{site}' reaches nobody, nor the ledger",
        "expected: the others go on by majority; after 'heal' it catches up",
    ]


def _f7(lab: Consortium, site: str) -> Said:
    lab.fault(site, SiteFaults(worker_dies=True))
    return [
        f"the worker of '{site}' dies by SIGBUS in every training",
        "expected: shared_memory told to all, dropped by name",
    ]


def _f8(lab: Consortium, site: str) -> Said:
    lab.fault(site, SiteFaults(not_ready="data"))
    time.sleep(_LATE_S)
    lab.fault(site, SiteFaults())
    return [
        f"'{site}' could not be ready for {_LATE_S:.0f} s",
        "expected: a run proposed meanwhile waits, and is complete",
    ]


def _f9(lab: Consortium, site: str) -> Said:
    lab.kill(site)
    home, now = Home.open(lab.home(site)), time.time()
    home.stage_keys(now)
    home.promote_keys()
    lab.start_site(site)
    return [
        f"'{site}' has a certificate that is not the one on the ledger",
        "expected: unhealthy within a minute, cause and fix at both ends; 'heal' does not restore the old keys",
    ]


def _f10(lab: Consortium, site: str) -> Said:
    lab.fault(site, SiteFaults(deaf_to=("figures",)))
    return [f"'{site}' gives its figures to nobody", "expected: the others' reports name it as missing"]


FAILURES: Final[dict[str, Callable[[Consortium, str], Said]]] = {
    "F1": _f1, "F2": _f2, "F3": _f3, "F4": _f4, "F5": _f5, "F6": _f6, "F7": _f7, "F8": _f8, "F9": _f9, "F10": _f10,
}  # fmt: skip
"""The published failures by name."""


# --- plain -------------------------------------------------------------------------------------------------------


def _site(rest: list[str], usage: str) -> str:
    if len(rest) != 1:
        raise UsageError(f"write: cohortium lab fault {usage}")
    return rest[0]


def _kill(lab: Consortium, rest: list[str]) -> Said:
    site = _site(rest, "kill SITE")
    lab.kill(site)
    return [f"'{site}' was killed; 'heal' starts it again"]


def _freeze(lab: Consortium, rest: list[str]) -> Said:
    site = _site(rest, "freeze SITE")
    lab.freeze(site)
    return [f"'{site}' stands still; 'heal' lets it go on"]


def _partition(lab: Consortium, rest: list[str]) -> Said:
    if not rest:
        raise UsageError("write: cohortium lab fault partition A,B [C,D]; sites not named stay together")
    groups = [group.split(",") for group in rest]
    named = [site for group in groups for site in group]
    for site in named:
        lab.home(site)
    if len(set(named)) < len(named):
        raise UsageError("a site is in one part only")
    lab.partition(groups)
    return [f"cut into parts: {' | '.join(rest)}, and the rest"]


def _slow(lab: Consortium, rest: list[str]) -> Said:
    if not 1 <= len(rest) <= 2:
        raise UsageError("write: cohortium lab fault slow SITE [30s]")
    seconds = seconds_of(rest[1]) if len(rest) == 2 else _SLOW_S
    lab.fault(rest[0], SiteFaults(slow_s=seconds))
    return [f"'{rest[0]}' needs {seconds:.0f} s more for every training"]


def _clock(lab: Consortium, rest: list[str]) -> Said:
    if len(rest) != 2:
        raise UsageError("write: cohortium lab fault clock SITE +1h")
    seconds = seconds_of(rest[1])
    lab.fault(rest[0], SiteFaults(clock_s=seconds))
    return [f"the clock of '{rest[0]}' is off by {seconds:.0f} s"]


def _disk_full(lab: Consortium, rest: list[str]) -> Said:
    site = _site(rest, "disk-full SITE")
    lab.fault(site, SiteFaults(disk="full"))
    return [f"the disk of '{site}' is full"]


def _heal(lab: Consortium, rest: list[str]) -> Said:
    if rest:
        raise UsageError("'heal' mends everything; it takes no site")
    lab.heal()
    return ["nothing is wrong any more; what was killed or frozen goes on"]


_PLAIN: Final[dict[str, Callable[[Consortium, list[str]], Said]]] = {
    "kill": _kill, "freeze": _freeze, "partition": _partition, "slow": _slow, "clock": _clock, "disk-full": _disk_full,
    "heal": _heal,
}  # fmt: skip
