"""Little hospitals for the tests of one node."""

import asyncio
import json
import shutil
from dataclasses import asdict, replace
from functools import cached_property

import numpy as np
import pytest

from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.ledger.memory import MemoryLedger
from cohortium.node.founding import propose_founding
from cohortium.node.gate import checks_beside_all
from cohortium.node.home import Home
from cohortium.node.membership import MemberDirectory
from cohortium.node.own_synth import GateBook
from cohortium.node.service import Service, Wrap
from cohortium.node.studies import Parcel
from cohortium.quality.gate_free_rider import RiderWatch
from cohortium.sim.pinning import pin
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.book import MemoryBook
from cohortium.swarm.store import DiskStore, MemoryStore
from cohortium.transport.memory import MemoryNetwork
from cohortium.transport.switchboard import Switchboard

NOW = 1_800_000_000


def lines_of(seed, n=60):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    label = (a - 0.5 * b + rng.normal(0, 0.8, n) > 0).astype(int)
    rows = zip(a, b, np.where(b > 0, "f", "m"), label, strict=True)
    return ["a,b,sex,label", *(f"{x:.5f},{y:.5f},{s},{c}" for x, y, s, c in rows)]


def table_of(lines):
    header, *rows = (line.split(",") for line in lines)
    cells = list(zip(*rows, strict=True))
    return Table.from_columns(
        {name: cell if name == "sex" else [float(c) for c in cell] for name, cell in zip(header, cells, strict=True)}
    )


def pinned_text(lines, **sections):
    content = {"study": {"name": "little", "outcome": "label"}, "model": {"name": "logistic"}}
    for name, changes in sections.items():
        content[name] = {**content.get(name, {}), **changes}
    return pin(content, {"bonn": table_of(lines)}).text


@pytest.fixture
def kit():
    """(lines of a csv, a table of such lines, the text of a pinned study)."""
    return lines_of, table_of, pinned_text


@pytest.fixture
def make_study():
    def make(**sections):
        content = {"study": {"name": "little", "outcome": "label"}, "model": {"name": "logistic"}}
        for name, changes in sections.items():
            content[name] = {**content.get(name, {}), **changes}
        return Study.model_validate(content)

    return make


