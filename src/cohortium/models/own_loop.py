"""`own-loop`: weights that each site's own code trains; this learner only hands them over and takes them back.

In a study it stands alone (`[model] name = "own-loop"`): what the code is, each site knows itself. `entry.loop` gives
it the first weights and the function that lets the site's loop make one pass. It cannot predict, and it obeys one
instruction only: one ordinary training from given weights, or none (`max_steps = 0`). Everything else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import InvariantBroken, Problem, StudyError

__all__ = ["OwnLoop", "beyond_a_loop"]

_NAME = "own-loop"


@dataclass(frozen=True, kw_only=True)
class OwnLoop:
    """The user's weights. start: the first ones; train: one pass of the site's loop. Neither belongs in a study."""

    start: Parameters | None = None
    train: Callable[[Parameters], Fitted] | None = None

    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        if self.start is not None and not isinstance(self.start, Parameters):
            raise ValueError(f"start comes from the site's own loop, the study cannot set it, got {self.start!r:.40}")
        if self.train is not None and not callable(self.train):
            raise ValueError(f"train comes from the site's own loop, the study cannot set it, got {self.train!r:.40}")

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """The first weights. Raises StudyError where no loop has brought any."""
        if self.start is None:
            raise _no_loop()
        return self.start

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """One pass of the site's loop. Raises TrainingFailed when it could not finish, StudyError what it cannot do."""
        if instructions.max_steps == 0:
            return Fitted(parameters=start, n_samples=1, steps=0)
        if wanted := beyond_a_loop(instructions):
            raise StudyError([Problem("strategy.name", f"the merge needs {wanted}, which an own loop cannot be given")])
        if self.train is None:
            raise _no_loop()
        return self.train(start)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Not by sums."""
        raise InvariantBroken(f"model '{_NAME}' learns by weights; it has no leader half")

    def finished(self, parameters: Parameters) -> bool:
        """Never: the strategy's rounds decide."""
        return False

    def predict(self, parameters: Parameters, examples: Examples) -> NDArray[np.float64]:
        """Not here: only the site's own code knows what the weights mean."""
        raise _no_loop()

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """Roles of arrays are not known."""
        return {}


def beyond_a_loop(instructions: Instructions) -> str:
    """What an own loop cannot do of what a strategy asks, in words; empty when it can obey."""
    if instructions.max_steps == 0:
        return ""
    wanted = {
        "a proximal term in the loss": instructions.proximal != 0,
        "a correction of every gradient": instructions.correction is not None,
        "plain SGD": instructions.plain_sgd,
        "another learning rate": instructions.learning_rate_factor != 1,
        "frozen arrays": bool(instructions.frozen),
        "an agreed number of batches": instructions.max_steps is not None,
        "an agreed number of passes": instructions.local_epochs != 1,
    }
    return next((words for words, asked in wanted.items() if asked), "")


def _no_loop() -> StudyError:
    message = f"'{_NAME}' is trained by each site's own code; use co.rehearse(study, sites={{name: function}})"
    return StudyError([Problem("model.name", message)])
