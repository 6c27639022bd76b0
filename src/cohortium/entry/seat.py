"""A seat: where one site's ordinary function meets the swarm, with a baton that only one of the two holds.

Theory of operation. The function runs in a thread of its own, the nodes run on a loop in another. Whoever speaks
hands the baton over and waits: the function says a word (`Ready`, `Brought`, `Shared`; at its end `Left`) and sleeps
until it is answered (`Pass`, `Final`, `Learned`, `Stop`); the loop answers and sleeps until the next word. So no two
of {loop, functions} ever run at once, virtual time stands while a function trains, and the order of all is fixed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import Context, ContextVar
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Learner, Preparation
from cohortium.core.study import Study
from cohortium.core.update import Fitted
from cohortium.errors import DataError, TrainingFailed, UsageError

__all__ = ["Brought", "Final", "Learned", "Left", "Pass", "Ready", "Seat", "Shared", "Stop", "current_seat"]


@dataclass(frozen=True)
class Ready:
    """A loop is about to make its first pass; these are the weights it has."""

    start: Parameters


@dataclass(frozen=True)
class Brought:
    """The site brings a learner, its own rows and how they are scaled; the node trains, the function sleeps.

    labels: what the codes of classes or groups stand for, the same at every site.
    """

    learner: Learner
    examples: Examples
    preparation: Preparation | None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shared:
    """A pass is over; this came of it."""

    fitted: Fitted


@dataclass(frozen=True)
class Left:
    """The function has ended: with a value, or with an error."""

    value: Any = None
    error: BaseException | None = None


@dataclass(frozen=True)
class Pass:
    """Make one pass from these weights."""

    start: Parameters


@dataclass(frozen=True)
class Final:
    """The run has ended; these are the weights this site predicts with."""

    weights: Parameters


@dataclass(frozen=True)
class Learned:
    """The run has ended: the learner's last state, that of the scaling, the agreed layout, the exchanges it took."""

    model: Parameters
    scale: Parameters
    layout: Layout
    rounds: int


@dataclass(frozen=True)
class Stop:
    """The run has no result; raise this."""

    error: BaseException


Word = Ready | Brought | Shared | Left
Answer = Pass | Final | Learned | Stop

_SEAT: ContextVar[Seat | None] = ContextVar("cohortium_seat", default=None)


def current_seat(caller: str, study: Study) -> Seat:
    """The seat of the site whose function calls. Raises UsageError outside of a rehearsal of this very study."""
    seat = _SEAT.get()
    if seat is None:
        raise UsageError(
            f"{caller} needs a rehearsal in this release: co.rehearse(study, sites={{'porto': function, ...}}) runs"
            " your function once for every site",
            hint="nodes of different machines come with a later release",
        )
    if study.digest != seat.study.digest:
        raise UsageError(f"{caller}: study '{study.name}' is not the one rehearsed, '{seat.study.name}'")
    if seat.taken:
        raise UsageError(f"{caller}: site '{seat.site}' has had its run already; a rehearsal is one run")
    return seat


class Seat:
    """One site's place in a rehearsal. `left` is set when its function has ended, `trouble` when its loop broke."""

    def __init__(self, site: str, *, study: Study, sites: Sequence[str]) -> None:
        self.site = site
        self.study = study
        self.sites = tuple(sites)
        self.taken = False
        self.trouble: BaseException | None = None
        self.left: Left | None = None
        self.n_passes = 0
        self.losses: list[float] = []
        self._words: SimpleQueue[Word] = SimpleQueue()
        self._answers: SimpleQueue[Answer] = SimpleQueue()

    # --- the loop's side: each of these waits until the function speaks again --------------------------------

    def begin(self, function: Callable[[], Any], context: Context) -> Word:
        """Start the function; its first word."""
        threading.Thread(
            target=context.run, args=(self._live, function), name=f"cohortium-{self.site}", daemon=True
        ).start()
        return self._hear()

    def train(self, start: Parameters) -> Fitted:
        """Let the loop make one pass. Raises TrainingFailed when the function has ended instead."""
        if self.left is None:
            self.n_passes += 1
            word = self.answer(Pass(start))
            if isinstance(word, Shared):
                self.losses.append(word.fitted.loss)
                return word.fitted
        raise self._failure()

    def answer(self, answer: Answer) -> Word:
        """Hand the baton over; the next word."""
        self._answers.put(answer)
        return self._hear()

    def end(self, answer: Answer) -> None:
        """The last answer, if the function still waits for one; afterwards it has ended."""
        while self.left is None:
            self.answer(answer)

    def _hear(self) -> Word:
        word = self._words.get()
        if isinstance(word, Left):
            self.left = word
            self.trouble = word.error or self.trouble
        return word

    def _failure(self) -> TrainingFailed:
        """Why no further pass can be had. The code travels to the peers, the text stays here."""
        match self.trouble:
            case TrainingFailed() as failed:
                return failed
            case None:
                return TrainingFailed(f"the loop of site '{self.site}' ended after pass {self.n_passes}", code="left")
            case MemoryError():
                return TrainingFailed("out of memory", code="memory")
            case DataError() as error:
                return TrainingFailed(str(error), code="data")
            case error:
                return TrainingFailed(f"{type(error).__name__}: {error}")

    # --- the function's side ---------------------------------------------------------------------------------

    def say(self, word: Word) -> Answer:
        """Hand the baton to the loop; its answer."""
        self._words.put(word)
        return self._answers.get()

    def _live(self, function: Callable[[], Any]) -> None:
        _SEAT.set(self)
        try:
            self._words.put(Left(value=function()))
        except BaseException as error:  # noqa: BLE001 - told to the peers by its code, re-raised to the user
            self._words.put(Left(error=error))
