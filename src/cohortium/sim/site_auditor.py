"""A site's own auditor in one run: it watches every update, and attacks the model when the run is over.

Simulated sites and hospitals' nodes use the same one. Figures stay here; verdicts and a digest go to the ledger.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, concatenate
from cohortium.core.parameters import Parameters
from cohortium.core.study import Study
from cohortium.privacy.leakage.losses import patient_losses
from cohortium.privacy.leakage.site_audit import CODES, Claim, SiteAudit, audit_site
from cohortium.privacy.leakage.twin import memorised
from cohortium.privacy.leakage.verdict import Thresholds
from cohortium.privacy.leakage.watch import Watch
from cohortium.sim.round_measures import cause_of
from cohortium.swarm.ports import Audited
from cohortium.swarm.program import Program, SiteWork

__all__ = ["SiteAuditor", "affordable", "claim_of", "evenly", "thresholds_of"]

Floats = NDArray[np.float64]

_CONTROLS = 250
_LEAST, _MOST = 100, 1_000  # patients of either side: as many members as others, within these
_LARGE = 100_000  # parameters from which a prediction is worth counting


def thresholds_of(study: Study) -> Thresholds:
    """What the study's members agreed a released model may not exceed."""
    return Thresholds(auc=study.privacy.audit.max_auc, tpr=study.privacy.audit.max_tpr)


def claim_of(program: Program) -> Claim:
    """What the run promises each patient; nothing without noise, and nothing for patients where sites are hidden."""
    terms = program.privacy
    if terms is None or terms.unit != "patient":
        return Claim()
    return Claim(epsilon=terms.epsilon, delta=terms.delta)


class SiteAuditor:
    """watch: for the site's work. audit, inside, outside, control: of the finished run, once it was audited.

    held_out: raw rows nobody trained on; they serve as people not in the data. shuffled(n): 0 to n - 1 in random order.
    """

    def __init__(
        self, study: Study, program: Program, *, held_out: Examples, shuffled: Callable[[int], NDArray[np.int64]]
    ) -> None:
        protected = study.privacy.masked(len(program.sites)) or study.privacy.dp is not None
        self._cause = cause_of(program.learner)
        self.watch = Watch(protected=protected, held_out=held_out, cause=self._cause)
        self.audit: SiteAudit | None = None
        self.inside = self.outside = np.zeros(0)
        self.control = (np.zeros(0), np.zeros(0))
        self._thresholds, self._claim = thresholds_of(study), claim_of(program)
        self._held_out, self._shuffled = held_out, shuffled

    def close(self, work: SiteWork, state: Parameters) -> tuple[Audited, ...]:
        """Attack the model of this state, once; what the ledger is told of it, nothing where there is no model."""
        if self.audit is None:
            self._attack(work, state)
        audit = self.audit
        return () if audit is None else tuple(_said(audit, tier) for tier in (0, 1))

    def _attack(self, work: SiteWork, state: Parameters) -> None:
        program = work.program
        if program.position(state)[0] < len(program.stages) - 1:
            return
        most = affordable(
            sum(array.size for array in program.model(state).values()),
            n_trained=len(work.training),
            rounds=program.stages[-1].max_rounds,
            learns_by=program.learner.learns_by,
        )
        chosen = evenly(work.training, min(max(len(self._held_out), _LEAST), most))
        both = work.view(state, concatenate([chosen, evenly(self._held_out, most)]))  # once: a large model costs
        predicted = program.learner.predict(work.personal(state), both) if len(both) else np.zeros(0)
        inside = np.arange(len(both)) < len(chosen)
        training, others = both.take(inside), both.take(~inside)
        self.inside, self.outside = (
            patient_losses(predicted[side], rows, cause=self._cause) if len(rows) else np.zeros(0)
            for side, rows in ((inside, training), (~inside, others))
        )
        self.control = (self._twin(training, training), self._twin(training, others))
        self.audit = audit_site(
            self.watch,
            inside=self.inside,
            outside=self.outside,
            control=self.control,
            claim=self._claim,
            thresholds=self._thresholds,
            shuffled=self._shuffled,
        )

    def _twin(self, training: Examples, rows: Examples) -> Floats:
        """Losses of a model that knows the training patients by heart; few of them are enough for a control."""
        known, asked = (one.take(np.arange(min(len(one), _CONTROLS))) for one in (training, rows))
        if not len(known) or not len(asked):
            return np.zeros(0)
        return patient_losses(memorised(known, asked), asked, cause=self._cause)


def affordable(n_parameters: int, *, n_trained: int, rounds: int, learns_by: str) -> int:
    """Patients of either side that are looked at, 1,000 at most.

    Of a large model so many that predicting them costs one percent of its training, where in each round every patient
    was predicted and two gradients were made; but never fewer than 100, which say nothing.
    """
    if learns_by == "sums" or n_parameters < _LARGE:
        return _MOST
    return min(max(3 * n_trained * rounds // 200, _LEAST), _MOST)


def evenly(examples: Examples, n: int) -> Examples:
    """At most n patients, evenly over the table, with all their rows."""
    patients = np.unique(examples.patient)
    if len(patients) <= n:
        return examples
    chosen = patients[np.linspace(0, len(patients) - 1, n).astype(np.int64)]
    return examples.take(np.isin(examples.patient, chosen))


def _said(audit: SiteAudit, tier: int) -> Audited:
    return Audited(tier=tier, verdict=CODES[audit.verdict(tier)], digest=audit.digest(tier))
