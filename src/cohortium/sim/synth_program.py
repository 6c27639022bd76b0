"""The program of a run that learns a generator, and what its last state comes to: at nodes as at simulated sites.

Between hospitals the generator may be followed by two counts, of training and of held-out patients (`counted`): the
federated validation by sums. They change nothing about the generator.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from cohortium.core.codec import encode
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.schema import CohortSchema
from cohortium.privacy.dp.terms import terms_of
from cohortium.swarm.program import Program
from cohortium.synth.federate.counted import counting_stages
from cohortium.synth.federate.gate import GateVerdict, gate
from cohortium.synth.federate.mixture import n_patients_of
from cohortium.synth.federate.plan import Federation
from cohortium.synth.study import build_federation, build_generator, plan_of

__all__ = ["FORMAT", "SynthProgram", "generator_file", "is_counted", "split_study", "synth_program"]

FORMAT = "cohortium-generator/1"


@dataclass(frozen=True, kw_only=True, eq=False)
class SynthProgram:
    """The generator, how it is learned, and the stages of that. n_learning: stages before any count."""

    generator: Any
    federation: Federation
    program: Program
    n_learning: int

    def learned(self, state: Parameters) -> bool:
        """Whether the generator stands; what is counted behind it may not."""
        return self.program.position(state)[0] >= self.n_learning

    def result(self, state: Parameters) -> Parameters:
        """The finished generator, from the program's last state."""
        return self.federation.result(self.generator, state)

    def shared_by(self, state: Parameters) -> tuple[str, ...]:
        """Sites whose rows or models are in it, where single ones are; else none."""
        return tuple(self.program.sites[place] for place in self.federation.shared_by(state))


def synth_program(
    study: Study,
    schema: CohortSchema,
    *,
    sites: Sequence[str],
    chance: Chance,
    counted: bool = False,
    judge: Callable[..., GateVerdict] = gate,
) -> SynthProgram:
    """What these sites do to learn the study's generator. Raises StudyError for what cannot be.

    counted: also count patients for the validation, where the study allows it (`is_counted`). judge: the site's gate.
    """
    generator = build_generator(study, schema)
    federation = build_federation(study, generator, n_sites=len(sites))
    if hasattr(federation, "judge"):
        federation = cast(Any, replace)(federation, judge=judge)
    stages = federation.stages(generator)
    n_learning = len(stages)
    if counted and is_counted(study, len(sites)):
        stages = counting_stages(stages, generator.facts)
    terms = terms_of(study, n_sites=len(sites))
    program = Program(stages, schema.layout(), sites=list(sites), chance=chance, privacy=terms)
    return SynthProgram(generator=generator, federation=federation, program=program, n_learning=n_learning)


def is_counted(study: Study, n_sites: int) -> bool:
    """Whether members may see sums of counts for the validation: only under masks, and where no epsilon is promised."""
    return study.privacy.masked(n_sites) and study.privacy.dp is None


def split_study(study: Study) -> Study:
    """The study whose split holds out the reserve and nothing else."""
    share = plan_of(study).validation.reserve_share
    changed = study.evaluation.model_copy(update={"test_fraction": share, "calibration_fraction": 0.0})
    return study.model_copy(update={"evaluation": changed})


def generator_file(study: Study, schema: CohortSchema, state: Parameters, *, n_real: int | None = None) -> Any:
    """The pieces of the file patients are drawn from. n_real: training patients, as the state has them without it."""
    metadata = {
        "format": FORMAT,
        "study": study.canonical().decode(),
        "schema": json.dumps(schema.to_dict(), sort_keys=True, ensure_ascii=True),
        "n_real": str(n_patients_of(state) if n_real is None else n_real),
        "digest": state.digest.hex(),
    }
    return encode(state, metadata)
