"""The audit of the sites' data before a simulated training: a run of its own, then what its verdicts change.

The nodes, the ledger and the masks of the study carry the audit; its evidence is the final state of that run, so every
node attests the verdicts. What follows is the study's `on_harm`: nothing, the named repairs and a second audit, or a
training without the convicted sites. Test patients of a site that is left out are not measured: their labels are
what is in doubt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, concatenate
from cohortium.core.private import PrivacyTerms
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.core.verdicts import Verdict
from cohortium.errors import Problem, StudyError, UsageError
from cohortium.privacy.dp.terms import audit_terms, sentences
from cohortium.quality.agreement import Agreement
from cohortium.quality.decide import Table
from cohortium.quality.out_of_bag import Cost
from cohortium.quality.repairs import find_repair
from cohortium.quality.shown_models import EXCHANGES
from cohortium.quality.study import check_audited
from cohortium.quality.travelling import RelaySite, Travelling, complete
from cohortium.reports.changes import changes
from cohortium.reports.observed import Observed
from cohortium.reports.panel import measure_all
from cohortium.reports.quality import AuditCost, Effect, QualityRecord, SiteVerdict
from cohortium.reports.record import Results
from cohortium.sim.auditing import (
    audit_program,
    audit_seed,
    audit_study,
    detector_of,
    first_rows,
    noisy_detector_of,
    proof_in,
    records_of,
    run_audit,
    run_noisy_audit,
)
from cohortium.sim.comparison import SiteRows, TrainedModel, train_plainly
from cohortium.sim.elimination import eliminated, try_without
from cohortium.sim.evaluation import score
from cohortium.sim.purses import Purses
from cohortium.sim.swarm import SwarmRun

__all__ = ["Screened", "screen_sites", "why_silent", "with_effects", "without_suspects"]

_TOLD = ("auroc", "auroc_within", "sensitivity", "specificity", "brier")


@dataclass(frozen=True, kw_only=True, eq=False)
class Screened:
    """What the audit leaves. rows: of the sites that train, as they train; as_they_came: of all sites, with the

    training rows nobody touched. runs: the swarms of the audits; told: their evidence, JSON, where it can be checked
    against their ledgers. record: None where the study names no detector.
    terms: of the audit that was made with noise; what a report says of it are promises.
    """

    rows: list[SiteRows]
    as_they_came: list[SiteRows] = field(default_factory=list)
    runs: tuple[SwarmRun, ...] = ()
    told: tuple[str, ...] = ()
    record: QualityRecord | None = None
    terms: tuple[PrivacyTerms, ...] = ()

    @property
    def promises(self) -> tuple[str, ...]:
        """What a report says of the privacy of the audit itself."""
        return tuple(f"the audit of the sites' data: {sentences(one, simulated=True)[0]}" for one in self.terms)

    @property
    def changed(self) -> bool:
        """Whether the training is another one than without the audit."""
        came = {one.site: one.training for one in self.as_they_came}
        return self.record is not None and {one.site: one.training for one in self.rows} != came


@dataclass(frozen=True, kw_only=True, eq=False)
class _Audit:
    """table: the verdicts; suspicion: of a site's own records; run: None where no node was needed; told: the evidence,

    JSON, to be checked against the ledger of the run.
    """

    table: Table
    cost: Cost
    flagged: Mapping[str, int] = field(default_factory=dict)
    suspicion: Callable[[str], NDArray[np.float64]] | None = None
    run: SwarmRun | None = None
    told: str = ""

    @property
    def sites(self) -> dict[str, Verdict]:
        return {one.site: one for one in self.table.verdicts}

    @property
    def left_out(self) -> list[str]:
        return [one.site for one in self.table.verdicts if one.left_out]

    def votes(self, site: str) -> int:
        """Sites that put this verdict on the ledger; all of them compute the same."""
        events = () if self.run is None else self.run.events
        return sum(event.name == "HarmRecorded" and event.args["subject"] == site for event in events)


def screen_sites(
    study: Study,
    rows: Sequence[SiteRows],
    *,
    chance: Chance,
    say: Callable[[str], None] = lambda _: None,
    purses: Purses | None = None,
) -> Screened:
    """Audit the sites' records and do what the study says. purses: from which sites pay for an audit under noise, which

    is skipped where one of them cannot. Raises StudyError where it cannot be done.
    """
    plan = study.quality
    if plan.detector == "none":
        return Screened(rows=list(rows))
    check_audited(study, sites=[one.site for one in rows], outcome=rows[0].training.layout.outcome)
    say(f"auditing the data of {len(rows)} sites before they train: {plan.detector}")
    audits = [_audit(study, rows, chance=chance, number=1, say=say, purses=purses)]
    first, now = audits[0], list(rows)
    repaired = {one.site: one.repair for one in first.table.verdicts if one.kind == "repair"}
    repaired = repaired if plan.on_harm == "repair" else {}
    for site, name in repaired.items():
        say(f"{site}: {first.sites[site].reason}; repaired: {name}")
    if repaired:
        now = [_mended(one, repaired[one.site]) if one.site in repaired else one for one in rows]
        audits.append(_audit(study, now, chance=chance, number=2, say=say))
    last = audits[-1]
    left_out = last.left_out if plan.on_harm != "report" else []
    for site in left_out:
        say(f"{site}: {last.sites[site].reason}; does not train")
    trial, gone = None, frozenset[str]()
    if plan.on_harm == "eliminate" and (convicted := [s for s in left_out if last.sites[s].convicted]):
        say(f"paired trial: three trainings with and three without {', '.join(convicted)}")
        trial = try_without(study, now, convicted, verdicts=last.sites, suspicion=last.suspicion)
        gone = frozenset(convicted) if trial.passed else gone
        say(f"the trial {'passed' if gone else 'did not pass'}: {', '.join(convicted)} {_fate(gone)}")
    held = [one for one in now if one.site not in left_out]
    if plan.exclude_records == "local" and last.suspicion is not None:
        held = [without_suspects(one, last.suspicion(one.site), convict=plan.convict) for one in held]
    if not repaired and not left_out:
        say(_calm(first.table))
    tested = {one.site: one for one in now}
    came = [replace(one, calibration=tested[one.site].calibration, test=tested[one.site].test) for one in rows]
    return Screened(
        rows=held,
        as_they_came=came,
        runs=tuple(one.run for one in audits if one.run is not None),
        told=tuple(one.told for one in audits if one.told),
        record=eliminated(_record(study, audits, repaired, left_out), gone, trial),
        terms=_terms(study, first),
    )


def with_effects(
    study: Study,
    screened: Screened,
    under: Results,
    *,
    chance: Chance,
    engine: str,
    model: TrainedModel | None = None,
) -> QualityRecord | None:
    """What the audit found, and what acting on it did to the model; None without an audit. model: under the verdicts,

    for the difference of both on the same patients.
    """
    if screened.record is None:
        return None
    effects = _effects_of(study, screened, under, chance=chance, engine=engine, model=model)
    return replace(screened.record, effects=effects)


def _effects_of(
    study: Study, screened: Screened, under: Results, *, chance: Chance, engine: str, model: TrainedModel | None
) -> tuple[Effect, ...]:
    """The figures of the model as it would be without the audit, beside those under it, on the same test patients."""
    if not screened.changed:
        return ()
    untouched = train_plainly(study, screened.as_they_came, chance=chance, engine=engine)
    tested = [one for one in screened.rows if len(one.test)]
    observed = Observed.of({one.site: one.test for one in tested})
    scores = score({"swarm": untouched}, tested)["swarm"]
    before = observed.stack(scores)
    without = measure_all(before, observed, rng=chance.stream("bootstrap", "audit"))
    changed = {}
    if model is not None:
        after = observed.stack(score({"swarm": model}, tested)["swarm"])
        changed = changes(before, after, observed, rng=chance.stream("bootstrap", "audit", "difference"))
    names = [name for name in _TOLD if name in without and name in under.swarm]
    return tuple(
        Effect(name=name, without=without[name], under=under.swarm[name], difference=changed.get(name))
        for name in names
    )


def _audit(
    study: Study,
    rows: Sequence[SiteRows],
    *,
    chance: Chance,
    number: int,
    say: Callable[[str], None],
    purses: Purses | None = None,
) -> _Audit:
    """One audit; out of bag, a run of its own: the same sites, columns and masks, another thing to learn."""
    plan, records = study.quality, {one.site: records_of(one) for one in rows}
    seed = audit_seed(chance, number)
    if plan.detector == "agreement":
        n = len(rows)
        cost = Cost(training_steps_ratio=1.0, model_transfers=EXCHANGES * n, exchanges=EXCHANGES)
        return _Audit(table=Agreement().run(records, seed=seed), cost=cost)
    if plan.detector == "travelling":
        return _travelled(study, rows, seed=seed)
    if plan.dp is not None:
        return _noisy_audit(study, records, seed=seed, purses=purses, say=say)
    try:
        asked, detector = audit_study(study), detector_of(plan)
        found, run = run_audit(asked, records, detector=detector, seed=seed, kinds=plan.repairs, say=say)
    except (ValueError, UsageError) as error:  # an anchor or a repair that is not there
        raise StudyError([Problem("quality", str(error))]) from None
    program = audit_program(asked, records[min(records)].layout, sites=list(records), detector=detector,
                            chance=Chance(seed, secrets_from_system=False), kinds=plan.repairs)  # fmt: skip
    told = {**json.loads(found.table.canonical()), "digest": found.table.digest.hex(),
            **proof_in(plan, program, run.state)}  # fmt: skip
    return _Audit(table=found.table, cost=found.cost, flagged=found.flagged, suspicion=found.suspicion, run=run,
                  told=json.dumps(told, indent=1) + "\n")  # fmt: skip


def _noisy_audit(
    study: Study, records: Mapping[str, Examples], *, seed: int, purses: Purses | None, say: Callable[[str], None]
) -> _Audit:
    """One audit under differential privacy, if all sites can pay for it."""
    asked, detector = audit_study(study), noisy_detector_of(study)
    assert detector is not None  # noqa: S101 - the study asks for noise
    layout, chance = records[min(records)].layout, Chance(seed, secrets_from_system=False)
    try:
        program = audit_program(asked, layout, sites=sorted(records), detector=detector, chance=chance)
    except UsageError as error:
        raise StudyError([Problem("quality", str(error))]) from None
    if purses is not None and (short := purses.short_of(asked, program)):
        say(f"the audit is skipped: {short}")
        kept = [
            Verdict(site=site, kind="keep", posterior=0.0, channel="sound", reason=f"the audit was skipped: {short}")
            for site in sorted(records)
        ]
        table = Table(status="inconclusive", auroc=0.5, slope=0.0, verdicts=tuple(kept))
        return _Audit(table=table, cost=Cost(training_steps_ratio=0.0, model_transfers=0, exchanges=0))
    found, run = run_noisy_audit(
        asked,
        records,
        detector=detector,
        seed=seed,
        budgets=lambda site, consortium: None if purses is None else purses.of(asked, program, site, consortium),
    )
    return _Audit(table=found.table, cost=found.cost, run=run)


def _terms(study: Study, audit: _Audit) -> tuple[PrivacyTerms, ...]:
    """Of an audit under noise that was made; there is no second one."""
    if study.quality.dp is None or audit.run is None:
        return ()
    return (audit_terms(study.quality.dp.epsilon, study.quality.dp.delta, n_sites=len(audit.table.verdicts)),)


def _travelled(study: Study, rows: Sequence[SiteRows], *, seed: int) -> _Audit:
    """The published quality control from a dirty start: calibration patients decide, test patients measure."""
    plan = study.quality
    parts = complete({one.site: [_once(one.training), _once(one.calibration), _once(one.test)] for one in rows})
    sites = {site: RelaySite(training=some[0], held_out=some[1]) for site, some in parts.items()}
    detector = Travelling(start="dirty", cycles=plan.cycles, tolerance=plan.tolerance, learning_rate=plan.learning_rate)
    found = detector.run(sites, seed=seed, test=concatenate([some[2] for some in parts.values()]))
    return _Audit(
        table=found.table,
        cost=Cost(training_steps_ratio=found.training_steps_ratio, model_transfers=found.model_transfers,
                  exchanges=found.journey.evaluations),
        flagged=found.records_flagged,
        suspicion=lambda site: found.journey.relay.banned[site].astype(np.float64),
    )  # fmt: skip


def _once(examples: Examples) -> Examples:
    return examples.take(first_rows(examples.patient))


def _mended(one: SiteRows, name: str) -> SiteRows:
    repair = find_repair(name, one.training.layout)
    return replace(
        one,
        training=repair.apply(one.training),
        calibration=repair.apply(one.calibration),
        test=repair.apply(one.test),
    )


def without_suspects(one: SiteRows, suspicion: NDArray[np.float64], *, convict: float) -> SiteRows:
    """The site without those of its own training records that are wrong with more than this probability."""
    _, first = np.unique(one.training.patient, return_index=True)
    judged = np.sort(first)
    suspects = one.training.patient[judged[suspicion[: len(judged)] > convict]]
    keep = ~np.isin(one.training.patient, suspects)
    return one if keep.all() else replace(one, training=one.training.take(keep))


def _record(
    study: Study, audits: Sequence[_Audit], repaired: Mapping[str, str], left_out: Sequence[str]
) -> QualityRecord:
    first, last = audits[0], audits[-1]
    return QualityRecord(
        status=first.table.status,
        detector=study.quality.detector,
        on_harm=study.quality.on_harm,
        why=why_silent(first.table),
        sites={site: _told(one, first) for site, one in first.sites.items()},
        records_flagged={site: first.flagged.get(site) for site in first.sites},
        cost=AuditCost(
            training_steps_ratio=sum(one.cost.training_steps_ratio for one in audits),
            model_transfers=sum(one.cost.model_transfers for one in audits),
        ),
        repaired=dict(repaired),
        again={site: _told(last.sites[site], last) for site in repaired},
        left_out=tuple(left_out),
    )


def _told(one: Verdict, audit: _Audit) -> SiteVerdict:
    return SiteVerdict(
        verdict=one.kind,
        posterior=one.posterior,
        reason=one.reason,
        repair=one.repair,
        gain=one.gain,
        look=one.look,
        question=one.question,
        votes=audit.votes(one.site),
        to_sign=one.to_sign,
    )


def _fate(gone: frozenset[str]) -> str:
    return "is eliminated" if gone else "stays in quarantine"


def why_silent(found: Table) -> str:
    """Why nothing can be said; empty where something can."""
    return found.verdicts[0].reason if found.status == "inconclusive" else ""


def _calm(found: Table) -> str:
    if found.status == "inconclusive":
        return f"the audit is inconclusive: {why_silent(found)}"
    accused = [one.site for one in found.verdicts if one.kind not in ("keep", "keep-shifted")]
    if accused:
        return f"the data of {', '.join(accused)} look harmful; they train all the same"
    return "no site's data look harmful"
