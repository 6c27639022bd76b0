"""The catalogue: failures that stopped real swarms, and attacks and accidents of our own, as scenarios by name.

    report = play(SCENARIOS["f6-leader"])         # sim/playing.py; virtual time
    report.outcomes["porto"]                      # how the run ended for that site's node
    print(report)                                 # the event trace

F1-F10 follow the published failure catalogue of the ODELIA hospital consortium, S1-S15 are our own (swarm.md section
11). What needs processes, disks or certificates is played here as far as a simulation can, and again with real
processes by `lab`.
"""

from __future__ import annotations

from dataclasses import replace

from cohortium.errors import UsageError
from cohortium.sim.faults import (
    Arrives,
    Crash,
    Cut,
    Exclusion,
    Failing,
    Foreign,
    ForgedMerge,
    ForkedView,
    LeaderCut,
    LeaderSteps,
    Noise,
    NoResult,
    NotReady,
    Scenario,
    Shunned,
    Slow,
    TwoFaced,
    Unwritable,
    Withheld,
    WrongClock,
)
from cohortium.swarm.waiting import Policy
from cohortium.transport.memory import Link

__all__ = ["PUBLISHED", "SCENARIOS", "SITES", "published"]

SITES = ("aachen", "bonn", "dresden", "lund", "porto", "rome", "turin")

_HOUR = 3600.0
_PATIENT = Policy(answer_timeout_s=_HOUR, linger_s=4 * _HOUR)
_QUORUM = Policy(wait="quorum", round_timeout_s=100.0, answer_timeout_s=_HOUR)

_F1 = "the largest site was silent for hours in a round, and the run was aborted"
_F2 = "the accelerator vanished from the running container"
_F3 = "a stale lock stopped the restart after a crash"
_F4 = "the cache lay below a read-only mount: instant crash"
_F5 = "the late model of a slow site aborted the run"
_F6 = "the tunnel was down for two and a half hours"
_F7 = "shared memory was too small, and the data loader was killed"
_F8 = "the two largest sites were left out after seconds, and success was reported"
_F9 = "superseded credentials, and 'healthy' for three weeks"
_F10 = "the result file was empty although measures had arrived"

