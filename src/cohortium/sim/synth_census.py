"""The federated validation by a simulated swarm: real nodes, masks where the study has them.

Training and held-out patients answer in a run each: counts of the second use the grids and bins of the first, trees
grown on the first are asked about the second. What comes out is what a plain loop over the rows gives, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.sim.swarm import Setting, run_swarm
from cohortium.sim.synthesis import gathered_rows
from cohortium.strategies.exact_sums import ExactSums
from cohortium.swarm.program import Program, SiteWork, Stage
from cohortium.synth.facts import Facts
from cohortium.synth.rows import Rows
from cohortium.synth.validation.census import Census
from cohortium.synth.validation.told_apart import ToldApart

__all__ = ["count_by_swarm", "tell_apart_by_swarm"]

_Sums = Callable[[Any], Parameters]


def count_by_swarm(study: Study, tables: Mapping[str, Table]) -> tuple[Parameters, Parameters]:
    """The finished census of the training and of the held-out patients. Raises StudyError, DataError or RunFailed."""
    facts, training, reserve = _swarms(study, tables)
    real = training(Census(facts=facts))
    return real, reserve(Census(facts=facts, reference=real))


def tell_apart_by_swarm(study: Study, tables: Mapping[str, Table], synthetic: Rows) -> float:
    """AUC of trees that all sites have grown, on held-out patients. Raises StudyError, DataError or RunFailed."""
    facts, training, reserve = _swarms(study, tables)
    learner = ToldApart(facts=facts, synthetic=synthetic)
    return learner.auc(reserve(learner.asking(training(learner))))


def _swarms(study: Study, tables: Mapping[str, Table]) -> tuple[Facts, _Sums, _Sums]:
    """What turns a learner by sums into its finished state over training patients, and over held-out ones."""
    chance = Chance(study.evaluation.seed, secrets_from_system=False)
    gathered, facts = gathered_rows(study, tables, chance=chance)
    layout = gathered.schema.layout()

    def summed(learner: Any, rows: Mapping[str, Examples]) -> Parameters:
        stage = Stage(name="model", learner=learner, strategy=ExactSums(), max_rounds=learner.max_rounds)
        program = Program([stage], layout, sites=list(gathered.cohorts), chance=chance)
        works = {site: SiteWork(program, site=site, training=mine, measure=_nothing) for site, mine in rows.items()}
        swarm = run_swarm(Setting(study=study, works=works, chance=chance))
        swarm.ledger.close()
        return program.model(swarm.state)

    parts = gathered.rows()
    training, reserve = ({one.site: getattr(one, name) for one in parts} for name in ("training", "test"))
    return facts, lambda learner: summed(learner, training), lambda learner: summed(learner, reserve)


def _nothing(learner: object, parameters: Parameters, examples: Examples) -> Mapping[str, float]:
    """Sums have no figure round by round."""
    return {}
