"""Two hazards side by side: they stop, and their draws look like the record."""

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.synth.facts import Facts
from cohortium.synth.generators.outcome import (
    covariates_of,
    hazard_answer,
    hazards_begun,
    hazards_of,
    hazards_stirred,
    log_risk,
    sampled_outcome,
)


def test_finished_hazards_ask_for_nothing_more(world):
    coding = world.generator.coding(world.state)
    read = coding.codes(world.training), coding.scores(world.training)
    assert all(hazard.converged for hazard in hazards_of(world.facts, world.state).values())
    assert hazard_answer(world.facts, world.state, coding, *read, world.training) == {}
    stirred = Parameters({**world.state, **hazards_stirred(world.facts, world.state)})
    assert len(hazard_answer(world.facts, stirred, coding, *read, world.training)) == 12


def test_drawn_records_end_as_often_by_death(world):
    coding = world.generator.coding(world.state)
    columns = {name: world.training[name] for name in world.training if name not in ("os_years", "died")}
    drawn = sampled_outcome(world.facts, world.state, coding, columns, np.random.default_rng(0))
    assert abs(drawn["died"].mean() - world.training["died"].mean()) < 0.05
    assert drawn["os_years"].max() <= world.training["os_years"].max()
    assert drawn["os_years"].min() > 0


def test_a_higher_risk_dies_sooner(world):
    risk = log_risk(world.facts, world.state, world.generator.coding(world.state), world.training)
    high = risk > np.median(risk)
    died, time = world.training["died"], world.training["os_years"]
    assert died[high].sum() / time[high].sum() > 1.5 * died[~high].sum() / time[~high].sum()


def test_no_survival_no_hazard(world):
    facts = Facts(columns=tuple(c for c in world.facts.columns if c.group != "outcome"))
    coding = world.generator.coding(world.state)
    assert hazards_begun(facts, world.state, coding) == {}
    assert hazards_of(facts, world.state) == {}
    bare = {name: array for name, array in world.state.items() if not name.startswith(("curve/", "hazard"))}
    covariates = covariates_of(coding, Parameters(bare))
    assert covariates.width == covariates.design.width