_ALL: tuple[Scenario, ...] = (
    Scenario(name="none"),
    Scenario(name="f1", there=_F1, rounds=2, faults=(Slow(site="rome", round=2, for_s=3 * _HOUR),)),
    Scenario(
        name="f1-mute", there=_F1, rounds=2, faults=(Slow(site="rome", round=2, for_s=3 * _HOUR, heartbeats=False),)
    ),
    Scenario(name="f2", there=_F2, rounds=9, faults=(Failing(site="lund", round=4, back_s=400.0),)),
    Scenario(
        name="f3",
        there=_F3,
        disk=True,
        policy=_PATIENT,
        faults=(Crash(site="rome", fact="trained", round=2, back_after_s=1.0),),
    ),
    Scenario(name="f4", there=_F4, rounds=5, faults=(Unwritable(site="porto", from_s=70.0),)),
    Scenario(name="f4-start", there=_F4, faults=(NotReady(site="porto", code="path_readonly"),)),
    Scenario(
        name="f4-mended",
        there=_F4,
        rounds=9,
        policy=_PATIENT,
        faults=(Unwritable(site="porto", from_s=70.0, until_s=300.0),),
    ),
    Scenario(name="f5", there=_F5, rounds=4, policy=_QUORUM, faults=(Slow(site="turin", round=2, for_s=250.0),)),
    Scenario(
        name="f5-carry",
        there=_F5,
        rounds=6,
        policy=replace(_QUORUM, late="carry"),
        faults=(Slow(site="turin", round=2, for_s=250.0),),
    ),
    Scenario(
        name="f6",
        there=_F6,
        policy=_PATIENT,
        faults=(Cut(groups=(("porto",),), from_s=70.0, until_s=2.5 * _HOUR),),
    ),
    Scenario(name="f6-leader", there=_F6, policy=_PATIENT, faults=(LeaderCut(round=2, for_s=2.5 * _HOUR),)),
    Scenario(
        name="f6-minority",
        there=_F6,
        policy=_PATIENT,
        faults=(Cut(groups=(("aachen", "bonn"), *((site,) for site in SITES[2:])), from_s=70.0, until_s=2.5 * _HOUR),),
    ),
    Scenario(name="f7", there=_F7, rounds=5, faults=(Failing(site="dresden", round=2, code="shared_memory"),)),
    Scenario(name="f8", there=_F8, faults=(NotReady(site="turin", for_s=10.0),)),
    Scenario(name="f8-never", there=_F8, faults=(NotReady(site="turin"),)),
    Scenario(
        name="f9",
        there=_F9,
        faults=(Shunned(site="bonn"),),
    ),
    Scenario(name="f9-expired", there=_F9, rounds=6, faults=(Shunned(site="bonn", from_s=70.0),)),
    Scenario(
        name="f9-renewed",
        there=_F9,
        rounds=9,
        policy=_PATIENT,
        faults=(Shunned(site="bonn", from_s=70.0, until_s=400.0),),
    ),
    Scenario(name="f10", there=_F10, faults=(NoResult(site="dresden"),), link=Link(delay_s=5.0)),
    Scenario(name="s1", faults=(ForgedMerge(site="bonn"),), rounds=7),
    Scenario(name="s2", faults=(TwoFaced(site="bonn"),), rounds=8, drawn=True),
    Scenario(name="s3", faults=(ForkedView(site="rome", from_s=100.0),)),
    Scenario(name="s4", faults=(Withheld(site="porto", round=2),)),
    Scenario(name="s5", faults=(NotReady(site="turin"),), policy=Policy(answer_timeout_s=600.0)),
    Scenario(name="s6", faults=(Exclusion(site="porto", at_s=90.0),)),
    Scenario(name="s7", faults=(Crash(site="rome", fact="trained", round=2),), policy=_PATIENT),
    Scenario(name="s8", link=Link(delay_s=0.05, jitter_s=40.0, reorder=0.3, held_s=90.0)),
    Scenario(name="s9", sites=SITES[:4], rounds=2, replicated=True, faults=(Noise(at_s=70.0),)),
    Scenario(
        name="s10",
        sites=SITES[:4],
        rounds=2,
        replicated=True,
        faults=(WrongClock(site="dresden", by_s=75 * 365 * 86_400.0),),
    ),
    Scenario(name="s11", sites=SITES[:4], rounds=2, replicated=True, faults=(Foreign(at_s=70.0),)),
    Scenario(
        name="s12",
        masked=True,
        policy=_PATIENT,
        faults=(Crash(site="lund", fact="stepped", step="unmask", round=2, back_after_s=20.0),),
    ),
    Scenario(
        name="s12-never",
        masked=True,
        faults=(Crash(site="lund", fact="stepped", step="unmask", round=2, back_after_s=None),),
    ),
    Scenario(name="s13", faults=(LeaderSteps(round=2),), policy=_PATIENT),
    Scenario(
        name="s14",
        size=300_000,
        rounds=2,
        sites=SITES[:4],
        link=Link(delay_s=0.05, corrupt=0.1, duplicate=0.3, reorder=0.3, loss=0.1),
    ),
    Scenario(name="s15", rounds=6, faults=(Arrives(site="turin", at_s=200.0),), policy=Policy(answer_timeout_s=60.0)),
)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario if scenario.sites else replace(scenario, sites=SITES) for scenario in _ALL
}
"""Every scenario by name."""

PUBLISHED: tuple[str, ...] = tuple(name for name in SCENARIOS if name.startswith("f"))
"""Names of the published failures and their variants, for `simulate --faults`."""


def published(name: str) -> Scenario:
    """A scenario of the published catalogue. Raises UsageError that lists them."""
    if name not in PUBLISHED:
        raise UsageError(f"unknown failure {name!r}; available: {', '.join(PUBLISHED)}")
    return SCENARIOS[name]
