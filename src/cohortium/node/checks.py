"""Preflight of the home and the machine below it: keys, consortium, room, rights, versions, threads.

Each check looks and reports; what it writes is a probe file that it removes again.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from cohortium.core.check import Check
from cohortium.core.study import Study
from cohortium.errors import CohortiumError, MissingExtra, StudyError
from cohortium.node.home import Home
from cohortium.node.survey import own_versions

__all__ = [
    "check_consortium",
    "check_disk",
    "check_folder",
    "check_heads",
    "check_keys",
    "check_memory",
    "check_needs",
    "check_paths",
    "check_shared_memory",
    "check_threads",
    "check_versions",
    "memory_available",
]

_SHARED: Final = Path("/dev/shm")  # noqa: S108 - looked at, not written to
_LEAST_SHARED: Final = 128 << 20
_PAYLOADS: Final = 4
_COPIES: Final = 6  # of a model while a merge is recomputed: state, update, sum, inputs in hand
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_FOLDERS = ("blobs", "runs", "peers", "studies", "evidence", "logs")


def check_folder(home: Path) -> Check:
    """Whether the home is this user's alone."""
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o077:
        found = f"'{home}' can be entered by others (mode {mode:04o}, expected 0700)"
        return Check(id="home", level="fail", found=found, fix=f"chmod 700 {shlex.quote(str(home))}")
    return Check(id="home", level="ok", found=f"'{home}' is this user's alone")


def check_keys(home: Home) -> Check:
    """Whether all keys are there, open, and are private."""
    try:
        return Check(id="keys", level="ok", found=f"keys open; fingerprint {home.card(1.0).fingerprint}")
    except CohortiumError as error:
        return Check(id="keys", level="fail", found=str(error), fix=error.hint)


def check_consortium(home: Home) -> Check:
    """Whether consortium.json is whole, of this release's contract code, and knows this home's founder key."""
    try:
        founding = home.founding
    except CohortiumError as error:
        fix = (
            "take the file again from another member; for another contract code install the release it was founded with"
        )
        return Check(id="consortium", level="fail", found=str(error), fix=fix)
    if founding is None:
        fix = "cohortium node found *.request.json, or approve the consortium.json you were sent"
        return Check(id="consortium", level="fail", found="this home belongs to no consortium yet", fix=fix)
    if not founding.complete:
        found = f"signatures are missing: {', '.join(founding.missing)}"
        fix = "send them consortium.json, then: cohortium node approve consortium.json"
        return Check(id="consortium", level="fail", found=found, fix=fix)
    code = founding.genesis.facts()["code_hash"][:16]
    return Check(id="consortium", level="ok", found=f"consortium {founding.fingerprint}, contract code {code}")


def check_paths(home: Home) -> list[Check]:
    """A write probe in every folder a node writes to: its own, and the system's temporary one."""
    checks = [_writable(home.path / name, "paths") for name in ("", *_FOLDERS)]
    try:
        checks.append(_writable(Path(tempfile.gettempdir()), "temporary"))
    except OSError as error:
        found = f"no folder for temporary files can be written: {error.strerror}"
        checks.append(Check(id="temporary", level="fail", found=found, fix=f"export TMPDIR={home.path / 'tmp'}"))
    bad = [check for check in checks if check.level != "ok"]
    return bad or [Check(id="paths", level="ok", found=f"{len(checks)} folders can be written")]


def check_disk(home: Home, *, payload_bytes: int, free_bytes: int | None = None) -> Check:
    """Room for four payloads and the reserve. payload_bytes: of one update; free_bytes: else looked up."""
    free = shutil.disk_usage(home.path).free if free_bytes is None else free_bytes
    reserve = int(home.settings.limits.disk_reserve_gb * 2**30)
    need = _PAYLOADS * payload_bytes + reserve
    facts = f"{_size(free)} free, {_size(need)} needed ({_PAYLOADS} payloads and {_size(reserve)} reserve)"
    if free < need:
        fix = (
            f"free {_size(need - free)} on the disk of '{home.path}', or lower disk_reserve_gb in [limits] of node.toml"
        )
        return Check(id="disk", level="fail", found=facts, fix=fix)
    return Check(id="disk", level="ok", found=facts)


def check_memory(*, payload_bytes: int, table_bytes: int, available_bytes: int | None) -> Check:
    """Whether model and table fit. available_bytes: see `memory_available`; None: cannot be told here."""
    need = _COPIES * payload_bytes + 3 * table_bytes + (300 << 20)
    if available_bytes is None:
        return Check(id="memory", level="skipped", found="this system does not tell its free memory")
    facts = f"about {_size(need)} needed, {_size(available_bytes)} available"
    if available_bytes < need:
        fix = "give the machine or container more memory, or lower max_parallel_runs in [limits] of node.toml"
        return Check(id="memory", level="fail", found=facts, fix=fix)
    return Check(id="memory", level="ok", found=facts)


