"""Counts behind a generator are those of a plain loop, and change none of its bits."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.errors import UsageError
from cohortium.swarm.program import Program, SiteWork
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate.carried import with_reserve
from cohortium.synth.federate.counted import Aside, ReserveCensus, counting_stages, counts_in
from cohortium.synth.federate.exact import Exact
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.validation.census import Census

from .conftest import examples_of


def played(stages, sites):
    """The last state of a program over these sites, in a plain loop."""
    held = {site: with_reserve(examples_of(rows), examples_of(out)) for site, (rows, out) in sites.items()}
    layout = next(iter(held.values())).layout
    program = Program(stages, layout, sites=list(held), chance=Chance(0))
    works = [SiteWork(program, site=site, training=rows) for site, rows in held.items()]
    state = program.start()
    while not program.finished(state):
        state = program.merge(state, [work.train(1, state) for work in works])
    return state


def test_the_generator_keeps_its_bits_and_both_parts_are_counted(world, sites):
    generator, federation = BayesianNetwork(facts=world.facts, max_climbs=1), Exact(plan=FederationPlan())
    stages = federation.stages(generator)
    state = played(counting_stages(stages, world.facts), sites)
    plain = played(stages, sites)
    assert federation.result(generator, state).digest == federation.result(generator, plain).digest
    census = Census(facts=world.facts)
    real = fit_by_sums(census, [training for training, _ in sites.values()])
    out = fit_by_sums(census.like(real), [reserve for _, reserve in sites.values()])
    counted = counts_in(world.facts, state)
    assert [one.digest for one in counted] == [real.digest, out.digest]
    assert counts_in(world.facts, plain) is None


def test_held_out_patients_are_counted_where_there_are_some_and_never_in_the_place_of_others(world, sites):
    real = fit_by_sums(Census(facts=world.facts), [sites["b"][0]])
    learner = ReserveCensus(facts=world.facts)
    start = Census(facts=world.facts).like(real).initial(None, rng=None)
    without = learner.fit(start, examples_of(sites["b"][0]), instructions=None, rng=None)
    assert int(without.parameters["n"][0]) == 0
    both = with_reserve(examples_of(sites["b"][0]), examples_of(sites["b"][1]))
    assert int(learner.fit(start, both, instructions=None, rng=None).parameters["n"][0]) == len(sites["b"][1])
    assert not learner.finished(Parameters({"empty": np.zeros(1)}))
    with pytest.raises(UsageError):
        learner.predict(start, both)


def test_what_stands_aside_is_the_learner_it_holds(world):
    generator = BayesianNetwork(facts=world.facts)
    aside = Aside(generator)
    assert (aside.max_rounds, aside.learns_by) == (generator.max_rounds, "sums")
    assert aside.layout(Parameters(), "layout") == "layout"
    assert aside.apply(Parameters(), "rows", own=Parameters()) == "rows"
    assert len(aside.own(Parameters(), "rows")) == 0
