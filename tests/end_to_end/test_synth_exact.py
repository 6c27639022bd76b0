"""The generator of a swarm under masks is the pooled one to the bit, on real cohorts and the simulated one.

Patient data stay where they are (COHORTIUM_DATA); without them only the simulated consortium runs.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from cohortium.core.exchange import Context
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study_text import study_of
from cohortium.data.mds_like import simulate
from cohortium.data.partition import by_column, take
from cohortium.data.readers import read
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.sim.synth_tables import bench_study, demo_study
from cohortium.sim.synthesis import gathered_rows, train
from cohortium.swarm.program import Program, SiteWork
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate.exact import Exact
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.rows import joined, rows_of_examples
from cohortium.synth.study import build_generator

DATA = Path(os.environ.get("COHORTIUM_DATA", Path(__file__).parents[3] / "shared" / "data"))


def real(file):
    path = DATA / file
    if not path.is_file():
        pytest.skip(f"no real data at {path}; set COHORTIUM_DATA")
    return read(path)


def sim():
    table = simulate(seed=0).table
    return take(table, by_column(table, "site"), without=["site"]), demo_study()


def aml():
    table = real("aml_amlsg.parquet")
    table = table.take(table.column("genotyped") == 1)
    return take(table, by_column(table, "trial"), without=["trial"]), bench_study(
        table, site_column="trial", name="aml", seed=0
    )


def mds():
    table = real("mds_tp53.parquet")
    order = np.random.default_rng(0).permutation(len(table))
    rows = {f"node-{k}": np.sort(part) for k, part in enumerate(np.split(order, (1428, 2142)))}
    study = study_of(
        {
            "study": {"name": "mds", "outcome": {"time": "os_years", "event": "os_event", "unit": "years"},
                      "exclude": ["aml_years", "aml_event", "hma", "lenalidomid", "transplant"]},
            "synth": {"genes": ["cyto_del5q", "cyto_plus8", "cyto_del7", "cyto_del20q"]},
        }
    )  # fmt: skip
    return take(table, rows), study


@pytest.mark.slow
@pytest.mark.parametrize("world", [sim, aml, mds])
def test_three_nodes_under_masks_learn_the_pooled_generator(world):
    check(*world(), n_sites=3)


@pytest.mark.slow
def test_45_centres_under_masks_learn_the_pooled_generator():
    """All columns, some centres of one patient: the round machine and the masks without nodes, whose messages would
    take most of an hour."""
    table = real("aml_amlsg.parquet")
    table = table.take(table.column("genotyped") == 1)
    tables = take(table, by_column(table, "center"), without=["center", "trial"])
    check_machine(tables, bench_study(table.without(["trial"]), site_column="center", name="aml", seed=0))


def check_machine(tables, study):
    """Every site's training and every merge, all under one roof. 45 sites, some of one patient."""
    chance = Chance(0, secrets_from_system=False)
    gathered, facts = gathered_rows(study, tables, chance=chance)
    generator, rows = build_generator(study, gathered.schema), gathered.rows()
    stages = Exact(plan=FederationPlan()).stages(generator)
    program = Program(stages, gathered.schema.layout(), sites=[one.site for one in rows], chance=chance)
    works = {one.site: SiteWork(program, site=one.site, training=one.training) for one in rows}
    guards = {site: MaskedGuard(site, entropy=lambda n, s=site: chance.secret(n, s), word_bits=32) for site in works}
    state, at = program.start(), 0
    while not program.finished(state):
        at += 1
        updates = {site: work.train(at, state) for site, work in works.items()}
        state = program.merge(state, summed(guards, updates, at))
    pooled = joined([rows_of_examples(one.training, facts) for one in rows])
    assert fit_by_sums(generator, [pooled]).digest == program.model(state).digest
    assert (len(rows), min(len(one.training) for one in rows)) == (45, 1)


def summed(guards, updates, at):
    """The sum under masks: keys, shares, masked vectors, and the answers that open only their total."""
    sites = sorted(updates)
    context = Context(
        consortium=bytes(32), study=bytes(32), run=1, round=at, attempt=1, base=bytes(32), frozen=tuple(sites),
        weights=dict.fromkeys(sites, 1), n_joiners=len(sites),
    )  # fmt: skip
    received = {"survivors": dict.fromkeys(sites, Parameters())}
    for step in ("keys", "shares", "masked", "unmask"):
        received[step] = {s: guards[s].step(step, context, own=updates[s], received=received) for s in sites}
    return guards[sites[0]].open(context, survivors=sites, received=received)


def check(tables, study, *, n_sites):
    assert len(tables) == n_sites
    masked = study.with_plans(privacy=study.privacy.model_copy(update={"secure_aggregation": True}))
    fitted = train(masked, tables)
    fitted.ledger.close()
    pooled = fit_by_sums(fitted.saved.generator, [joined(list(fitted.training.values()))])
    assert pooled.digest == fitted.saved.state.digest
