from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.swarm.program import Program, SiteWork
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate.averaging import Averaging
from cohortium.synth.federate.carried import with_reserve
from cohortium.synth.federate.ensemble import Ensemble
from cohortium.synth.federate.exact import Exact
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.federate.rounds import states_by_round
from cohortium.synth.federate.sharing import Sharing

from .conftest import examples_of, lenient


def seen(federation, generator, sites):
    """All states of a run, in order."""
    views = {site: with_reserve(examples_of(rows), examples_of(held)) for site, (rows, held) in sites.items()}
    chance = Chance(0, secrets_from_system=False)
    program = Program(federation.stages(generator), views["a"].layout, sites=list(sites), chance=chance)
    works = [SiteWork(program, site=site, training=view) for site, view in views.items()]
    found = [program.start()]
    while not program.finished(found[-1]):
        updates = [work.train(len(found), found[-1]) for work in works]
        found.append(program.merge(found[-1], updates))
        for work, update in zip(works, updates, strict=True):
            work.adopt(len(found), found[-1], update)
    return found


def test_a_network_is_closed_after_every_round_and_the_last_is_what_the_run_gave(tiny, sites):
    federation = Averaging(plan=FederationPlan(rounds=3))
    states = seen(federation, tiny, sites)
    found = states_by_round(federation, tiny, states, [rows for rows, _ in sites.values()])
    assert len(found) == 3
    assert found[-1].digest == federation.result(tiny, states[-1]).digest
    assert len({float(one["age"][0]) for one in found}) == 3


def test_shared_rows_are_learned_after_every_round(world, sites):
    federation = Sharing(plan=FederationPlan(rounds=2), judge=lenient)
    states = seen(federation, world.generator, sites)
    found = states_by_round(federation, world.generator, states, [])
    assert len(found) == 2
    assert found[-1].digest == federation.result(world.generator, states[-1]).digest


def test_by_exact_sums_the_rounds_are_climbs_and_others_have_none(world, sites):
    rows = [one for one, _ in sites.values()]
    found = states_by_round(Exact(plan=FederationPlan()), world.generator, [Parameters()], rows)
    assert found[0].digest != found[-1].digest
    assert found[-1].digest == fit_by_sums(type(world.generator)(facts=world.facts, max_climbs=5), rows).digest
    assert states_by_round(Ensemble(plan=FederationPlan()), world.generator, [Parameters()], rows) == []