@pytest.fixture
def home_of_bonn(tmp_path):
    """A folder with a pinned study and bonn's own table."""
    lines = lines_of(1)
    (tmp_path / "bonn.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "study.toml").write_text(pinned_text(lines))
    return tmp_path


@pytest.fixture
def slow_study(home_of_bonn):
    """A plan whose model trains for seconds, and says how far it is."""
    from cohortium.node.foreman import WorkerPlan

    model = {"name": "logistic", "learn": "weights", "batch_size": 1}
    text = pinned_text(lines_of(1), model=model, strategy={"name": "fedavg", "rounds": 3, "local_epochs": 2000})
    (home_of_bonn / "slow.toml").write_text(text)
    return WorkerPlan(
        study=home_of_bonn / "slow.toml", site="bonn", table=home_of_bonn / "bonn.csv", mapping="", secret=bytes(32)
    )


class InlineCrew:
    """A run's work in this process, for virtual time. fails: code by (turn); counts trainings."""

    def __init__(self, study, table, site, joiners, *, faults=None):
        self.findings, self.stages = {}, {}
        self._study, self._table, self._site, self._joiners = study, table, site, joiners
        self._faults = faults if faults is not None else {}
        self._work, self.lies, self.gate, self._found = None, self._faults.get("lies"), GateBook(), None
        self.riders = RiderWatch()

    def _ward(self):
        from cohortium.errors import DataError, TrainingFailed
        from cohortium.node.work import open_ward

        chance = Chance(self._study.evaluation.seed, secrets_from_system=False)
        try:
            return open_ward(
                self._study, self._table, site=self._site, secret=chance.secret(32, "patients", self._site)
            )
        except DataError as error:
            raise TrainingFailed(str(error), stage="load", code="data") from None

    @property
    def work(self):
        from cohortium.node.work import ward_work

        if self._work is None:
            self._work = ward_work(self._ward(), sites=self._joiners(), judge=self.gate)
        return self._work

    def look(self, *, n_sites):
        from cohortium.assembly import check_study
        from cohortium.errors import StudyError, TrainingFailed
        from cohortium.node.work import proposal_of

        try:
            if problems := check_study(self._study, n_sites=n_sites):
                raise StudyError(problems)
            return proposal_of(self._study, sites=self._joiners(), n_sites=n_sites)
        except StudyError as error:
            raise TrainingFailed(str(error), stage="load", code="code") from None

    def prepare(self):
        if fault := self._faults.get("prepare"):
            raise fault
        ward, self._work = self._ward(), None
        self.findings = {"checks": [], "warnings": [], "n_patients": len(ward.cohort)}

    def start(self):
        from cohortium.node.work import empty_program

        return empty_program(self._study, sites=self._joiners()).start()

    def train(self, round, state):
        if fault := self._faults.pop(round, None):
            raise fault
        update, lie = self.work.train(round, state), self._faults.get("sends")
        return replace(update, parameters=lie(update.parameters)) if lie else update

    def merge(self, state, updates):
        self.riders.hear(self.work.program, state, updates)
        return self.work.merge(state, updates)

    def refuse(self, state, shown):
        self.work.refuse(state, shown)

    def _beside_all(self, state):
        if self._study.quality.gate == "site":
            return ()
        ward = self._ward()
        memory = self.work.memory()
        return checks_beside_all(ward.schema, ward.cohort, self.work.program, state, self.riders, memory=memory)

    def finished(self, state):
        return self.work.finished(state)

    def adopt(self, round, state, own):
        self.stages[round] = "model"
        measures = self.work.adopt(round, state, own)
        warned = [asdict(one) for one in self._beside_all(state) if one.level in ("warn", "fail")]
        self.findings = {**self.findings, "checks": warned}
        return measures

    def memory(self):
        return self.work.memory()

    def restore(self, memory):
        self.work.restore(memory)

    @property
    def budget(self):
        private = self._study.synth is not None or self._study.quality.dp is not None
        return LatePurse(self) if private else None

    def _guarding(self):
        from cohortium.node.own_protection import Guarding

        return Guarding(self._ward(), self.work.program)

    def _learned(self, state):
        from cohortium.node.own_synth import OwnSynthesis
        from cohortium.node.work import synthesis

        if self._found is None or self._found.state.digest != state.digest:
            made = synthesis(self._study, sites=self._joiners())
            self._found = OwnSynthesis(ward=self._ward(), made=made, state=state, book=self.gate)
        return self._found

    def audit(self, state):
        return () if self._study.synth is None else self._learned(state).audit()

    def judge(self, state):
        from cohortium.node.own_audit import judged

        said = judged(self._study, self.work.program, state)
        return [self.lies(one) for one in said] if self.lies else said

    def record(self, state, *, model, ledger):
        from cohortium.node.own_audit import audit_record
        from cohortium.node.own_record import site_record, withheld
        from cohortium.node.work import audits

        ward, privacy = self._ward(), self._guarding().record(ledger)
        if audits(self._study):
            text = audit_record(ward, self.work.program, state, folder=model.parent, privacy=privacy)
            return text, "an audit trains no model"
        if self._study.synth is not None:
            return self._learned(state).record(folder=model.parent, privacy=privacy)
        gate = self._beside_all(state)
        text = site_record(ward, self.work.program, state, self.work.memory(), model=model, privacy=privacy, gate=gate)
        return text, withheld(ward.gathered.rows()[0])

    def close(self):
        pass


class LatePurse:
    """The purse of a generator's run or an audit's, opened when it is asked first: the joiners are known by then."""

    def __init__(self, crew):
        self._crew = crew

    @cached_property
    def _purse(self):
        from cohortium.node.own_protection import open_purse

        crew = self._crew
        allowed = {"total": 10.0, "run": None, "accept_weak_privacy": False, "when_short": "decline"}
        return open_purse(
            crew._ward(), crew.work.program, MemoryBook(), secret=bytes(32), consortium="ab" * 32, allowed=allowed,
            announced=(),
        )  # fmt: skip

    def __getattr__(self, name):
        return getattr(self._purse, name)


class InlineNetwork:
    """A memory transport with what a service asks of a network."""

    def __init__(self, transport):
        self._transport = transport
        self.send, self.receive, self.close = transport.send, transport.receive, transport.close
        self.own_trouble = ""
        self.rekeyed = 0

    def members_changed(self):
        pass

    def rekey(self, **keys):
        self.rekeyed += 1

    def paths(self):
        return {}

    def traffic(self):
        return {}

    def refusals(self):
        return {}


class World:
    """Hospitals in one process and virtual time: real homes and services, one memory ledger, one memory network."""

    def __init__(self, folder, sites, *, automatic=True, on_disk=True):
        self.sites, self.tables, self.on_disk = sorted(sites), {}, on_disk
        self.faults = {site: {} for site in sites}
        self.homes = {site: self._home(folder / site, site, automatic) for site in self.sites}
        cards = [home.card(NOW) for home in self.homes.values()]
        founding = propose_founding(cards, engine="local", host=self.sites[0], chain_id=7, time=NOW)
        for site, home in self.homes.items():
            founding = founding.signed(site, home.keys.ledger)
        for home in self.homes.values():
            home.keep_founding(founding)
        self.genesis = replace(founding.genesis, engine="memory")
        self.services, self.tasks = {}, {}
        for number, site in enumerate(self.sites):
            self.tables[site] = table_of(lines_of(number, 80 + 10 * number))

    def _home(self, path, site, automatic):
        home = Home.create(path, site=site, now=NOW)
        if automatic:
            text = (path / "node.toml").read_text()
            (path / "node.toml").write_text(text.replace("# automatic = false", "automatic = true"))
        return Home.open(home.path)

    def study(self, **sections):
        content = {
            "study": {"name": "little", "outcome": "label"},
            "model": {"name": "logistic"},
            "evaluation": {"per_site": False, "recalibrate": False},
            "privacy": {"secure_aggregation": False},  # three little sites: with masks nobody could be missing
        }
        for name, changes in sections.items():
            content[name] = {**content.get(name, {}), **changes}
        return pin(content, self.tables)

    def clock(self):
        return NOW + asyncio.get_running_loop().time()

    async def begin(self):
        self.ledger = MemoryLedger.found(self.genesis, clock=self.clock)
        self.network = MemoryNetwork(rng=np.random.default_rng(0))
        for site in self.sites:
            await self.start(site)

    async def start(self, site, **options):
        home = Home.open(self.homes[site].path)
        directory = MemberDirectory(home, now=NOW)
        network = InlineNetwork(self.network.join(site))
        board = Switchboard(network)

        async def blocking(work):
            await asyncio.sleep(0)
            return work()

        def hire(study, number, joiners, told):
            return InlineCrew(study, self.tables[site], site, joiners, faults=self.faults[site])

        self.services[site] = Service(
            home,
            ledger=self.ledger,
            network=network,
            board=board,
            directory=directory,
            store=DiskStore(home.path) if self.on_disk else MemoryStore(),
            wrap=Wrap(clock=self.clock),
            blocking=blocking,
            hire=hire,
            **options,
        )
        self.tasks[site] = asyncio.get_running_loop().create_task(self.services[site].run())
        await asyncio.sleep(0)

    async def kill(self, site):
        """As kill -9 would: nothing is said, nothing is closed."""
        self.tasks[site].cancel()
        await asyncio.gather(self.tasks[site], return_exceptions=True)
        self.services[site].means.store.close()

    async def stop(self, *sites):
        for site in sites or [*self.tasks]:
            self.services[site].stop()
        await asyncio.gather(*(self.tasks[site] for site in sites or [*self.tasks]))

    async def ended(self, *sites, number=1, within_s=200_000):
        """Wait until the run is recorded at these sites; their endings."""
        sites = sites or self.sites
        async with asyncio.timeout(within_s):
            while any(
                self.run(site, number) is None or self.run(site, number).folder.ending() is None for site in sites
            ):
                await asyncio.sleep(1.0)
                for task in self.tasks.values():
                    if task.done() and not task.cancelled():
                        task.result()
        return {site: self.run(site, number).folder.ending() for site in sites}

    async def until(self, condition, *, within_s=200_000):
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.05)

    def run(self, site, number=1):
        return self.services[site].runs.by_number.get(number)

    async def propose(self, site, pinned):
        return await self.services[site].runs.propose(Parcel(pinned.text))

    async def first(self, site, number=1):
        await self.until(lambda: self.run(site, number) is not None)
        return self.run(site, number)

    async def round_open(self, site, number):
        """Wait until a round of run 1 is open there."""
        await self.until(lambda: (run := self.run(site)) and run.view.round and run.view.round.number >= number)

    async def round_open_of(self, run, site, number):
        """The same of any run."""
        await self.until(lambda: (r := self.run(site, run)) and r.view.round and r.view.round.number >= number)

    def slow_down(self, seconds):
        """Let every training take its virtual time."""
        for service in self.services.values():
            blocking = service.means.blocking

            async def slowly(work, blocking=blocking):
                if "train" in work.__qualname__:
                    await asyncio.sleep(seconds)
                return await blocking(work)

            service.means.blocking = slowly

    def record(self, site, number=1):
        return json.loads((self.homes[site].runs / str(number) / "run.json").read_text())

    def digest_of(self, site):
        return self.record(site)["model"]["digest"]

    @staticmethod
    def weights(**more):
        """Sections of a study that takes several rounds of the model."""
        return {
            "model": {"name": "logistic", "learn": "weights"},
            "strategy": {"name": "fedavg", "rounds": 6, "min_sites": 2, "round_timeout_s": 60.0, **more},
            "swarm": {"silence_s": 45.0},
        }

    def play(self, main):
        async def whole():
            await self.begin()
            try:
                return await main(self)
            finally:
                for task in self.tasks.values():
                    task.cancel()
                await asyncio.gather(*self.tasks.values(), return_exceptions=True)

        return run_virtual(whole())


