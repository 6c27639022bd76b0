"""Tier 0 of the audit: every update is attacked by its own site before it leaves.

Two attackers, both cheap. A division looks for this site's patients in the update itself: in every update that others
could read, and in every fifth that leaves under masks or noise, where it stops nothing. And where a model leaves for
others to read, its losses must not tell training patients from held-out ones: a few of each are looked at in every
fifth round, others every time, so that a run as a whole has looked at many. The figures stay at the site. An update
in which a patient stands exactly, and which neither masks nor noise protect, is not sent: `TrainingFailed`, `leak`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, concatenate
from cohortium.core.seams import Leaving
from cohortium.errors import TrainingFailed
from cohortium.privacy.leakage.inversion import Inversion, Wanted, patients_per_neuron, search
from cohortium.privacy.leakage.losses import patient_losses
from cohortium.privacy.leakage.membership import Membership, judge

__all__ = ["Watch", "Watched"]

_EVERY = 5  # updates: loading a model to predict costs, so several rounds' share is looked at together
_SHARE = 0.05  # of the training patients: predictions of so few cost a fraction of what five trainings do
_FEWEST, _MOST = 8, 256
_HELD_OUT = 512
_NEURON_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What the site found in one update. members, others: scores of a few patients, higher is more like a member.

    neuron: patients the median neuron of the first layer saw before the first training, 0 where there is none.
    """

    inversion: Inversion
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
    _wanted: tuple[Examples, Wanted] | None = None

    def __call__(self, leaving: Leaving) -> None:
        """Attack one update. Raises TrainingFailed with code `leak` when it must not leave."""
        if self._wanted is None or self._wanted[0] is not leaving.training:
            self._wanted = leaving.training, Wanted(leaving.training.x)
        looked_at = not self.protected or len(self.found) % _EVERY == 0
        nothing = Inversion(n_rows=0, n_recovered=0, n_tried=0)
        inversion = search(leaving.sent, leaving.start, self._wanted[1]) if looked_at else nothing
        members, others = self._scores(leaving)
        neuron = self.found[0].neuron if self.found else _per_neuron(leaving)
        self.found.append(Watched(inversion=inversion, members=members, others=others, neuron=neuron))
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
        due = not self.protected and len(self.found) % _EVERY == 0
        outside = self._outside(leaving) if due and leaving.trained is not None else None
        if leaving.trained is None or outside is None:
            return np.zeros(0), np.zeros(0)
        n = min(max(math.ceil(_SHARE * len(leaving.training)), _FEWEST), _MOST)
        few = [_some(rows, n, turn=len(self.found) // _EVERY) for rows in (leaving.training, outside)]
        both = concatenate(few)
        losses = -patient_losses(leaving.learner.predict(leaving.trained, both), both, cause=self.cause)
        n_inside = len(np.unique(few[0].patient[_known(few[0])]))
        return losses[:n_inside], losses[n_inside:]

    def _outside(self, leaving: Leaving) -> Examples | None:
        """Held-out rows as the model sees them, computed anew only when what goes before the model has changed."""
        if self.held_out is None or not len(self.held_out):
            return None
        if self._seen is None or self._seen[0] is not leaving.training:
            self._seen = leaving.training, leaving.see(_some(self.held_out, _HELD_OUT, turn=0))
        return self._seen[1]


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


def _known(examples: Examples) -> NDArray[np.bool_]:
    """Rows with an outcome."""
    return np.ones(len(examples), dtype=bool) if examples.y is None else np.isfinite(examples.y)
