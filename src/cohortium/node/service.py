"""The process that runs a hospital's node: opens its home, keeps its peers, ledger and runs going, answers commands.

    serve(Home.open(path))          # until SIGTERM: says goodbye, stops within ten seconds

What is opened, and in which order: the lock (one process a home), the store, the members known from the founding, the
network, the ledger, then every run where it was. A ledger that was written twice stops everything but the answers to
commands, with the proof in `evidence/`. Rules are elsewhere: rounds in `swarm`, membership in the contract.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from cohortium import __version__
from cohortium.core.seams import LedgerEvent, Transport, Work
from cohortium.core.study import Study
from cohortium.errors import LedgerForked, LedgerUnreachable, PeerError
from cohortium.ledger.opening import NodeLedger
from cohortium.node.chain import agreed_founding, open_chain
from cohortium.node.chronicle import LANE, Chronicle, PeerBell
from cohortium.node.commands import Commands
from cohortium.node.control import Control
from cohortium.node.foreman import Foreman, WorkerPlan
from cohortium.node.health import Health
from cohortium.node.home import Home
from cohortium.node.keys import write_private
from cohortium.node.log import Log
from cohortium.node.means import Crew, Hire, Means
from cohortium.node.membership import MemberDirectory
from cohortium.node.objections import object_to
from cohortium.node.opening import address_of, asking, open_store
from cohortium.node.replies import CARD, HEAD, answer_peers
from cohortium.node.rotation import announce, until_read
from cohortium.node.run_folder import RunFolder
from cohortium.node.run_record import write_results
from cohortium.node.runs import Runs
from cohortium.node.spending import recall_spending
from cohortium.node.statements import make_statement
from cohortium.node.studies import Library
from cohortium.node.survey import survey
from cohortium.node.voting import perform
from cohortium.swarm.membership import Members
from cohortium.swarm.store import Store
from cohortium.swarm.view import RunView
from cohortium.transport import TRANSPORTS
from cohortium.transport.checks import check_certificate
from cohortium.transport.switchboard import Switchboard

__all__ = ["Network", "Service", "Wrap", "open_service", "serve"]

T = TypeVar("T")

_ASK_S = 20.0
_STOP_S = 4.0
_THREADS = 32


class Network(Transport, Protocol):
    """What a transport offers a service beside frames; `transport.grpc.GrpcTransport` has it."""

    def members_changed(self) -> None: ...

    def rekey(self, *, tls_key: bytes, certificate: bytes, seal_key: bytes) -> None: ...

    def paths(self) -> Mapping[str, str]: ...

    def traffic(self) -> Mapping[str, Any]: ...

    def refusals(self) -> Mapping[str, int]: ...

    @property
    def own_trouble(self) -> str: ...


def _same(thing: T) -> T:
    return thing


@dataclass(frozen=True, kw_only=True)
class Wrap:
    """What a lab may put around a node's ports. A hospital passes none: a product never injects a fault itself.

    clock: wall clock in seconds. transport: of all frames. work: of a run's work at this site (it may offer `prepare`).
    store: of facts and payloads.
    """

    clock: Callable[[], float] = time.time
    transport: Callable[[Transport], Transport] = _same
    work: Callable[[Work], Work] = _same
    store: Callable[[Store], Store] = _same


class Service:
    """One node's life in this process. Everything is handed in open; `serve` opens it."""

    def __init__(
        self,
        home: Home,
        *,
        ledger: NodeLedger,
        network: Network,
        board: Switchboard,
        directory: MemberDirectory,
        store: Store,
        wrap: Wrap | None = None,
        blocking: Callable[[Callable[[], Any]], Any] | None = None,
        hire: Hire | None = None,
        log: Callable[..., None] | None = None,
    ) -> None:
        self.home, self._wrap = home, wrap or Wrap()
        self._ledger, self._network, self._board, self._directory = ledger, network, board, directory
        self._chronicle = Chronicle(ledger)
        self._members = RunView(run=0, members=Members())
        self._bell = PeerBell(board.lane(LANE), self._peers)
        self._log = log or Log(home.log, clock=self._wrap.clock)
        self._blocking = blocking or _in_threads(_executor())
        self._stopping = asyncio.Event()
        self._since = self._wrap.clock()
        self._forked = ""
        beat = home.settings.network.heartbeat_s
        self.health = Health(
            site=home.site, network=network, directory=directory, ledger=ledger, members=self._members.members
        )
        self.means = Means(
            site=home.site,
            settings=home.settings,
            ledger=ledger,
            chronicle=self._chronicle,
            board=board,
            bell=self._bell,
            members=self._members.members,
            store=store,
            library=Library(home.studies),
            key=home.keys.ledger,
            hire=hire or self._hire,
            folder=lambda number: RunFolder(home.runs / str(number), clock=self._wrap.clock),
            record=lambda run, seat, outcome: write_results(self.means, run, seat, outcome),
            forked=self.fork,
            blocking=self._blocking,
            log=self._log,
            clock=self._wrap.clock,
            sent_bytes=lambda: sum(one.sent_bytes for one in network.traffic().values()),
            recall=lambda: recall_spending(
                home.path / "budget.sqlite",
                self._chronicle.events(),
                site=home.site,
                consortium=ledger.genesis.consortium.hex(),
            ),
            work=self._wrap.work,
            heartbeat_s=beat,
            poll_s=min(2.0, beat),
            figures_s=20 * beat,
        )
        self.runs = Runs(self.means, spawn=self._spawn)
        self.commands = Commands(
            self.means, self.runs, status=self.status, survey=self._survey, about_members=self._about_members
        )
        self._tasks: asyncio.TaskGroup | None = None

    # --- life ------------------------------------------------------------------------------------------------

    async def run(self, *, ready: Callable[[], None] = lambda: None) -> None:
        """Keep everything going until `stop`. Cancelling it is a normal end, too. ready: commands are answered now."""
        answer_peers(self.means, self.runs, directory=self._directory, changed=self._network.members_changed)
        control = Control(self.home.control, handlers=self.commands.handlers(), streams={"watch": self.commands.watch})
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for job in (self._board.run(), self._follow(), self._bell.listen(), self._look_around()):
                    tasks.create_task(job)
                await control.start()
                self._log("info", "started", version=__version__, site=self.home.site)
                ready()
                await self._stopping.wait()
                await control.close()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_S):
                        await self.runs.step_down()
                self._log("info", "stopped")
                raise _Stop
        except* _Stop:
            pass
        finally:
            await control.close()

    @property
    def port(self) -> int:
        """Where calls are taken; 0 for a node that only dials out."""
        return int(getattr(self._network, "port", 0))

    def stop(self) -> None:
        """Say goodbye and end; may be called from a signal handler."""
        self._stopping.set()

    def fork(self, forked: LedgerForked) -> None:
        """Two histories of the ledger were signed: keep the proof, stop taking part in anything."""
        if self._forked:
            return
        self._forked = str(forked)
        at = time.strftime("%Y%m%d-%H%M%S", time.gmtime(self._wrap.clock()))
        for number, proof in enumerate(forked.evidence, start=1):
            write_private(self.home.evidence / f"fork-{at}-{number}.bin", proof)
        self._log("error", "ledger forked", why=self._forked, evidence=len(forked.evidence))
        self._spawn(self.runs.halt(f"failed (ledger, forked): {self._forked}"))

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            raise RuntimeError("the service does not run")
        self._tasks.create_task(job)

    # --- ledger and members ----------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Read the ledger, tell everybody; runs begin once everything before this process was read."""
        began = False
        while not self._forked:
            rings = self._bell.rings
            try:
                fresh = await self._blocking(self._chronicle.read_on)
            except LedgerForked as forked:
                self.fork(forked)
                return
            except LedgerUnreachable as away:
                self.health.ledger_away(str(away))
            else:
                self.health.ledger_read()
                self._take(fresh, replaying=not began)
                if not began:
                    began = True
                    self.runs.begin()
            await self._bell.wait(rings, timeout_s=self.means.poll_s)

    def _take(self, fresh: tuple[LedgerEvent, ...], *, replaying: bool) -> None:
        if not fresh:
            return
        for event in fresh:  # a run counts the members at its proposal, so both are told in the ledger's order
            if event.name == "MemberChanged":
                self._members.apply(event)
            else:
                self.runs.follow((event,), replaying=replaying)
        if self._directory.follow(fresh):
            self._network.members_changed()
        self._bell.ring_here()

    def _peers(self) -> list[str]:
        return sorted(self._members.members.active - {self.home.site})

    async def _look_around(self) -> None:
        """Every beat: fetch cards that are missing, compare heads with the peers, take over rotated keys."""
        while True:
            await asyncio.sleep(self.home.settings.network.heartbeat_s)
            self._take_over_keys()
            for site in self._directory.without_card():
                await self._fetch_card(site)
            async with asyncio.TaskGroup() as asking:
                for peer in self._peers():
                    asking.create_task(self._compare_head(peer))

    async def _compare_head(self, peer: str) -> None:
        try:
            answer = await self._board.ask(peer, HEAD, b"", timeout_s=_ASK_S)
            height, digest = int.from_bytes(answer[:8], "big"), answer[8:]
            mine = await self._blocking(lambda: self._ledger.hash_at(height))
        except (PeerError, TimeoutError, LedgerUnreachable):
            return
        self.health.heard(peer, height=height, same=None if mine is None else mine == digest)

    async def _fetch_card(self, site: str) -> None:
        for peer in self._peers():
            try:
                card = await self._board.ask(peer, CARD, site.encode(), timeout_s=_ASK_S)
                if self._directory.learn(card):
                    self._network.members_changed()
            except (PeerError, TimeoutError):
                continue
            return

    def _take_over_keys(self) -> None:
        """New keys that the ledger has by now are used from now on."""
        staged = self.home.staged_digest()
        if staged is not None and self._directory.own(staged) == "rotated":
            self.home.promote_keys()
            self._use_new_keys()

    def _use_new_keys(self) -> None:
        """The directory must know the rotation first: whoever reads the ledger through its peers cannot dial before."""
        self._directory.follow(self._ledger.events_here())
        self._directory.reload()
        keys = self.home.keys
        self._network.rekey(tls_key=keys.tls_key, certificate=keys.certificate_pem, seal_key=keys.seal)
        self._network.members_changed()
        self._log("info", "new keys in use")

    # --- what commands ask --------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Health, peers, ledger, certificate, runs."""
        found = self.health.document(staged=self.home.staged_digest(), forked=self._forked)
        certificate = check_certificate(self.home.keys.certificate, now_s=self._wrap.clock())
        return {
            "site": self.home.site,
            "version": __version__,
            "certificate": {"state": certificate.level, "found": certificate.found, "fix": certificate.fix},
            "seconds": round(self._wrap.clock() - self._since, 1),
            "consortium": self._ledger.genesis.consortium.hex(),
            "engine": self._ledger.genesis.engine,
            "port": self.port,
            **found,
            "runs": [run.document() for run in self.runs.by_number.values()],
        }

    async def _survey(self) -> dict[str, Any]:
        """What the peers say now, for `doctor`."""
        return await survey(
            self._board,
            self._directory,
            site=self.home.site,
            ledger=self._ledger,
            clock=self._wrap.clock,
            blocking=self._blocking,
        )

    async def _about_members(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A vote, new keys, leaving: as `voting.perform` does it, and what follows here."""
        if asked["do"] == "rotate":
            asked = {**asked, "now": self._wrap.clock()}
            await announce(self._board, self._peers(), self.home.stage_keys(self._wrap.clock()).to_bytes())
        if asked["do"] == "leave":
            await self.runs.step_down()
        if asked["do"] in ("appeal", "renew", "answer", "sign"):
            say = object_to if asked["do"] in ("appeal", "renew") else make_statement
            objected: dict[str, Any] = await self._blocking(lambda: say(self._ledger, self.home, asked))
            self._bell.ring()
            return objected
        answer: dict[str, Any] = await self._blocking(
            lambda: perform(self._ledger, self.home, asked, directory=self._directory)
        )
        self._bell.ring()
        if asked["do"] == "rotate":
            await until_read(self._board, self._peers(), answer["height"])
            self._use_new_keys()
        if asked["do"] == "admit":
            self._network.members_changed()
        return answer

    # --- work ------------------------------------------------------------------------------------------------

    def _hire(
        self, study: Study, number: int, joiners: Callable[[], tuple[str, ...]], told: Callable[[float], None]
    ) -> Crew:
        home, budget = self.home, self.home.settings.budget
        plan = WorkerPlan(
            study=self.means.library.path(study.digest),
            site=home.site,
            table=home.table or home.path / "no-table",
            mapping=str(home.mapping or ""),
            secret=home.keys.patients,
            book=home.path / "budget.sqlite",
            consortium=self._ledger.genesis.consortium.hex(),
            allowed={
                "total": budget.max_epsilon_total,
                "run": home.settings.consent.max_epsilon_per_run,
                "accept_weak_privacy": budget.accept_weak_privacy,
                "when_short": budget.when_short,
            },
            threads=home.settings.limits.train_threads,
            max_s=study.swarm.max_round_s,
        )
        log = home.log.with_name(f"worker-{number or 'proposal'}.log")
        return Foreman(plan, sites=joiners, log=log, told=told, announced=self._announced)

    def _announced(self) -> list[str]:
        """Handles of this site's data versions that the ledger has heard of."""
        said = (event.args for event in self._chronicle.events() if event.name == "DataChanged")
        return [bytes(args["dataset"]).hex() for args in said if args["site"] == self.home.site]  # type: ignore[call-overload]


class _Stop(Exception):
    """Ends the tasks of a service that was asked to stop."""


def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="cohortium")


