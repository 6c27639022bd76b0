"""What a site can say of a finished run by itself, in its worker: figures on its own patients, and the model's file.

Swarm against own model, on the site's own held-out patients. There is no pooled model to compare with: nobody holds the
rows of all sites. What the ledger and the others say is added by `run_record.py`, at the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cohortium.assembly import strategy_name
from cohortium.core.check import Check
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.errors import CohortiumError
from cohortium.models.newton import out_of_rounds
from cohortium.node.first_record import first_record
from cohortium.node.keys import write_private
from cohortium.node.run_folder import COPIES, draft_of
from cohortium.node.work import Ward
from cohortium.quality.gate_copies_stage import NO_GUARANTEE, copies_listed, copies_remembered
from cohortium.reports.privacy import PrivacyRecord
from cohortium.reports.record import ModelRecord, RunRecord
from cohortium.sim.comparison import SiteRows, TrainedModel, train_alone
from cohortium.sim.evaluation import evaluate, presence_of, score_models
from cohortium.sim.folder import write_whole
from cohortium.sim.results import model_file
from cohortium.sim.round_measures import cause_of
from cohortium.swarm.program import Program

__all__ = ["LEAST_OF_A_CLASS", "LEAST_PATIENTS", "site_record", "withheld"]

LEAST_PATIENTS = 20
LEAST_OF_A_CLASS = 5
"""Fewer held-out patients, or fewer of a class or with an event: then no figure leaves the site."""


def site_record(
    ward: Ward,
    program: Program,
    state: Parameters,
    memory: Parameters,
    *,
    model: Path,
    privacy: PrivacyRecord | None = None,
    gate: Sequence[Check] = (),
) -> str:
    """The site's part of the run's record, as JSON; the model is written to `model`. gate: checks made in the run.

    The site's own list of records with a copy at another site is drafted beside it, where they were looked for.
    """
    study, rows = ward.study, ward.gathered.rows()
    swarm = TrainedModel(program=program, state=state, memories={ward.site: memory})
    write_whole(model, model_file(swarm, study=study, schema=ward.schema))
    if (found := copies_remembered(memory)) is not None:
        lines = [f"{row},{part},{lies}\n" for row, part, lies in copies_listed(found, ward.cohort.places())]
        write_private(draft_of(model.parent, COPIES), "".join(["row,part,near_copy\n", *lines]).encode())
    record = first_record(
        ward,
        sites=program.sites,
        model=ModelRecord(
            name=study.model.name,
            digest=state.digest.hex(),
            strategy=strategy_name(study, program.learner),
            n_parameters=sum(array.size for array in program.model(state).values()),
        ),
        privacy=privacy,
        presence=presence_of(rows),
        time_unit="d" if ward.schema.outcome_kind == "survival" else "",
    )
    record = replace(record, checks=(*record.checks, *gate))
    if study.quality.copies:
        record = _noted(record, NO_GUARANTEE)
    if out_of_rounds(program.model(state)):
        record = _noted(record, "the model ended without reaching its optimum; raise model.max_rounds")
    return _measured(record, ward, swarm, rows[0]).to_json()


def _measured(record: RunRecord, ward: Ward, swarm: TrainedModel, own: SiteRows) -> RunRecord:
    """The record with figures, as far as the site has patients to measure with."""
    if not len(own.test):
        return _noted(record, f"site '{ward.site}' holds no patient back, so nothing is measured here")
    study, models = ward.study, {"swarm": swarm}
    chance = Chance(study.evaluation.seed)
    if study.evaluation.per_site:
        try:
            models[f"own/{ward.site}"] = train_alone(study, own, chance=chance)
        except CohortiumError as error:
            record = _noted(record, f"no own model to compare with: {error}")
        except (ValueError, ArithmeticError) as error:  # the text of a foreign error may hold a patient's value
            record = _noted(record, f"no own model to compare with: {type(error).__name__}")
    found: dict[str, Any] = vars(
        evaluate(
            score_models(models, [own]),
            plan=study.evaluation,
            schema=ward.schema,
            rng=chance.stream("bootstrap"),
            cause=cause_of(swarm.program.learner),
        )
    )
    return replace(record, **{"test" if name == "results" else name: value for name, value in found.items()})


def withheld(own: SiteRows) -> str:
    """Why no figure on these held-out patients may leave the site, empty where they may. No count but the limits."""
    if len(own.test) < LEAST_PATIENTS:
        return f"fewer than {LEAST_PATIENTS} patients are held back"
    if own.test.event is not None:
        return "" if int((own.test.event > 0).sum()) >= LEAST_OF_A_CLASS else f"fewer than {LEAST_OF_A_CLASS} events"
    outcome = own.test.layout.outcome
    if outcome not in ("binary", "classes") or own.test.y is None:
        return ""
    counts = [int((own.test.y == code).sum()) for code in range(max(2, len(own.test.layout.classes)))]
    return "" if min(counts) >= LEAST_OF_A_CLASS else f"fewer than {LEAST_OF_A_CLASS} patients of a class"


def _noted(record: RunRecord, sentence: str) -> RunRecord:
    return replace(record, notes=(*record.notes, sentence))
