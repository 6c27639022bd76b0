"""The plain loop is the reference: a real swarm of nodes gives the same bits."""

import pytest

from cohortium.core.randomness import Chance
from cohortium.sim.plain import learn
from cohortium.sim.swarm import Setting, run_swarm


@pytest.mark.parametrize("strategy", [{}, {"name": "scaffold", "rounds": 3}, {"name": "ditto", "rounds": 2}])
def test_a_swarm_gives_the_bits_of_the_plain_loop(strategy, works_of, make_study):
    study = make_study(strategy=strategy)
    plain, nodes = works_of(study), works_of(study)
    state = learn(plain["bonn"].program, list(plain.values()))
    swarm = run_swarm(Setting(study=study, works=nodes, chance=Chance(0, secrets_from_system=False)))
    assert swarm.state == state
    assert {site: work.memory() for site, work in plain.items()} == dict(swarm.memories)
