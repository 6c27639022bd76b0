"""The paired trial before a site in quarantine is eliminated: the study's own training, three times with and without.

Judged on calibration patients of sites nobody accuses, and only on those whose own records are trusted: test patients
measure the model in the end and decide nothing. Not passed means that the site stays in quarantine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, concatenate
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.core.verdicts import Verdict
from cohortium.errors import CohortiumError, UsageError
from cohortium.quality.evidence import SUSPECT
from cohortium.quality.paired_trial import Comparison, run_trial
from cohortium.reports.quality import QualityRecord, SiteVerdict, TrialFigure, TrialRecord
from cohortium.sim.auditing import first_rows
from cohortium.sim.comparison import SiteRows, train_plainly

__all__ = ["eliminated", "trusted_rows", "try_without"]

Suspicion = Callable[[str], NDArray[np.float64]]


def try_without(
    study: Study,
    rows: Sequence[SiteRows],
    quarantined: Collection[str],
    *,
    verdicts: Mapping[str, Verdict],
    suspicion: Suspicion | None = None,
    seeds: Sequence[int] = (0, 1, 2),
) -> TrialRecord:
    """The trial of these sites. suspicion: of a site's records, as the audit knows them; None: all are trusted."""
    by_site = {one.site: one for one in rows}
    accused = [site for site, one in verdicts.items() if one.look or one.kind not in ("keep", "keep-shifted")]
    trusted = {} if suspicion is None else {s: trusted_rows(one, suspicion(s)) for s, one in by_site.items()}

    def train(sites: Mapping[str, Examples], seed: int) -> Callable[[str, Examples], NDArray[np.float64]]:
        chosen = [replace(by_site[site], training=held) for site, held in sorted(sites.items())]
        model = train_plainly(study, chosen, chance=Chance(seed, secrets_from_system=False))
        return lambda site, patients: model.scores(by_site[site], patients)

    told = tuple(sorted(quarantined))
    try:
        found = run_trial(
            {site: one.training for site, one in by_site.items()},
            {site: one.calibration for site, one in by_site.items()},
            quarantined=quarantined,
            accused=accused,
            train=train,
            trusted=trusted,
            seeds=seeds,
        )
    except UsageError as error:
        return TrialRecord(sites=told, why=str(error))
    except (CohortiumError, ArithmeticError) as error:
        return TrialRecord(sites=told, why=f"a training failed ({type(error).__name__})")
    return TrialRecord(
        sites=told,
        judges=found.n_sites,
        whole=_figure(found.whole),
        subgroups={name: _figure(one) for name, one in found.subgroups.items()},
        endangered=found.endangered,
        passed=found.passed,
    )


def trusted_rows(one: SiteRows, suspicion: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which calibration rows are of patients whose record is more likely right than wrong.

    suspicion: one number a patient, in the order of `records_of`.
    """
    patient = concatenate([one.training, one.calibration, one.test]).patient
    suspects = patient[first_rows(patient)[suspicion > SUSPECT]]
    return ~np.isin(patient[len(one.training) :][: len(one.calibration)], suspects)


def eliminated(record: QualityRecord, gone: Collection[str], trial: TrialRecord | None) -> QualityRecord:
    """The record with the trial in it, and `eliminate` as the verdict on those whom it cost their place."""
    if trial is None:
        return record

    def told(site: str, one: SiteVerdict) -> SiteVerdict:
        return replace(one, verdict="eliminate") if site in gone else one

    return replace(
        record,
        trial=trial,
        sites={site: told(site, one) for site, one in record.sites.items()},
        again={site: told(site, one) for site, one in record.again.items()},
    )


def _figure(one: Comparison) -> TrialFigure:
    return TrialFigure(gain=one.gain, low=one.lower, high=one.upper)
