"""An audit as an ordinary run: the unchanged round machine, ledger and masks carry the stages of a detector by sums.

    result, run = run_audit(study, {"porto": examples, ...}, detector=OutOfBag(), seed=0)

Every node commits, exchanges, merges and attests as in any run; the merged state of the last round holds the evidence
table, from which every node computes the same verdicts. In a simulation the rows of all sites are in this process, so
the result also shows each site's own records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study import ModelPlan, StrategyPlan, Study
from cohortium.core.verdicts import CODES
from cohortium.quality.out_of_bag import Audit, AuditResult, OutOfBag
from cohortium.quality.pool import pool_of
from cohortium.quality.repairs import KINDS, library
from cohortium.sim.swarm import Setting, SwarmRun, run_swarm
from cohortium.strategies.exact_sums import ExactSums
from cohortium.swarm.notices import Notice, RoundRecord
from cohortium.swarm.ports import Judged
from cohortium.swarm.program import Program, SiteWork, Stage

__all__ = ["audit_study", "audit_works", "judged_by", "run_audit"]


_EVERY = 10
"""Exchanges between two lines of progress."""


def audit_study(study: Study) -> Study:
    """What the ledger of this study's audit records: the same plan with the detector in the place of the model."""
    return study.with_plans(model=ModelPlan(name=study.quality.detector), strategy=StrategyPlan())


def audit_works(
    study: Study,
    sites: Mapping[str, Examples],
    *,
    detector: OutOfBag,
    chance: Chance,
    kinds: Sequence[str] = KINDS[:-1],
) -> dict[str, SiteWork]:
    """Every site's half of an audit of these records (training and held-out together), under the study's masks.

    kinds: of repairs that are tried. Raises UsageError for too few sites.
    """
    names = sorted(sites)
    layout = sites[names[0]].layout if names else None
    repairs = library(layout, kinds) if layout is not None else ()
    plan = detector.plan(names, seed=chance.seed, masked=study.privacy.masked(len(names)), repairs=repairs)
    found = {}
    for name in names:
        learner = Audit(plan=plan, site=name, repairs=repairs)
        stage = Stage(name="audit", learner=learner, strategy=ExactSums(), max_rounds=learner.max_rounds)
        program = Program([stage], sites[name].layout, sites=names, chance=chance)
        found[name] = SiteWork(program, site=name, training=sites[name])
    return found


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
    table = _learner(program).auditor.table(program.model(state), detector.rules)
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
    return detector.result(_learner(program).auditor, program.model(run.state), pool, exchanges=exchanges), run


def _learner(program: Program) -> Audit:
    """The audit a program of `audit_works` is made of."""
    assert isinstance(program.learner, Audit)  # noqa: S101 - it has no other stage
    return program.learner
