"""Three small sites, the round machine without nodes, and a network small enough to be checked by hand."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.data.schema import DAYS_PER
from cohortium.swarm.program import Program, SiteWork
from cohortium.synth.facts import Facts
from cohortium.synth.federate.carried import with_reserve
from cohortium.synth.federate.divergence import Portrait
from cohortium.synth.federate.gate import GateVerdict, too_few
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.network_training import Budget
from cohortium.synth.rows import Rows


def examples_of(rows):
    """A learner's view of rows: categories as 0/1 columns, time in days."""
    names, columns = [], []
    facts = rows.facts
    for fact in facts.columns:
        if fact.kind == "categorical":
            for place, level in enumerate(fact.levels):
                names.append(f"{fact.name}={level}")
                columns.append(np.where(np.isnan(rows[fact.name]), np.nan, rows[fact.name] == place))
        elif fact.kind not in ("time", "event"):
            names.append(fact.name)
            columns.append(rows[fact.name])
    days = DAYS_PER[facts[facts.time].unit or "d"]
    return Examples(
        layout=Layout(features=tuple(names), outcome="survival"),
        x=np.column_stack(columns),
        time=rows[facts.time] * days,
        event=rows[facts.event].astype(np.int8),
    )


def lenient(training, reserve, table, *, subject, seed, attack_risk_max):
    """A gate that lets everything pass of sites with enough rows: for tests of what happens behind it."""
    return GateVerdict(subject=subject, passed=not too_few(training, reserve))


def run(federation, generator, sites, *, seed=0):
    """The program's last state, and what each site remembers. sites: name -> (training, reserve) rows."""
    views = {site: with_reserve(examples_of(rows), examples_of(held)) for site, (rows, held) in sites.items()}
    layout = next(iter(views.values())).layout
    program = Program(
        federation.stages(generator), layout, sites=list(sites), chance=Chance(seed, secrets_from_system=False)
    )
    works = {site: SiteWork(program, site=site, training=view) for site, view in views.items()}
    state, at = program.start(), 0
    while not program.finished(state):
        updates = [work.train(at, state) for work in works.values()]
        state, at = program.merge(state, updates), at + 1
        for work, update in zip(works.values(), updates, strict=True):
            work.adopt(at, state, update)
    return state, {site: work.memory() for site, work in works.items()}


@pytest.fixture(scope="session")
def sites(world):
    """a: 480, b: 440, c: 40 training patients; reserves of 120, 111 and 9."""
    order = np.arange(len(world.training))
    parts = {"a": order[:480], "b": order[480:920], "c": order[920:960]}
    held = {"a": np.arange(120), "b": np.arange(120, 231), "c": np.arange(231, 240)}
    return {site: (world.training.take(rows), world.reserve.take(held[site])) for site, rows in parts.items()}


@dataclass(frozen=True, kw_only=True)
class Sum:
    """A learner by sums of one exchange: how many patients there are."""

    facts: Facts

    def initial(self, layout, *, rng):
        return Parameters({"n": np.array([-1], dtype=np.int64)})

    def answer(self, state, rows):
        return Parameters({"n": np.array([len(rows)], dtype=np.int64)})

    def advance(self, start, total):
        return total

    def finished(self, state):
        return int(state["n"][0]) >= 0


@dataclass(frozen=True, kw_only=True)
class Trained:
    weights: Parameters
    loss: float
    steps: int
    moments: Parameters | None


@dataclass(frozen=True, kw_only=True)
class Fifty(Portrait):
    """A foundation whose patients are all fifty."""

    def sample(self, state, n, *, rng):
        return Rows(self.facts, {name: np.full(n, 50.0) for name in self.facts.names})


@dataclass(frozen=True, kw_only=True)
class TinyNetwork:
    """One weight: the mean age. A training goes its share of the budget from where it starts to the site's mean.

    Moments count trainings. calls: (what, share, proximal, trainings before) of each call.
    """

    facts: Facts
    closes: bool = True
    calls: list = field(default_factory=list, compare=False)

    learns_by = "weights"

    def foundation(self):
        return Fifty(facts=self.facts)

    def begin(self, foundation, *, rng):
        return Parameters({"age": np.zeros(1, dtype=np.float32)})

    def budget(self, foundation):
        return Budget(whole=600, warm=6000, private_warm=0)

    def train(self, weights, foundation, rows, *, budget, rng, proximal=0.0, moments=None):
        before = 0 if moments is None else int(moments["n"][0])
        warm = budget == self.budget(foundation).warm
        self.calls.append(("warm", 1.0, proximal, before) if warm else ("train", budget / 600, proximal, before))
        start = float(weights["age"][0])
        age = np.float32(start + self.calls[-1][1] * (float(np.nanmean(rows["age"])) - start))
        held = Parameters({"n": np.array([before + 1], dtype=np.int64)})
        return Trained(weights=Parameters({"age": np.array([age])}), loss=1.0, steps=1, moments=held)

    def closing(self, weights, foundation):
        return Sum(facts=self.facts) if self.closes else None

    def assembled(self, foundation, weights, closing_state):
        return weights | closing_state.prefixed("closing")

    def finished(self, state):
        return "age" in state

    def sample(self, state, n, *, rng):
        drawn = BayesianNetwork(facts=self.facts)
        return drawn, state, n  # pragma: no cover - replaced where rows are needed


@pytest.fixture
def tiny(world):
    return TinyNetwork(facts=world.facts)
