"""What a strategy asks of a site, and what the site answers: `Instructions`, `Fitted`, `Update`, `Aggregate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivateSteps
from cohortium.errors import InvariantBroken

__all__ = ["MAX_WEIGHT", "Aggregate", "Beside", "Fitted", "Instructions", "Turn", "Update"]

MAX_WEIGHT = 1 << 29
"""Largest weight of an update: a float32 times such an integer is exact in float64."""

_NONE = Parameters()


@dataclass(frozen=True, kw_only=True, eq=False)
class Beside:
    """What a learner gets of its site beside training rows, where it says so (`seams.Looking`).

    held_out: rows that train nothing, as the running stage sees them. entropy: n bytes that nobody else can know.
    """

    site: str
    held_out: Examples
    entropy: Callable[[int], bytes]


@dataclass(frozen=True, kw_only=True)
class Instructions:
    """One local training, as the strategy wants it. A learner obeys or refuses with StudyError.

    start: parameters to train from; None = the round's shared parameters.
    local_epochs: passes over the training rows. max_steps: stop after so many batches, None = never.
    learning_rate_factor: multiplies the learner's own rate.
    proximal: mu of mu/2 |w - anchor|^2 added to the loss; anchor: None = the round's shared parameters.
    correction: added to every gradient (SCAFFOLD's c - c_i); needs plain SGD at a constant rate.
    plain_sgd: the learner must use SGD without momentum at a constant rate.
    frozen: names of arrays that stay as they are.
    private: train so that no patient shows; then its steps replace passes and batches.
    beside: for a learner that looks at more of its site than training rows.
    """

    start: Parameters | None = None
    local_epochs: int = 1
    max_steps: int | None = None
    learning_rate_factor: float = 1.0
    proximal: float = 0.0
    anchor: Parameters | None = None
    correction: Parameters | None = None
    plain_sgd: bool = False
    frozen: tuple[str, ...] = ()
    private: PrivateSteps | None = None
    beside: Beside | None = None


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What one local training gave.

    parameters: the trained weights, or the sums a learner by sums answers with.
    n_samples: training rows used. steps: batches taken. learning_rate: the rate of plain SGD, else 0.
    loss: mean loss of the *start* on the training rows (so that all sites can stop alike); NaN if undefined.
    clipping_norm: where private training with a moving norm ended, else 0.
    memory: of sums: what the site will remember if the merge lists it (never sent).
    """

    parameters: Parameters
    n_samples: int
    steps: int = 1
    learning_rate: float = 0.0
    loss: float = float("nan")
    clipping_norm: float = 0.0
    memory: Parameters = _NONE


@dataclass(frozen=True, kw_only=True)
class Update:
    """One site's contribution to one round: arrays and an integer weight of 1 to 2^29.

    memory: what the site itself will remember if the merge lists it (never sent). salt: 16 bytes, with which the site
    has committed it, known where its answer is public.
    """

    site: str
    parameters: Parameters
    weight: int
    memory: Parameters = field(default=_NONE, compare=False)
    salt: bytes = field(default=b"", compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.weight <= MAX_WEIGHT:
            raise ValueError(f"weight of {self.site!r} must be 1 to 2^29, got {self.weight}")


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """What a merge may use: the exact weighted sum, and single updates only where nothing hides them.

    total: sum over contributors of weight_i * update_i, float64 (int64 arrays stay int64).
    weight: sum of weights. contributors: site names, sorted. groups: the sums it is made of, where sites are added up
    in fixed groups; none of them hold groups or single updates. shown: under masks, in an exchange whose answers are
    declared public, each contributor's update as it has committed it, sorted by site.
    """

    total: Parameters
    weight: int
    contributors: tuple[str, ...]
    single: tuple[Update, ...] | None = None
    groups: tuple[Aggregate, ...] = ()
    shown: tuple[Update, ...] = ()

    @property
    def updates(self) -> Sequence[Update]:
        """Single updates sorted by site. Raises InvariantBroken where only the sum was revealed."""
        if self.single is None:
            raise InvariantBroken("a strategy that declares `sums = True` asked for single updates")
        return self.single


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Where a strategy stands: the site half gets all of it, the leader half no site and no memory.

    round: counts from 0 within the stage. sites: all joiners of the run, sorted.
    start: the round's shared model. state: the strategy's shared state (travels with the merge).
    memory: this site's private arrays, empty before its first merge. draw: a seed all nodes share.
    n_samples: this site's training rows (0 at the leader half).
    """

    round: int
    sites: tuple[str, ...]
    start: Parameters
    state: Parameters = _NONE
    site: str = ""
    memory: Parameters = _NONE
    draw: int = 0
    n_samples: int = 0
