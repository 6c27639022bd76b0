"""Who takes part in a step: every patient alone, with the same probability, whatever the others do.

This is the sampling that the accountant's events mean (`poisson-gaussian`); shuffled passes are not, and no other
sampler hands rows to a private learner. An empty draw is a step too: noise only. Of a patient with several records one
is drawn at random, so that nobody counts twice. Design: privacy.md section 5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.privacy.dp.noise import SecretStream

__all__ = ["PatientSampler", "public_size"]

Integers = NDArray[np.int64]

_ROUNDED_TO = 10


def public_size(n_patients: int) -> int:
    """What is told of a site's number of patients: rounded down to tens, at least 10."""
    return max(_ROUNDED_TO, n_patients - n_patients % _ROUNDED_TO)


class PatientSampler:
    """Poisson sampling over the patients of some rows. patient: (n,) index, equal for rows of one patient."""

    def __init__(self, patient: Integers) -> None:
        self._by_patient = np.argsort(patient, kind="stable")
        _, self._first, self._records = np.unique(patient[self._by_patient], return_index=True, return_counts=True)

    @property
    def n_patients(self) -> int:
        """Patients there are."""
        return len(self._first)

    def draw(self, rate: float, stream: SecretStream) -> Integers:
        """One row of each patient drawn, in the order of patients; often none."""
        if not 0 < rate <= 1:
            raise ValueError(f"sample rate must be above 0 and at most 1, got {rate}")
        chosen = np.flatnonzero(stream.uniform(self.n_patients) < rate)
        which = stream.below(self._records[chosen].astype(np.int64))
        rows: Integers = self._by_patient[self._first[chosen] + which].astype(np.int64)
        return rows
