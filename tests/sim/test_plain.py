"""The plain loop is the reference: a real swarm of nodes gives the same bits."""

import pytest

from cohortium.assembly import build_program
from cohortium.core.randomness import Chance
from cohortium.sim.cohorts import gather
from cohortium.sim.plain import learn
from cohortium.sim.swarm import Setting, run_swarm
from cohortium.swarm.program import SiteWork


@pytest.mark.parametrize("strategy", [{}, {"name": "scaffold", "rounds": 3}, {"name": "ditto", "rounds": 2}])
def test_a_swarm_gives_the_bits_of_the_plain_loop(strategy, works_of, make_study):
    study = make_study(strategy=strategy)
    plain, nodes = works_of(study), works_of(study)
    state = learn(plain["bonn"].program, list(plain.values()))
    swarm = run_swarm(Setting(study=study, works=nodes, chance=Chance(0, secrets_from_system=False)))
    assert swarm.state == state
    assert {site: work.memory() for site, work in plain.items()} == dict(swarm.memories)


@pytest.mark.parametrize("clip", ["fixed", "quantile"])
def test_a_run_that_hides_its_sites_gives_the_bits_of_the_plain_loop_through_the_masks(clip, make_study, make_table):
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")
    sites = [f"s{i}" for i in range(8)]
    chance = Chance(0, secrets_from_system=False)
    study = make_study(
        study={"features": ["a", "b"]},
        cohort={"scale": "public", "fill": "none", "ranges": {"*": [-3, 3]}},
        model={"learn": "weights", "l2": 0.0},
        strategy={"name": "fedavg", "rounds": 6},
        privacy={
            "secure_aggregation": True,
            "dp": {"unit": "site", "epsilon": 8.0, "delta": 1e-3, "accept_site_level": True, "clip": clip},
        },
    )
    rows = gather(study, {site: make_table(40, seed=i) for i, site in enumerate(sites)}, chance=chance).rows()
    program = build_program(study, rows[0].training.layout, sites=sites, chance=chance)
    plain, nodes = (
        {one.site: SiteWork(program, site=one.site, training=one.training) for one in rows} for _ in range(2)
    )
    state = learn(program, list(plain.values()))
    swarm = run_swarm(Setting(study=study, works=nodes, chance=chance))
    assert swarm.state == state
    moved = [] if clip == "fixed" else state["model/release/position"].tolist()
    assert bool(moved) is (clip == "quantile")
    assert moved != [0], "the norm has followed the updates"
    assert [event.type for event in program.planned_events()] == ["gaussian"] * (1 + bool(moved))
    swarm.ledger.close()