def _in_threads(executor: ThreadPoolExecutor) -> Callable[[Callable[[], Any]], Any]:
    async def blocking(work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    return blocking


# --- the process -------------------------------------------------------------------------------------------------


def serve(home: Home, *, wrap: Wrap | None = None, ready: Callable[[int], None] = lambda port: None) -> None:
    """Run a node until SIGTERM or SIGINT. ready: told the port (0: none) once commands are answered.

    Raises CohortiumError where it cannot start: no consortium, home in use, keys readable by others, address taken.
    """
    os.umask(0o077)
    agreed_founding(home)
    with home.lock("cohortium node"):
        asyncio.run(_live(home, wrap or Wrap(), ready))


async def _live(home: Home, wrap: Wrap, ready: Callable[[int], None]) -> None:
    loop, log = asyncio.get_running_loop(), Log(home.log, clock=wrap.clock)
    loop.set_exception_handler(functools.partial(_logged, log))
    async with open_service(home, wrap=wrap, log=log) as service:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stop)
        await service.run(ready=lambda: ready(service.port))


@contextlib.asynccontextmanager
async def open_service(home: Home, *, wrap: Wrap, log: Log) -> AsyncIterator[Service]:
    """A service with everything open that it needs; the caller holds the lock, and runs it."""
    loop, executor = asyncio.get_running_loop(), _executor()
    async with contextlib.AsyncExitStack() as opened:
        opened.callback(executor.shutdown, wait=False, cancel_futures=True)
        store = open_store(home)
        opened.callback(store.close)
        directory = MemberDirectory(home, now=wrap.clock())
        network, keys = home.settings.network, home.keys
        transport = TRANSPORTS.resolve("grpc")(
            home.site,
            directory=directory,
            tls_key=keys.tls_key,
            certificate=keys.certificate_pem,
            seal_key=keys.seal,
            sign=keys.ledger.sign,
            address_of=lambda site: address_of(directory, site),
            listen=network.listen,
            relays=network.relays,
            relay_for_others=network.relay_for_others,
            proxy=f"http://{network.proxy}" if network.proxy else "",
            clock=wrap.clock,
        )
        board = Switchboard(wrap.transport(transport))
        opened.push_async_callback(board.close)
        blocking = _in_threads(executor)
        ledger = await blocking(lambda: open_chain(home, clock=wrap.clock, ask=asking(loop, board, home.ledger_host)))
        opened.callback(ledger.close)
        directory.follow(await blocking(ledger.events_here))
        await transport.start()
        yield Service(
            home,
            ledger=ledger,
            network=transport,
            board=board,
            directory=directory,
            store=wrap.store(store),
            wrap=wrap,
            blocking=blocking,
            log=log,
        )


def _logged(log: Log, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio would print: it goes to the node's log, without texts that may quote a table."""
    del loop
    log("error", str(context.get("message", "in the event loop")), error=context.get("exception"))
