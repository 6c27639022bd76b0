"""Two hazards side by side: they stop, and their draws look like the record."""

import numpy as np

from cohortium.synth.facts import Facts
from cohortium.synth.generators.outcome import design_of, hazard_answer, hazards_begun, hazards_of, sampled_outcome


def test_finished_hazards_ask_for_nothing_more(world):
    coding = world.generator.coding(world.state)
    design = design_of(coding)
    x = design.rows(coding.codes(world.training), coding.scores(world.training))
    assert all(hazard.converged for hazard in hazards_of(world.facts, world.state).values())
    assert hazard_answer(world.facts, world.state, design, x, world.training) == {}


def test_drawn_records_end_as_often_by_death(world):
    coding = world.generator.coding(world.state)
    design = design_of(coding)
    x = design.rows(coding.codes(world.training), coding.scores(world.training))
    drawn = sampled_outcome(world.facts, world.state, coding, design, x, np.random.default_rng(0))
    assert abs(drawn["died"].mean() - world.training["died"].mean()) < 0.05
    assert drawn["os_years"].max() <= world.training["os_years"].max()
    assert drawn["os_years"].min() > 0


def test_no_survival_no_hazard(world):
    facts = Facts(columns=tuple(c for c in world.facts.columns if c.group != "outcome"))
    assert hazards_begun(facts, world.state, design_of(world.generator.coding(world.state))) == {}
    assert hazards_of(facts, world.state) == {}
