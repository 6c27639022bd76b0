"""Tier 0 of the audit: every update is attacked by its own site before it leaves.

Two attackers, both cheap. A division looks for this site's patients in the update itself. And where a model leaves for
others to read, its losses must not tell training patients from held-out ones: a few of each are looked at every round,
others every time, so that a run as a whole has looked at many. The figures stay at the site. An update in which a
patient stands exactly, and which neither masks nor noise protect, is not sent: `TrainingFailed`, code `leak`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Leaving
from cohortium.errors import TrainingFailed
from cohortium.privacy.leakage.inversion import Inversion, match, patients_per_neuron, recovered_rows
from cohortium.privacy.leakage.losses import patient_losses
from cohortium.privacy.leakage.membership import Membership, judge

__all__ = ["Watch", "Watched"]

_SHARE = 0.01  # of the training patients a round: predictions of so few cost a fraction of what training does
_FEWEST, _MOST = 4, 64
_HELD_OUT = 512
_NEURON_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What the site found in one update. members, others: scores of a few patients, higher is more like a member.

    norm: length of the change. neuron: patients the median neuron of the first layer saw, 0 where there is none.
    """

    inversion: Inversion
    norm: float
    members: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    others: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    neuron: float = 0.0


@dataclass(kw_only=True)
class Watch:
    """One site's attacks on its own updates. protected: masks or noise lie over what leaves. cause: of survival models.

    held_out: raw rows that were never trained on; a few are enough.
    """

    protected: bool
    held_out: Examples | None = None
    cause: int = 1
    found: list[Watched] = field(default_factory=list)
    _seen: tuple[Examples, Examples] | None = None

    def __call__(self, leaving: Leaving) -> None:
        """Attack one update. Raises TrainingFailed with code `leak` when it must not leave."""
        change = _change(leaving)
        rows = np.asarray(leaving.training.x, dtype=np.float64)
        inversion = match(recovered_rows(change, rows[0].size if len(rows) else 0), rows)
        members, others = self._scores(leaving)
        self.found.append(
            Watched(
                inversion=inversion,
                norm=math.sqrt(sum(float((array**2).sum()) for array in change.values())),
                members=members,
                others=others,
                neuron=_per_neuron(leaving),
            )
        )
        if inversion.n_recovered and not self.protected:
            raise TrainingFailed(
                "the update was not sent: rows of patients stand in it exactly, and nothing protects it",
                code="leak",
                hint="switch privacy.secure_aggregation on, train with privacy.dp, or use larger batches",
            )

    @property
    def inversion(self) -> Inversion:
        """All rounds together; a row counts once a round."""
        return sum((one.inversion for one in self.found), Inversion(n_rows=0, n_recovered=0, n_tried=0))

    @property
    def membership(self) -> Membership | None:
        """All rounds together: scores of each round are compared with that round's held-out patients."""
        rounds = [one for one in self.found if len(one.others)]
        if not rounds:
            return None
        levels = [float(np.median(one.others)) for one in rounds]
        members = np.concatenate([one.members - level for one, level in zip(rounds, levels, strict=True)])
        return judge(members, np.concatenate([one.others - level for one, level in zip(rounds, levels, strict=True)]))

    def _scores(self, leaving: Leaving) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        outside = None if self.protected or leaving.trained is None else self._outside(leaving)
        if leaving.trained is None or outside is None:
            return np.zeros(0), np.zeros(0)
        n = min(max(math.ceil(_SHARE * len(leaving.training)), _FEWEST), _MOST)
        few = [_some(rows, n, turn=len(self.found)) for rows in (leaving.training, outside)]
        members, others = (
            -patient_losses(leaving.learner.predict(leaving.trained, rows), rows, cause=self.cause) for rows in few
        )
        return members, others

    def _outside(self, leaving: Leaving) -> Examples | None:
        """Held-out rows as the model sees them, computed anew only when what goes before the model has changed."""
        if self.held_out is None or not len(self.held_out):
            return None
        if self._seen is None or self._seen[0] is not leaving.training:
            self._seen = leaving.training, leaving.see(_some(self.held_out, _HELD_OUT, turn=0))
        return self._seen[1]


def _change(leaving: Leaving) -> dict[str, NDArray[np.float64]]:
    """New minus old where the update is a model like the start, else the arrays as they are sent."""
    return {
        name: np.asarray(array, dtype=np.float64)
        - (np.asarray(leaving.start[name], dtype=np.float64) if _alike(leaving.start, name, array) else 0.0)
        for name, array in leaving.sent.items()
        if array.dtype.kind in "fi"
    }


def _alike(start: Parameters, name: str, array: NDArray[np.generic]) -> bool:
    return name in start and start[name].shape == array.shape


def _per_neuron(leaving: Leaving) -> float:
    """Of the first layer, where there is one that reads the rows."""
    rows = leaving.training.x
    if leaving.trained is None or not len(rows):
        return 0.0
    arrays = [np.asarray(array) for array in leaving.start.values()]
    for weight, bias in itertools.pairwise(arrays):
        if weight.ndim == 2 and weight.shape[1] == rows[0].size and bias.shape == weight.shape[:1] and len(bias) > 1:
            return patients_per_neuron(weight, bias, np.asarray(rows[:_NEURON_ROWS], dtype=weight.dtype))
    return 0.0


def _some(examples: Examples, n: int, *, turn: int) -> Examples:
    """All rows of n patients, evenly over the table because tables may be sorted, and others in every turn."""
    patients = np.unique(examples.patient)
    if len(patients) <= n:
        return examples
    step = len(patients) // n
    chosen = patients[(turn + step * np.arange(n)) % len(patients)]
    return examples.take(np.isin(examples.patient, chosen))