@pytest.fixture
def world(tmp_path):
    def make(*sites, **options):
        return World(tmp_path, sites or ("bonn", "lund", "porto"), **options)

    return make


# three homes, made once a session and copied for each test that changes them


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The folder with the three homes; porto listens, lund and bonn dial out; all have signed the founding."""
    folder = tmp_path_factory.mktemp("hospitals")
    homes = {
        site: Home.create(
            folder / site,
            site=site,
            now=float(NOW),
            listen="127.0.0.1:0" if site == "porto" else "",
            advertise="localhost:4430" if site == "porto" else "",
            contact=f"it@{site}.example",
        )
        for site in ("bonn", "lund", "porto")
    }
    cards = [home.card(NOW) for home in homes.values()]
    founding = propose_founding(cards, engine="local", host="porto", chain_id=7001, time=NOW)
    for site, home in homes.items():
        founding = founding.signed(site, home.keys.ledger)
    for home in homes.values():
        home.keep_founding(founding)
    return folder


@pytest.fixture
def homes(made, tmp_path):
    """The three homes, each test's own copy."""
    folder = shutil.copytree(made, tmp_path / "hospitals")
    return {site: Home.open(folder / site) for site in ("bonn", "lund", "porto")}


@pytest.fixture
def porto(homes):
    return homes["porto"]
