"""An audit as an ordinary run: the unchanged round machine, ledger and masks carry the stages of a detector by sums.

    result, run = run_audit(study, {"porto": examples, ...}, detector=OutOfBag(), seed=0)

Every node commits, exchanges, merges and attests as in any run; the merged state of the last round holds the evidence
table, from which every node computes the same verdicts. In a simulation the rows of all sites are in this process, so
the result also shows each site's own records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.assembly import public_scale
from cohortium.core.examples import Examples, Layout, concatenate
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.seams import Budget
from cohortium.core.study import DpPlan, ModelPlan, QualityPlan, StrategyPlan, Study
from cohortium.core.verdicts import CODES
from cohortium.errors import UsageError
from cohortium.privacy.dp.accounting import micro
from cohortium.quality.agreement import Agreement, table_of
from cohortium.quality.decide import Table
from cohortium.quality.learner import Audit
from cohortium.quality.noisy_audit import NoisyAuditor, NoisyOutOfBag, NoisyResult
from cohortium.quality.out_of_bag import AuditResult, OutOfBag
from cohortium.quality.pool import pool_of
from cohortium.quality.proof import proof_of
from cohortium.quality.repairs import KINDS, library
from cohortium.quality.shown_models import ShownModels
from cohortium.quality.stages import Auditor
from cohortium.sim.comparison import SiteRows
from cohortium.sim.swarm import Setting, SwarmRun, run_swarm
from cohortium.strategies.exact_sums import ExactSums
from cohortium.swarm.notices import Notice, RoundRecord
from cohortium.swarm.ports import Judged
from cohortium.swarm.program import Program, SiteWork, Stage

__all__ = [
    "audit_program",
    "audit_seed",
    "audit_study",
    "audit_works",
    "auditor_of",
    "detector_of",
    "first_rows",
    "judged_by",
    "models_of",
    "noisy_auditor_of",
    "noisy_detector_of",
    "proof_in",
    "records_of",
    "run_audit",
    "run_noisy_audit",
    "verdicts_of",
]


_EVERY = 10
"""Exchanges between two lines of progress."""


def audit_study(study: Study) -> Study:
    """What the ledger of this study's audit records: the same plan with the detector in the place of the model.

    Its differential privacy is that of the audit, not that of the training.
    """
    plan, noise = study.quality, study.quality.dp
    dp = None if noise is None else DpPlan(mode="distributed", epsilon=noise.epsilon, delta=noise.delta, sample_rate=1)
    privacy = study.privacy.model_copy(update={"dp": dp})
    return study.with_plans(model=ModelPlan(name=plan.detector), strategy=StrategyPlan(), privacy=privacy)


def audit_seed(chance: Chance, number: int = 1) -> int:
    """The seed of a simulated audit number `number`: of its nodes' nonces, from which the ledger's seed comes."""
    return int(chance.stream("audit", number).integers(2**32))


def noisy_detector_of(study: Study) -> NoisyOutOfBag | None:
    """`out-of-bag` under differential privacy with the study's settings; None where it asks for no noise."""
    plan, dp = study.quality, study.quality.dp
    if dp is None:
        return None
    return NoisyOutOfBag(epsilon=dp.epsilon, delta=dp.delta, alpha=dp.alpha, halves=plan.halves, convict=plan.convict,
                         scale=public_scale(study), to_sign=bool(study.cohort.subgroups))  # fmt: skip


def detector_of(plan: QualityPlan) -> OutOfBag:
    """`out-of-bag` with the study's settings."""
    return OutOfBag(
        halves=plan.halves,
        passes=plan.passes,
        convict=plan.convict,
        anchors=tuple(plan.anchors),
        one_class_unconfirmed=plan.one_class_unconfirmed,
    )


def audit_program(
    study: Study,
    layout: Layout,
    *,
    sites: Sequence[str],
    detector: OutOfBag | NoisyOutOfBag | Agreement,
    chance: Chance,
    kinds: Sequence[str] = KINDS[:-1],
    site: str = "",
    secret: bytes = b"",
) -> Program:
    """The audit of records of this layout as a program of one stage. site: whose records it is given, if any.

    kinds: of repairs that are tried. secret: the site's own key. Both concern `out-of-bag` without noise alone. Raises
    UsageError for another number of sites than the detector takes, ValueError for an anchor that is none.
    """
    names, terms = sorted(sites), None
    if isinstance(detector, NoisyOutOfBag):
        noisy = detector.auditor(names, layout, masked=study.privacy.masked(len(names)))
        learner, terms = Audit(auditor=noisy, sites=noisy.sites, site=site), noisy.terms
    elif isinstance(detector, Agreement):
        learner = Audit(auditor=detector.auditor(names), sites=tuple(names), site=site)
    else:
        repairs = library(layout, kinds)
        plan = detector.plan(names, masked=study.privacy.masked(len(names)), repairs=repairs)
        auditor = Auditor(plan=plan, repairs=repairs, secret=secret)
        learner = Audit(auditor=auditor, sites=plan.sites, site=site)
    stage = Stage(name="audit", learner=learner, strategy=ExactSums(), max_rounds=learner.max_rounds)
    return Program([stage], layout, sites=names, chance=chance, privacy=terms)


