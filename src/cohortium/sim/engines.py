"""How the local trainings of one round are carried out on one machine: one after the other, or stacked."""

from __future__ import annotations

from collections.abc import Sequence

from cohortium.core.parameters import Parameters
from cohortium.core.seams import StackedLearner
from cohortium.core.update import Fitted, Update
from cohortium.swarm.program import SiteWork

__all__ = ["ENGINES", "choose_engine", "train_all"]

ENGINES = ("sequential", "stacked")
_STACK_FROM = 4


def choose_engine(asked: str, works: Sequence[SiteWork]) -> str:
    """`auto` stacks from 4 sites on, where the learner offers it and trains at all."""
    if asked != "auto":
        return asked
    learner = works[0].program.learner
    stackable = isinstance(learner, StackedLearner) and learner.learns_by == "weights" and not works[0].program.privacy
    return "stacked" if stackable and len(works) >= _STACK_FROM else "sequential"


def train_all(works: Sequence[SiteWork], round: int, state: Parameters, *, engine: str) -> list[Update]:
    """One update of every site, in the order given. All `works` share one program.

    `stacked` trains all sites at once where the running learner can (`fit_many`); its results differ
    from `sequential` by rounding only, at most 1e-5 relative an epoch.
    """
    program = works[0].program
    learner = program.stages[program.position(state)[0]].learner
    if engine != "stacked" or not isinstance(learner, StackedLearner) or learner.learns_by != "weights":
        return [work.train(round, state) for work in works]
    wanted = [work.instructions(round, state) for work in works]
    fitted: list[list[Fitted]] = [[] for _ in works]
    start = program.turn(state).start
    for number in range(max(len(asked) for asked in wanted)):
        who = [at for at, asked in enumerate(wanted) if len(asked) > number]
        done = learner.fit_many(
            [wanted[at][number].start or start for at in who],
            [works[at].examples(state) for at in who],
            instructions=[wanted[at][number] for at in who],
            rngs=[works[at].rng(round, number) for at in who],
        )
        for at, one in zip(who, done, strict=True):
            fitted[at].append(one)
    return [work.conclude(state, tuple(done)) for work, done in zip(works, fitted, strict=True)]
