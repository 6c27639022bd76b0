"""Canaries planted at every hospital, run after run: what stands behind `synth canary`.

    found = canary_runs(study, tables, runs=5, seed=0)
    found.bound, found.epsilon                   # what the guesses refute, what the study claims

Every run plants other canaries by other coins, learns the study's generator from patients and canaries, and once
without any, in a plain loop with the noise of the study (of the seed: it protects nobody, and repeats).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.errors import StudyError
from cohortium.privacy.dp.terms import PRIVATE_NETWORKS, generator_refusals
from cohortium.privacy.leakage.one_run import Guesses, ceiling
from cohortium.sim.synthesis import gathered_rows
from cohortium.synth.exchange import fit_by_sums, fit_network, fit_privately
from cohortium.synth.federate.private_reference import fit_network_privately
from cohortium.synth.rows import Rows, rows_of_examples
from cohortium.synth.study import build_generator, plan_of
from cohortium.synth.validation.canary import N_CANARIES, Canaries, judge_canaries, plant

__all__ = ["CanaryRuns", "canary_runs"]


@dataclass(frozen=True, kw_only=True)
class CanaryRuns:
    """Guesses of every run; epsilon, delta: what the study claims for one patient, None without a claim."""

    generator: str
    runs: tuple[Canaries, ...]
    epsilon: float | None
    delta: float

    @property
    def guesses(self) -> Guesses:
        """Of all runs together."""
        return sum((one.guesses for one in self.runs[1:]), start=self.runs[0].guesses)

    @property
    def bound(self) -> float:
        """The largest epsilon that all guesses together refute."""
        return self.guesses.bound(delta=self.delta)

    @property
    def most(self) -> float:
        """What they could have refuted, had all been right."""
        return ceiling(self.guesses.n_guessed, delta=self.delta, n_coins=self.guesses.n_coins)

    @property
    def refuted(self) -> bool:
        """Whether the claimed epsilon cannot be true. One that is not claimed cannot be refuted."""
        return self.epsilon is not None and self.bound > self.epsilon

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "generator": self.generator, "right": self.guesses.n_right, "guessed": self.guesses.n_guessed,
            "n": self.guesses.n_coins, "epsilon_bound": self.bound, "epsilon_bound_at_most": self.most,
            "epsilon_accounted": self.epsilon, "refuted": self.refuted, "runs": [one.document() for one in self.runs],
        }  # fmt: skip


def canary_runs(
    study: Study,
    tables: Mapping[str, Table],
    *,
    runs: int,
    seed: int,
    n: int = N_CANARIES,
    say: Callable[[str], None] = lambda text: None,
) -> CanaryRuns:
    """n canaries a hospital in each run. Raises StudyError, DataError, MissingExtra."""
    gathered, facts = gathered_rows(study, tables, chance=Chance(study.evaluation.seed, secrets_from_system=False))
    generator = build_generator(study, gathered.schema)
    sites = [rows_of_examples(one.training, facts) for one in gathered.rows()]
    plan = study.privacy.dp
    epsilon, delta = (None, 0.0) if plan is None else (plan.epsilon, plan.delta)
    if problems := generator_refusals(study, n_sites=len(sites)):
        raise StudyError(problems)
    found = []
    for run in range(runs):
        rng = np.random.default_rng([seed, run, 41])
        planted = [plant(rows, rng, n=n) for rows in sites]
        n_drawn = sum(len(rows) for rows in sites)
        drawn = [
            _drawn(generator, parts, n_drawn, study=study, seed=[seed, run, place])
            for place, parts in enumerate([[site.rows for site in planted], sites])
        ]
        found.append(judge_canaries(planted, *drawn, epsilon=epsilon, delta=delta))
        one = found[-1].guesses
        say(f"run {run}: {one.n_right} of {one.n_guessed} guesses right")
    return CanaryRuns(generator=study.model.name, runs=tuple(found), epsilon=epsilon, delta=delta)


def _drawn(generator: Any, sites: Sequence[Rows], n: int, *, study: Study, seed: list[int]) -> Rows:
    """Patients of the generator these rows give."""
    rng, plan = np.random.default_rng([*seed, 42]), study.privacy.dp
    state: Parameters
    if plan is not None and study.model.name in PRIVATE_NETWORKS:
        state = fit_network_privately(
            generator, sites, epsilon=plan.epsilon, delta=plan.delta, entropy=rng.bytes, rng=rng, mode=plan.mode,
            sample_rate=plan.sample_rate, clipping_norm=plan.clipping_norm, clip=plan.clip,
            rounds=plan_of(study).rounds,
        )  # fmt: skip
    elif plan is not None:
        state = fit_privately(generator, sites, epsilon=plan.epsilon, delta=plan.delta, entropy=rng.bytes)
    elif generator.learns_by == "sums":
        state = fit_by_sums(generator, sites)
    else:
        state = fit_network(generator, sites, rng=rng)
    rows: Rows = generator.sample(state, n, rng=rng)
    return rows
