"""An audit as an ordinary run: the unchanged round machine, ledger and masks carry the stages of a detector by sums.

    result, run = run_audit(study, {"porto": examples, ...}, detector=OutOfBag(), seed=0)

Every node commits, exchanges, merges and attests as in any run; the merged state of the last round holds the evidence
table, from which every node computes the same verdicts. In a simulation the rows of all sites are in this process, so
the result also shows each site's own records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout, concatenate
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study import ModelPlan, QualityPlan, StrategyPlan, Study
from cohortium.core.verdicts import CODES
from cohortium.quality.agreement import Agreement, table_of
from cohortium.quality.decide import Table
from cohortium.quality.learner import Audit
from cohortium.quality.out_of_bag import AuditResult, OutOfBag
from cohortium.quality.pool import pool_of
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
    "records_of",
    "run_audit",
    "verdicts_of",
]


_EVERY = 10
"""Exchanges between two lines of progress."""


def audit_study(study: Study) -> Study:
    """What the ledger of this study's audit records: the same plan with the detector in the place of the model."""
    return study.with_plans(model=ModelPlan(name=study.quality.detector), strategy=StrategyPlan())


def audit_seed(chance: Chance, number: int = 1) -> int:
    """The seed of a simulated audit number `number`: of its nodes' nonces, from which the ledger's seed comes."""
    return int(chance.stream("audit", number).integers(2**32))


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
    detector: OutOfBag | Agreement,
    chance: Chance,
    kinds: Sequence[str] = KINDS[:-1],
    site: str = "",
    secret: bytes = b"",
) -> Program:
    """The audit of records of this layout as a program of one stage. site: whose records it is given, if any.

    kinds: of repairs that are tried. secret: the site's own key. Neither concerns `agreement`. Raises UsageError for
    another number of sites than the detector takes, ValueError for an anchor that is none.
    """
    names = sorted(sites)
    if isinstance(detector, Agreement):
        learner = Audit(auditor=detector.auditor(names), sites=tuple(names), site=site)
    else:
        repairs = library(layout, kinds)
        plan = detector.plan(names, masked=study.privacy.masked(len(names)), repairs=repairs)
        auditor = Auditor(plan=plan, repairs=repairs, secret=secret)
        learner = Audit(auditor=auditor, sites=plan.sites, site=site)
    stage = Stage(name="audit", learner=learner, strategy=ExactSums(), max_rounds=learner.max_rounds)
    return Program([stage], layout, sites=names, chance=chance)


def audit_works(
    study: Study,
    sites: Mapping[str, Examples],
    *,
    detector: OutOfBag,
    chance: Chance,
    kinds: Sequence[str] = KINDS[:-1],
) -> dict[str, SiteWork]:
    """Every site's half of an audit of these records (training and held-out together), under the study's masks.

    Raises UsageError for too few sites.
    """
    names, found = sorted(sites), {}
    if not names:
        detector.plan(names)
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


def judged_by(detector: OutOfBag, program: Program, state: Parameters) -> list[Judged]:
    """What a node puts on the ledger of an audit's last state: every verdict that asks for something.

    evidence: the digest of the whole table, the same at every node.
    """
    if not program.finished(state):
        return []
    table = auditor_of(program).table(program.model(state), detector.rules)
    return [
        Judged(site=one.site, verdict=CODES[one.kind], evidence=table.digest)
        for one in table.verdicts
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
        return judged_by(detector, program, state)

    run = run_swarm(Setting(study=study, works=works, chance=chance, ledger=ledger, judge=judge, observe=_teller(say)))
    pool = pool_of({at: sites[name] for at, name in enumerate(sorted(sites))})
    exchanges = sum(event.name == "Final" for event in run.events)
    return detector.result(auditor_of(program), program.model(run.state), pool, exchanges=exchanges), run


def auditor_of(program: Program) -> Auditor:
    """What reads the finished state of a program of `audit_program`, out of bag."""
    found = program.learner.auditor if isinstance(program.learner, Audit) else None
    assert isinstance(found, Auditor)  # noqa: S101 - it has no other stage
    return found


def models_of(program: Program) -> ShownModels | None:
    """The same by agreement; None of another audit."""
    found = program.learner.auditor if isinstance(program.learner, Audit) else None
    return found if isinstance(found, ShownModels) else None


def verdicts_of(plan: QualityPlan, program: Program, state: Parameters) -> Table:
    """The table of a finished audit, whichever detector it has."""
    if (models := models_of(program)) is not None:
        return table_of(models, program.model(state))
    return auditor_of(program).table(program.model(state), detector_of(plan).rules)
