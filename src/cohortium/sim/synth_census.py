"""The counts of the federated validation, taken by a simulated swarm: real nodes, masks where the study has them.

Training and held-out patients are counted in a run each; the second uses the grids and bins of the first. What comes
out is what a plain loop over the rows gives, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping

from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.sim.swarm import Setting, run_swarm
from cohortium.sim.synthesis import gathered_rows
from cohortium.strategies.exact_sums import ExactSums
from cohortium.swarm.program import Program, SiteWork, Stage
from cohortium.synth.validation.census import Census

__all__ = ["count_by_swarm"]


def count_by_swarm(study: Study, tables: Mapping[str, Table]) -> tuple[Parameters, Parameters]:
    """The finished census of the training and of the held-out patients. Raises StudyError, DataError or RunFailed."""
    chance = Chance(study.evaluation.seed, secrets_from_system=False)
    gathered, facts = gathered_rows(study, tables, chance=chance)
    layout = gathered.schema.layout()

    def counted(census: Census, rows: Mapping[str, Examples]) -> Parameters:
        stage = Stage(name="model", learner=census, strategy=ExactSums(), max_rounds=census.max_rounds)
        program = Program([stage], layout, sites=list(gathered.cohorts), chance=chance)
        works = {site: SiteWork(program, site=site, training=mine, measure=_nothing) for site, mine in rows.items()}
        swarm = run_swarm(Setting(study=study, works=works, chance=chance))
        swarm.ledger.close()
        return program.model(swarm.state)

    parts = gathered.rows()
    real = counted(Census(facts=facts), {one.site: one.training for one in parts})
    return real, counted(Census(facts=facts, reference=real), {one.site: one.test for one in parts})


def _nothing(learner: object, parameters: Parameters, examples: Examples) -> Mapping[str, float]:
    """A census has no figure round by round."""
    return {}