def audit_works(
    study: Study,
    sites: Mapping[str, Examples],
    *,
    detector: OutOfBag | NoisyOutOfBag,
    chance: Chance,
    kinds: Sequence[str] = KINDS[:-1],
) -> dict[str, SiteWork]:
    """Every site's half of an audit of these records (training and held-out together), under the study's masks.

    Raises UsageError for too few sites.
    """
    names, found = sorted(sites), {}
    if not names:
        raise UsageError("an audit needs sites, got none")
    for name in names:
        layout, secret = sites[names[0]].layout, chance.secret(32, "audit", name)
        program = audit_program(study, layout, sites=names, detector=detector, chance=chance, kinds=kinds, site=name,
                                secret=secret)  # fmt: skip
        found[name] = SiteWork(program, site=name, training=sites[name])
    return found


def records_of(one: SiteRows) -> Examples:
    """All records of a site, training and held out alike, one of each patient, so that nobody counts twice."""
    whole = concatenate([one.training, one.calibration, one.test])
    return whole.take(first_rows(whole.patient))


def first_rows(patient: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first row of every patient, in order."""
    return np.sort(np.unique(patient, return_index=True)[1]).astype(np.int64)


def _teller(say: Callable[[str], None]) -> Callable[[Notice], None]:
    """A line whenever another ten exchanges are merged: an audit has some forty, and nobody knows how many."""
    told = 0

    def hear(notice: Notice) -> None:
        nonlocal told
        if isinstance(notice, RoundRecord) and notice.turn >= told + _EVERY:
            told = notice.turn
            say(f"audit: {told} exchanges")

    return hear


def judged_by(table: Callable[[Parameters], Table], program: Program, state: Parameters) -> list[Judged]:
    """What a node puts on the ledger of an audit's last state: every verdict that asks for something.

    evidence: the digest of the whole table, the same at every node.
    """
    if not program.finished(state):
        return []
    found = table(program.model(state))
    return [
        Judged(site=one.site, verdict=CODES[one.kind], evidence=found.digest)
        for one in found.verdicts
        if one.kind not in ("keep", "keep-shifted")
    ]


def run_audit(
    study: Study,
    sites: Mapping[str, Examples],
    *,
    detector: OutOfBag,
    seed: int = 0,
    ledger: str = "memory",
    kinds: Sequence[str] = KINDS[:-1],
    say: Callable[[str], None] = lambda _: None,
) -> tuple[AuditResult, SwarmRun]:
    """Audit these sites by nodes in virtual time; masks as the study says. Raises RunFailed as any run does."""
    chance = Chance(seed, secrets_from_system=False)
    works = audit_works(study, sites, detector=detector, chance=chance, kinds=kinds)
    program = works[min(works)].program

    def judge(state: Parameters) -> list[Judged]:
        return judged_by(lambda model: auditor_of(program).table(model, detector.rules), program, state)

    run = run_swarm(Setting(study=study, works=works, chance=chance, ledger=ledger, judge=judge, observe=_teller(say)))
    pool = pool_of({at: sites[name] for at, name in enumerate(sorted(sites))})
    exchanges = sum(event.name == "Final" for event in run.events)
    return detector.result(auditor_of(program), program.model(run.state), pool, exchanges=exchanges), run


def run_noisy_audit(
    study: Study,
    sites: Mapping[str, Examples],
    *,
    detector: NoisyOutOfBag,
    budgets: Callable[[str, bytes], Budget | None] = lambda site, consortium: None,
    seed: int = 0,
    ledger: str = "memory",
) -> tuple[NoisyResult, SwarmRun]:
    """The same under differential privacy. study: as `audit_study` makes it. budgets: from which its sites pay.

    Raises RunFailed as any run does.
    """
    chance = Chance(seed, secrets_from_system=False)
    works = audit_works(study, sites, detector=detector, chance=chance)
    program = works[min(works)].program
    auditor = noisy_auditor_of(program)
    assert auditor is not None  # noqa: S101 - the detector is a noisy one
    run = run_swarm(
        Setting(
            study=study,
            works=works,
            chance=chance,
            ledger=ledger,
            judge=lambda state: judged_by(auditor.table, program, state),
            budgets=budgets,
            promised_micro=micro(auditor.terms.epsilon),
        )
    )
    return detector.result(auditor, program.model(run.state)), run


def noisy_auditor_of(program: Program) -> NoisyAuditor | None:
    """What reads the finished state under differential privacy; None of another audit."""
    found = program.learner.auditor if isinstance(program.learner, Audit) else None
    return found if isinstance(found, NoisyAuditor) else None


def auditor_of(program: Program) -> Auditor:
    """What reads the finished state of a program of `audit_program`, out of bag."""
    found = program.learner.auditor if isinstance(program.learner, Audit) else None
    assert isinstance(found, Auditor)  # noqa: S101 - it has no other stage
    return found


def models_of(program: Program) -> ShownModels | None:
    """The same by agreement; None of another audit."""
    found = program.learner.auditor if isinstance(program.learner, Audit) else None
    return found if isinstance(found, ShownModels) else None


def proof_in(plan: QualityPlan, program: Program, state: Parameters) -> dict[str, Any]:
    """What of a finished audit out of bag stands beside its table, to be checked without a node (`quality.proof`)."""
    held = state.under(f"{program.stages[0].name}/shown")
    shown = {int(name.split("/")[0]): np.asarray(salts, dtype=np.int64) for name, salts in held.items()}
    return proof_of(auditor_of(program), program.model(state), shown, rules=detector_of(plan).rules)


def verdicts_of(plan: QualityPlan, program: Program, state: Parameters) -> Table:
    """The table of a finished audit, whichever detector it has."""
    if (models := models_of(program)) is not None:
        return table_of(models, program.model(state))
    if (noisy := noisy_auditor_of(program)) is not None:
        return noisy.table(program.model(state))
    return auditor_of(program).table(program.model(state), detector_of(plan).rules)