def memory_available(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes this process may still take: the machine's, or what a container (cgroup v2) leaves of its limit."""
    found = []
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int((cgroup / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return max(0, min(found)) if found else None


def check_shared_memory(*, needed: bool, folder: Path = _SHARED, size_bytes: int | None = None) -> Check:
    """Whether worker processes have shared memory (containers begin with 64 MB). needed: the study trains a network."""
    try:
        size = shutil.disk_usage(folder).total if size_bytes is None else size_bytes
    except OSError:
        return Check(id="shared-memory", level="skipped", found=f"there is no {folder}")
    if size < _LEAST_SHARED:
        found = f"{folder} has {_size(size)}; workers that exchange batches are killed below {_size(_LEAST_SHARED)}"
        fix = f"start the container with --shm-size=1g, or: mount -o remount,size=1G {folder}"
        return Check(id="shared-memory", level="fail" if needed else "warn", found=found, fix=fix)
    return Check(id="shared-memory", level="ok", found=f"{folder} has {_size(size)}")


def check_threads(train_threads: int, *, environment: Mapping[str, str], cores: int | None = None) -> Check:
    """Whether the thread settings fit the machine and each other."""
    have = len(os.sched_getaffinity(0)) if cores is None else cores
    if train_threads > have:
        found = f"train_threads is {train_threads}, this process may use {have} cores"
        return Check(id="threads", level="fail", found=found, fix=f"train_threads = {have} in [limits] of node.toml")
    fitting = ("1", str(train_threads))
    other = [f"{name}={environment[name]}" for name in _THREADS if environment.get(name, "1") not in fitting]
    if other:
        found = f"the environment says {', '.join(other)}, node.toml says train_threads = {train_threads}"
        fix = f"unset {' '.join(one.partition('=')[0] for one in other)}, or set train_threads in [limits] alike"
        return Check(id="threads", level="warn", found=found, fix=fix)
    return Check(id="threads", level="ok", found=f"{train_threads} of {have} cores for training")


def check_needs(study: Study | None) -> Check:
    """Whether everything the study needs is installed."""
    if study is None:
        return Check(id="packages", level="ok", found=_versions(own_versions()))
    if study.synth is not None:
        return _generator_needs(study)
    from cohortium.assembly import build_learner, build_strategy

    try:
        build_strategy(study, build_learner(study))
    except MissingExtra as error:
        return Check(id="packages", level="fail", found=str(error), fix=f"pip install 'cohortium[{error.extra}]'")
    except StudyError as error:
        return Check(id="packages", level="fail", found=str(error), fix="cohortium study check STUDY.toml")
    if study.privacy.model_dump().get("dp") and find_spec("dp_accounting") is None:
        found = "the study counts epsilon, which needs dp-accounting"
        return Check(id="packages", level="fail", found=found, fix="pip install 'cohortium[dp]'")
    return Check(id="packages", level="ok", found=_versions(own_versions()))


def _generator_needs(study: Study) -> Check:
    """The same of a study that learns a generator, whose patients are then judged at this site."""
    from cohortium.synth.study import check_synth

    if problems := check_synth(study):
        said = "; ".join(f"{one.key}: {one.message}" for one in problems)
        return Check(id="packages", level="fail", found=said, fix="cohortium study check STUDY.toml")
    if find_spec("sklearn") is None:
        found = "the generator can be learned here, but its patients not judged: that needs scikit-learn"
        return Check(id="packages", level="warn", found=found, fix="pip install 'cohortium[synth]'")
    return Check(id="packages", level="ok", found=_versions(own_versions()))


def check_versions(peers: Mapping[str, Mapping[str, Any]]) -> Check:
    """Whether peers run the same release. peers: answers of a survey."""
    own, answered = own_versions(), {name: one["versions"] for name, one in peers.items() if "versions" in one}
    if not answered:
        return Check(id="versions", level="skipped", found="no peer was heard, so versions were compared with nobody's")
    other = [
        f"{name} has {what} {theirs.get(what)}, here is {own[what]}"
        for name, theirs in sorted(answered.items())
        for what in ("cohortium", "numpy")
        if _minor(str(theirs.get(what))) != _minor(own[what])
    ]
    if other:
        fix = "agree on one release: pip install 'cohortium==VERSION' -c constraints.txt"
        return Check(id="versions", level="warn", found="; ".join(other), fix=fix)
    return Check(id="versions", level="ok", found=f"{len(answered)} peers run the same release ({_versions(own)})")


def check_heads(peers: Mapping[str, Mapping[str, Any]]) -> Check:
    """Whether two peers have the chain that is here (one, where there is no second). peers: answers of a survey."""
    said = {name: one["agrees"] for name, one in peers.items() if "agrees" in one}
    differ = sorted(name for name, agrees in said.items() if agrees is False)
    if differ:
        found = f"the chain of {', '.join(differ)} differs from the one here"
        fix = "stop the node, keep evidence/ and chain.sqlite, and compare exports: cohortium audit ledger FILE"
        return Check(id="head", level="fail", found=found, fix=fix)
    agree = [name for name, agrees in said.items() if agrees]
    ahead = [name for name, agrees in said.items() if agrees is None]
    if ahead and not agree:
        found = f"{', '.join(sorted(ahead))} have newer blocks than are here"
        return Check(id="head", level="warn", found=found, fix="wait a minute, then run this again")
    if not agree:
        return Check(id="head", level="skipped", found="no peer was heard, so the head was compared with nobody's")
    found = f"{len(agree)} of {len(peers)} peers have the chain that is here"
    if len(agree) < min(2, len(peers)):
        return Check(id="head", level="warn", found=found, fix="see the peers that did not answer")
    return Check(id="head", level="ok", found=found)


def _writable(folder: Path, name: str) -> Check:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".cohortium-probe-"):
            return Check(id=name, level="ok", found=f"'{folder}' can be written")
    except OSError as error:
        found = f"'{folder}' cannot be written: {error.strerror}"
        fix = f"remount it writable, or give it to the node's user: chown $(id -u) {shlex.quote(str(folder))}"
        return Check(id=name, level="fail", found=found, fix=fix)


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items())


def _minor(number: str) -> Sequence[str]:
    return number.split(".")[:2]


def _size(n: int) -> str:
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.0f} MiB"
