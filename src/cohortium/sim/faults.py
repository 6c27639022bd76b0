"""Failures that stopped real swarms, as scenarios: frozen plans of what breaks when.

    report = play(SCENARIOS["f6-leader"])         # sim/playing.py; virtual time
    report.outcomes["porto"]                      # how the run ended for that site's node
    print(report)                                 # the event trace

F1-F10 follow the published failure catalogue of the ODELIA hospital consortium, S1-S15 are attacks and accidents of our
own (swarm.md section 11; the numbers not listed here need processes, disks or certificates and are tested there).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cohortium.swarm.waiting import Policy
from cohortium.transport.memory import Link

__all__ = [
    "SCENARIOS",
    "SITES",
    "Arrives",
    "Crash",
    "Cut",
    "DeviceLost",
    "Exclusion",
    "Fault",
    "ForgedMerge",
    "ForkedView",
    "LeaderCut",
    "LeaderSteps",
    "NoResult",
    "NotReady",
    "Scenario",
    "Slow",
    "TwoFaced",
    "Withheld",
]

SITES = ("aachen", "bonn", "dresden", "lund", "porto", "rome", "turin")


@dataclass(frozen=True, kw_only=True)
class Slow:
    """A site's training of one merge takes longer; without heartbeats nobody hears of it meanwhile."""

    site: str
    round: int
    for_s: float
    heartbeats: bool = True


@dataclass(frozen=True, kw_only=True)
class DeviceLost:
    """Training fails with code `device` from one merge on; preparing succeeds again at `back_s` of run time."""

    site: str
    round: int
    back_s: float


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The network falls into groups for a while; sites not named form one group. A minority has no ledger."""

    groups: tuple[tuple[str, ...], ...]
    from_s: float
    until_s: float


@dataclass(frozen=True, kw_only=True)
class LeaderCut:
    """Whoever leads when this round closes is cut off at once."""

    round: int
    for_s: float


@dataclass(frozen=True, kw_only=True)
class LeaderSteps:
    """Whoever leads when this round closes steps down on purpose."""

    round: int


@dataclass(frozen=True, kw_only=True)
class Crash:
    """A node dies just before it writes a fact of this kind in a round, and comes back later (or never)."""

    site: str
    fact: str
    round: int
    back_after_s: float | None = 30.0


@dataclass(frozen=True, kw_only=True)
class NotReady:
    """A site has consented but says `ready` late, or never."""

    site: str
    for_s: float


@dataclass(frozen=True, kw_only=True)
class Arrives:
    """A site's node is started only at this time."""

    site: str
    at_s: float


@dataclass(frozen=True, kw_only=True)
class ForgedMerge:
    """A site's merges are wrong, always."""

    site: str


@dataclass(frozen=True, kw_only=True)
class TwoFaced:
    """A leader signs a second, different merge for every slot it offers one in."""

    site: str


@dataclass(frozen=True, kw_only=True)
class Withheld:
    """A site commits in this round, then gives its payload to nobody."""

    site: str
    round: int


@dataclass(frozen=True, kw_only=True)
class ForkedView:
    """From a time on, one site sees another block hash than the rest."""

    site: str
    from_s: float


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """All others vote a site out of the consortium at this time."""

    site: str
    at_s: float


@dataclass(frozen=True, kw_only=True)
class NoResult:
    """All sites share the measures of the last merge but this one."""

    site: str


Fault = (
    Slow
    | DeviceLost
    | Cut
    | LeaderCut
    | LeaderSteps
    | Crash
    | NotReady
    | Arrives
    | ForgedMerge
    | TwoFaced
    | Withheld
    | ForkedView
    | Exclusion
    | NoResult
)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens to whom, when. train_s: an ordinary local training. size: values of the toy model. seed: of all."""

    name: str
    faults: tuple[Fault, ...] = ()
    sites: tuple[str, ...] = SITES
    rounds: int = 3
    min_sites: int = 3
    train_s: float = 60.0
    size: int = 4
    seed: int = 1
    drawn: bool = False
    link: Link = field(default_factory=lambda: Link(delay_s=0.05))
    policy: Policy = field(default_factory=lambda: Policy(answer_timeout_s=3600.0))
    within_s: float = 200_000.0


_HOUR = 3600.0
_PATIENT = Policy(answer_timeout_s=_HOUR, linger_s=4 * _HOUR)

_ALL: tuple[Scenario, ...] = (
    Scenario(name="none"),
    Scenario(name="f1", rounds=2, faults=(Slow(site="rome", round=2, for_s=3 * _HOUR),)),
    Scenario(name="f1-mute", rounds=2, faults=(Slow(site="rome", round=2, for_s=3 * _HOUR, heartbeats=False),)),
    Scenario(name="f2", rounds=9, faults=(DeviceLost(site="lund", round=4, back_s=400.0),)),
    Scenario(
        name="f5",
        rounds=4,
        policy=Policy(wait="quorum", round_timeout_s=100.0, answer_timeout_s=_HOUR),
        faults=(Slow(site="turin", round=2, for_s=250.0),),
    ),
    Scenario(
        name="f5-carry",
        rounds=6,
        policy=Policy(wait="quorum", round_timeout_s=100.0, answer_timeout_s=_HOUR, late="carry"),
        faults=(Slow(site="turin", round=2, for_s=250.0),),
    ),
    Scenario(name="f6-site", policy=_PATIENT, faults=(Cut(groups=(("porto",),), from_s=70.0, until_s=2.5 * _HOUR),)),
    Scenario(name="f6-leader", policy=_PATIENT, faults=(LeaderCut(round=2, for_s=2.5 * _HOUR),)),
    Scenario(
        name="f6-minority",
        policy=_PATIENT,
        faults=(Cut(groups=(("aachen", "bonn"), *((site,) for site in SITES[2:])), from_s=70.0, until_s=2.5 * _HOUR),),
    ),
    Scenario(name="f8", faults=(NotReady(site="turin", for_s=10.0),)),
    Scenario(name="s7", faults=(Crash(site="rome", fact="trained", round=2),), policy=_PATIENT),
    Scenario(name="f8-never", faults=(NotReady(site="turin", for_s=1e9),)),
    Scenario(name="f10", faults=(NoResult(site="dresden"),), link=Link(delay_s=5.0)),
    Scenario(name="s1", faults=(ForgedMerge(site="bonn"),), rounds=7),
    Scenario(name="s2", faults=(TwoFaced(site="bonn"),), rounds=8, drawn=True),
    Scenario(name="s3", faults=(ForkedView(site="rome", from_s=100.0),)),
    Scenario(name="s4", faults=(Withheld(site="porto", round=2),)),
    Scenario(name="s5", faults=(NotReady(site="turin", for_s=1e9),), policy=Policy(answer_timeout_s=600.0)),
    Scenario(name="s6", faults=(Exclusion(site="porto", at_s=90.0),)),
    Scenario(name="s8", link=Link(delay_s=0.05, jitter_s=40.0, reorder=0.3, held_s=90.0)),
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

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
"""Every scenario by name."""
