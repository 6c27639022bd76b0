"""`co.join`: your own training loop in a swarm, at most four added lines.

    with co.join("study.toml") as swarm:
        for round in swarm.rounds(model):
            train_one_epoch(model, loader)
            round.share(n=len(loader.dataset), loss=loss)

`rounds` puts the merged weights into the model before each pass and after the last. The study names `own-loop` as its
model; how much a pass trains is the loop's business, how passes are merged is the strategy's. In this release loops
join inside `co.rehearse`; nodes on different machines come later and change nothing here.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np

from cohortium.assembly import build_learner, build_strategy
from cohortium.core import payload
from cohortium.core.parameters import Parameters
from cohortium.core.study import Study
from cohortium.core.update import Fitted, Turn
from cohortium.entry.plan import Plan, read_plan
from cohortium.entry.seat import Final, Pass, Ready, Seat, Shared, Stop, current_seat
from cohortium.entry.weights import Weights, weights_of
from cohortium.errors import Problem, StudyError, TrainingFailed, UsageError
from cohortium.models.own_loop import beyond_a_loop

__all__ = ["Round", "Swarm", "join", "loop_problems"]

_MODEL = "own-loop"

_NEEDS = {
    "cyclic": "another learning rate every cycle",
    "ditto": "a second training, of a model that stays at the site",
    "fedbn": "layers that stay at the site, known by their role",
    "fednova": "the number of steps every site took",
    "fedper": "layers that stay at the site, known by their role",
    "fedprox": "a proximal term in the loss",
    "qfedavg": "plain SGD at a known rate",
    "scaffold": "a correction of every gradient",
}


def join(study: Plan) -> Swarm:
    """This site's place in the run of `study`, to be used in a `with` statement.

    Raises StudyError when a loop cannot do what the study asks, UsageError outside of a rehearsal.
    """
    plan = read_plan(study)
    problems = loop_problems(plan)
    if problems:
        raise StudyError(problems)
    return Swarm(current_seat("co.join", plan))


def loop_problems(study: Study) -> tuple[Problem, ...]:
    """Why an own loop cannot run this study; empty when it can."""
    if study.model.name != _MODEL:
        sentence = f"an own loop trains no '{study.model.name}'; write '{_MODEL}' to bring your own model"
        return (Problem("model.name", sentence),)
    name = study.strategy.name
    needed = _NEEDS.get(name) or _asked(study)
    if needed:
        return (Problem("strategy.name", f"merge '{name}' needs {needed}, which an own loop cannot be given; {_TRY}"),)
    return ()


_TRY = "choose 'fedavg' and let the loop decide how much a pass trains"


def _asked(study: Study) -> str:
    """What the strategy, options included, asks in its first round beyond one ordinary training."""
    strategy = build_strategy(study, build_learner(study))
    start = Parameters({"w": np.zeros(1)})
    turn = Turn(round=0, sites=("a", "b"), start=start, state=strategy.init(start), site="a", n_samples=1)
    asked = strategy.instruct(turn)
    return "two trainings a round" if len(asked) > 1 else next(filter(None, map(beyond_a_loop, asked)), "")


class Swarm:
    """One site's end of a joined run."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat

    @property
    def site(self) -> str:
        """The name of the site that joined."""
        return self._seat.site

    @property
    def sites(self) -> tuple[str, ...]:
        """All sites of the run, sorted."""
        return self._seat.sites

    def rounds(self, model: object) -> Iterator[Round]:
        """The passes to make. `model` holds the merged weights at the beginning of each, and after the last.

        All sites start from the weights of the first by name. Raises UsageError, naming the round, after a pass
        without `share`; RunFailed when the run ends without a model.
        """
        seat = self._seat
        if seat.taken:
            raise UsageError(f"site '{seat.site}' has gone through its rounds already; a join is one run")
        seat.taken = True
        weights = weights_of(model)
        answer = seat.say(Ready(weights.get()))
        number = 0
        while isinstance(answer, Pass):
            number += 1
            weights.put(answer.start)
            round = Round(number, weights, answer.start, needs_loss=seat.study.strategy.stop is not None)
            yield round
            answer = seat.say(Shared(round.taken()))
        if isinstance(answer, Stop):
            raise answer.error
        if isinstance(answer, Final):
            weights.put(answer.weights)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seat.trouble = error


class Round:
    """One pass. number: counts from 1."""

    def __init__(self, number: int, weights: Weights, start: Parameters, *, needs_loss: bool) -> None:
        self.number = number
        self._weights = weights
        self._start = start
        self._needs_loss = needs_loss
        self._shared: Fitted | None = None
        self._over = False

    def share(self, *, n: int, loss: float | None = None) -> None:
        """Give the model's weights as they are now to the merge.

        n: training rows of this pass, the weight in a weighted merge. loss: mean training loss, needed where the study
        stops early. Raises UsageError for a second share or a wrong n, TrainingFailed for weights that cannot go out.
        """
        if self._over or self._shared is not None:
            raise UsageError(f"round {self.number} was shared already; share once in every pass")
        rows = _whole(n)
        if rows < 1:
            raise UsageError(f"round {self.number}: n must be a whole number of at least 1, got {n!r:.40}")
        if loss is None and self._needs_loss:
            raise UsageError(f"round {self.number}: the study stops early by the loss; add loss=... to share")
        value = math.nan if loss is None else float(loss)
        if loss is not None and not math.isfinite(value):
            raise TrainingFailed(f"round {self.number}: the loss is {value}", code="not_finite")
        self._shared = Fitted(parameters=self._trained(), n_samples=rows, loss=value)

    def taken(self) -> Fitted:
        """What was shared; the pass is over. Raises UsageError when nothing was."""
        self._over = True
        if self._shared is None:
            raise UsageError(f"round {self.number} ended without round.share(n=..., loss=...)")
        return self._shared

    def _trained(self) -> Parameters:
        trained = self._weights.get()
        if not trained.like(self._start):
            now, before = payload.layout(trained), payload.layout(self._start)
            changed = next((str(one[0]) for one in now if one not in before), "which is missing now")
            raise TrainingFailed(f"round {self.number}: training changed the layout of array {changed}", code="shape")
        for name, array in trained.items():
            n_bad = int(array.size - np.count_nonzero(np.isfinite(array)))
            if n_bad:
                message = f"round {self.number}: array '{name}' holds {n_bad} values that are not finite"
                raise TrainingFailed(message, code="not_finite")
        return trained


def _whole(n: int) -> int:
    """A whole number of whatever library; 0 for anything else."""
    try:
        return operator.index(n)
    except TypeError:
        return 0
