"""A lab in a folder, and what can be done to it: start, look, break, mend, run a study, stop.

    lab = Consortium.create(Path("cohortium-lab"), demo_hospitals(5, seed=0), engine="local")
    lab.start()
    number = lab.propose()
    lab.wait_for_run(number)
    lab.down()

Every process is written down before the next one is started, so that `down` finds all of them, also after the lab
itself was killed. Nodes are asked through their control sockets, like by any command.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from cohortium.errors import CohortiumError, UsageError
from cohortium.lab.engines import engine_ports, member_names, prepare_engine, start_member, wait_for_member
from cohortium.lab.homes import make_homes
from cohortium.lab.hospitals import Hospitals, write_tables
from cohortium.lab.ports import free_ports
from cohortium.lab.processes import Proc, spawn
from cohortium.lab.site_faults import SiteFaults, write_faults
from cohortium.lab.state import FORMAT, Lab, LabSite, changing, read_lab, write_lab
from cohortium.node.control import ask_node
from cohortium.node.studies import parcel_of
from cohortium.transport import TRANSPORTS

__all__ = ["Consortium"]

_LOOK_S: Final = 0.1
_ASK_S: Final = 10.0
_PROPOSE_S: Final = 60.0


class Consortium:
    """One lab. Cheap to make: everything is in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        read_lab(self.folder)

    @classmethod
    def create(
        cls,
        folder: Path,
        hospitals: Hospitals,
        *,
        engine: str,
        heartbeat_s: float = 1.0,
        dials_out: Iterable[str] = (),
    ) -> Consortium:
        """Homes, keys, tables, study, consortium; nothing is started yet. dials_out: sites without a port.

        Raises MissingExtra where nodes cannot run here, UsageError for a folder that holds a lab already, or an engine
        that cannot be started here.
        """
        TRANSPORTS.resolve("grpc")
        folder = folder.absolute()
        if (folder / "lab.json").exists():
            raise UsageError(
                f"'{folder}' holds a lab already", hint=f"stop it first: cohortium lab down --dir {folder}"
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "logs").mkdir(mode=0o700, exist_ok=True)
        names = sorted(hospitals.tables)
        members = member_names(engine)
        ports = free_ports(len(names) * (1 + len(members)))
        wires = ports[len(names) :]
        out = frozenset(dials_out)
        sites = tuple(
            LabSite(
                name=name,
                home=name,
                port=0 if name in out else ports[at],
                wires=dict(zip(members, wires[at * len(members) :], strict=False)),
            )
            for at, name in enumerate(names)
        )
        lab = Lab(
            format=FORMAT,
            engine=engine,
            seed=hospitals.study.evaluation.seed,
            sites=sites,
            heartbeat_s=heartbeat_s,
            ports=engine_ports(engine, taken=ports),
        )
        prepare_engine(folder, lab)
        make_homes(folder, lab)
        write_tables(hospitals, {name: folder / name for name in names})
        (folder / "study.toml").write_text(hospitals.text, encoding="utf-8")
        write_lab(folder, lab)
        return cls(folder)

    @property
    def lab(self) -> Lab:
        """What is written down."""
        return read_lab(self.folder)

    def home(self, site: str) -> Path:
        """A site's home."""
        return self.folder / self.lab.site(site).home

    # --- processes ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start whatever does not run: the ledger's processes first, then the nodes."""
        lab = self.lab
        for name in member_names(lab.engine):
            if not self._runs(_role(lab.engine), name):
                self.start_member(name)
        for name in member_names(lab.engine):
            if (proc := self.lab.proc(_role(lab.engine), name)) is not None:
                wait_for_member(lab, proc, log=self.folder / f"logs/{name}.log")
        for name in lab.names:
            if not self._runs("site", name):
                self.start_site(name)

    def start_member(self, name: str) -> Proc:
        """Start one of the ledger's processes."""
        return self._started(lambda: start_member(self.folder, self.lab, name))

    def start_site(self, name: str) -> Proc:
        """Start one node."""
        command = [sys.executable, "-m", "cohortium.lab.site", str(self.home(name))]
        log = self.folder / f"logs/{name}.log"
        return self._started(lambda: spawn("site", name, command, log=log, cwd=self.folder))

    def _started(self, start: Callable[[], Proc]) -> Proc:
        with changing(self.folder):
            proc = start()
            write_lab(self.folder, self.lab.with_proc(proc))
        return proc

    def _runs(self, role: str, name: str) -> bool:
        proc = self.lab.proc(role, name)
        return proc is not None and proc.is_alive

    def kill(self, name: str) -> None:
        """`kill -9` of a site's node or of one of the ledger's processes. Raises UsageError where it does not run."""
        proc = self._proc(name)
        proc.send(signal.SIGKILL)
        proc.send(signal.SIGCONT)
        proc.wait(timeout_s=5.0)

    def freeze(self, site: str) -> None:
        """Let a node do nothing and say nothing, as one whose machine hangs."""
        self._proc(site).send(signal.SIGSTOP)

    def _proc(self, name: str) -> Proc:
        lab = self.lab
        known = (*lab.names, *member_names(lab.engine))
        if name not in known:
            raise UsageError(f"nothing called '{name}' in this lab; there is: {', '.join(known)}")
        proc = lab.proc("site" if name in lab.names else _role(lab.engine), name)
        if proc is None or not proc.is_alive:
            raise UsageError(f"'{name}' does not run", hint="start it: cohortium lab heal")
        return proc

    def down(self, *, remove: bool = False) -> None:
        """Stop everything this lab has started, the ledger's own processes last. remove: the folder too."""
        procs = self.lab.procs
        for part in ([one for one in procs if one.role == "site"], [one for one in procs if one.role != "site"]):
            for proc in part:
                proc.send(signal.SIGCONT)
                proc.send(signal.SIGTERM)
            for proc in part:
                proc.end()
        with changing(self.folder):
            write_lab(self.folder, msgspec.structs.replace(self.lab, procs=()))
        if remove:
            shutil.rmtree(self.folder)

    # --- faults ------------------------------------------------------------------------------------------------

    def fault(self, site: str, faults: SiteFaults) -> None:
        """Let these be what is wrong with a site; nothing else is any more."""
        write_faults(self.home(site), faults)

    def partition(self, groups: Sequence[Sequence[str]]) -> None:
        """Let sites reach those of their own group only; sites not named form one group. Minorities lose the ledger."""
        lab = self.lab
        rest = [name for name in lab.names if not any(name in group for group in groups)]
        for group in [*groups, rest]:
            for name in group:
                others = tuple(sorted(set(lab.names) - set(group)))
                self.fault(name, SiteFaults(cut=others, ledger_cut=2 * len(group) <= len(lab.names)))

    def heal(self) -> None:
        """Nothing is wrong any more; what was killed or frozen goes on."""
        for name in self.lab.names:
            write_faults(self.home(name), SiteFaults())
        for proc in self.lab.procs:
            proc.send(signal.SIGCONT)
        self.start()

    # --- asking ------------------------------------------------------------------------------------------------

    def ask(self, site: str, request: Mapping[str, Any], *, timeout_s: float = _ASK_S) -> dict[str, Any]:
        """A node's answer. Raises NodeAway, or the error the node tells of."""
        return ask_node(self.home(site) / "control.sock", request, timeout_s=timeout_s)

    def status(self) -> dict[str, Any]:
        """Every process and what each node says of itself."""
        lab = self.lab
        sites = {}
        for name in lab.names:
            proc = lab.proc("site", name)
            about: dict[str, Any] = {"pid": proc.pid if proc and proc.is_alive else None, "home": str(self.home(name))}
            try:
                about |= {"node": self.ask(name, {"do": "status"})}
            except CohortiumError as away:
                about |= {"node": None, "why": str(away)}
            sites[name] = about
        members = {name: self._runs(_role(lab.engine), name) for name in member_names(lab.engine)}
        return {"dir": str(self.folder), "engine": lab.engine, "seed": lab.seed, "sites": sites, "ledger": members}

    def wait_until(self, what: str, holds: Callable[[], bool], *, timeout_s: float) -> None:
        """Return once something holds. Raises CohortiumError that says what did not, and by when."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise CohortiumError(
                    f"the lab waited {timeout_s:.0f} s until {what}", hint=f"see {self.folder / 'logs'}"
                )
            time.sleep(_LOOK_S)

    def wait_until_healthy(self, *, timeout_s: float = 60.0) -> None:
        """Return once every node is healthy. Raises CohortiumError with what the others say, or which node ended."""
        said: dict[str, str] = {}

        def all_healthy() -> bool:
            for name in self.lab.names:
                if not self._runs("site", name):
                    raise CohortiumError(f"node '{name}' ended: {self.last_words(name)}")
                said[name] = self._unhealthy(name)
            return not any(said.values())

        try:
            self.wait_until("all nodes are healthy", all_healthy, timeout_s=timeout_s)
        except CohortiumError as late:
            ill = "; ".join(f"{name}: {why}" for name, why in said.items() if why)
            raise CohortiumError(f"{late}{f' ({ill})' if ill else ''}", hint=late.hint) from None

    def unreachable(self, site: str) -> str:
        """Why a node does not answer, empty when it does."""
        try:
            self.ask(site, {"do": "status"})
        except CohortiumError as away:
            return str(away)
        return ""

    def _unhealthy(self, site: str) -> str:
        """Why a node is not healthy, empty when it is."""
        try:
            said = self.ask(site, {"do": "status"})
        except CohortiumError as away:
            return str(away)
        return "" if said["healthy"] else "; ".join(said["problems"]) or "unhealthy"

    # --- runs --------------------------------------------------------------------------------------------------

    def propose(self, study: Path | None = None, *, by: str = "") -> int:
        """Put a study before all sites; every node of a lab approves by itself. The number of the run."""
        parcel = parcel_of(study or self.folder / "study.toml")
        asked = {"do": "propose", "study": parcel.text, "code": parcel.code.hex()}
        answer = self.ask(by or self.lab.names[0], asked, timeout_s=_PROPOSE_S)
        return int(answer["run"]["run"])

    def run_at(self, site: str, number: int) -> dict[str, Any]:
        """A run as one site sees it, empty where its node does not answer."""
        try:
            found = self.ask(site, {"do": "runs"})["runs"]
        except CohortiumError:
            return {}
        return next((run for run in found if run["run"] == number), {})

    def wait_for_run(
        self,
        number: int,
        *,
        sites: Iterable[str] | None = None,
        timeout_s: float = 120.0,
        meanwhile: Callable[[], None] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """The run at every site, once it has ended there. meanwhile: called between looks. Raises CohortiumError."""
        waited = {site: dict[str, Any]() for site in sites or self.lab.names}

        def all_ended() -> bool:
            if meanwhile is not None:
                meanwhile()
            for site, held in waited.items():
                if not held.get("status"):
                    waited[site] = self.run_at(site, number)
                if halted := waited[site].get("halted"):
                    raise CohortiumError(f"run {number} stopped at '{site}': {halted}")
            return all(held.get("status") for held in waited.values())

        try:
            self.wait_until(f"run {number} has ended at every site", all_ended, timeout_s=timeout_s)
        except CohortiumError as late:
            where = "; ".join(f"{site}: {held.get('sentence', 'no answer')}" for site, held in waited.items())
            raise CohortiumError(f"{late} ({where})", hint=late.hint) from None
        return waited

    def record(self, site: str, number: int) -> dict[str, Any]:
        """`run.json` of a run at a site. Raises CohortiumError where it left none."""
        path = self.home(site) / f"runs/{number}/run.json"
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
        except (OSError, ValueError):
            raise CohortiumError(f"run {number} left no record at '{site}' ({path})") from None
        return found

    def last_words(self, name: str) -> str:
        """The end of what a process has written to its log."""
        with contextlib.suppress(OSError):
            lines = (self.folder / f"logs/{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
            return " / ".join(lines[-3:]) or "it said nothing"
        return "it said nothing"


def _role(engine: str) -> str:
    return "etcd" if engine == "replicated" else "anvil"
