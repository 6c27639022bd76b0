"""A swarm under masks counts what a plain loop counts."""

import numpy as np
import pytest

from cohortium.core.randomness import Chance
from cohortium.data.mds_like import simulate
from cohortium.data.partition import by_column, take
from cohortium.sim.synth_census import count_by_swarm, tell_apart_by_swarm
from cohortium.sim.synth_tables import demo_study
from cohortium.sim.synthesis import gathered_rows
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.rows import joined, rows_of_examples
from cohortium.synth.validation.census import Census
from cohortium.synth.validation.told_apart import ToldApart

SITES = {"a": 200, "b": 120, "c": 60}


@pytest.mark.parametrize("masked", [True, False])
def test_the_swarms_counts_are_those_of_a_plain_loop_bit_for_bit(masked):
    table = simulate(seed=0, sites=SITES).table
    tables = take(table, by_column(table, "site"), without=["site"])
    study = demo_study(seed=0, masked=masked)
    real, out = count_by_swarm(study, tables)
    gathered, facts = gathered_rows(study, tables, chance=Chance(0, secrets_from_system=False))
    census = Census(facts=facts)
    parts = gathered.rows()
    expected = fit_by_sums(census, [rows_of_examples(one.training, facts) for one in parts])
    assert real.digest == expected.digest
    held = fit_by_sums(census.like(expected), [rows_of_examples(one.test, facts) for one in parts])
    assert out.digest == held.digest


def test_the_swarm_tells_apart_what_a_plain_loop_does():
    table = simulate(seed=0, sites=SITES).table
    tables = take(table, by_column(table, "site"), without=["site"])
    study = demo_study(seed=0, masked=True)
    gathered, facts = gathered_rows(study, tables, chance=Chance(0, secrets_from_system=False))
    training, reserve = (
        [rows_of_examples(getattr(one, name), facts) for one in gathered.rows()] for name in ("training", "test")
    )
    synthetic = joined(training).take(np.arange(0, 200))
    learner = ToldApart(facts=facts, synthetic=synthetic)
    trees = fit_by_sums(learner, training)
    expected = learner.auc(fit_by_sums(learner.asking(trees), reserve))
    assert tell_apart_by_swarm(study, tables, synthetic) == expected
