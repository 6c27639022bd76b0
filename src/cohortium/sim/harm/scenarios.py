"""The scenarios S1 to S7 of the harm benchmark: how many sites of which role, for a consortium of 83.

Other shapes get the same shares, at least one site of each role that the scenario has. S5 and S7 are families: `cases`
lists their members (how many sites collude, how many are trusted, which epsilon the audit may spend).
"""

from __future__ import annotations

from dataclasses import dataclass

from cohortium.errors import UsageError
from cohortium.sim.harm.corruptions import FAULTS

__all__ = ["RIDERS", "SCENARIOS", "Case", "Scenario", "cases", "find_scenario"]

_SITES = 83
RIDERS = ("rider-random", "rider-replayed", "rider-shared")
"""Free-riders: a random vector, the update of an earlier round, another site's update."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Numbers of sites by role, for 83 sites.

    kinds: faults of the harmful sites, in turn. partial: a quarter of the labels flipped. single: one bad record.
    polluted: held-out records of harmful and partial sites are bad as well. share: bad records of all, lowest and
    highest; roles are drawn again until they fit. copies: training records that are another site's.
    """

    title: str
    harmful: int = 0
    kinds: tuple[str, ...] = ()
    partial: int = 0
    single: int = 0
    scanner: int = 0
    minority: int = 0
    riders: int = 0
    copies: int = 0
    polluted: bool = False
    share: tuple[float, float] = (0.0, 1.0)

    def count(self, role: str, n_sites: int) -> int:
        """Sites of a role in a consortium of this size."""
        n = int(getattr(self, role))
        return 0 if n == 0 else max(1, round(n * n_sites / _SITES))


SCENARIOS = {
    "S1": Scenario(title="whole-sites", harmful=10, kinds=("noise", "inverted")),
    "S2": Scenario(title="single-records", single=15),
    "S1+S2": Scenario(title="whole-sites-and-single-records", harmful=10, kinds=("noise", "inverted"), single=15),
    "S3": Scenario(
        title="mixed", harmful=14, kinds=FAULTS, partial=3, single=15, scanner=8, minority=4, polluted=True,
        share=(0.18, 0.26),
    ),
    "S4": Scenario(title="nothing", scanner=8, minority=4),
    "S5": Scenario(title="collusion", harmful=8, kinds=("flip",), polluted=True),
    "S6": Scenario(title="copies", riders=20, copies=40),
    "S7": Scenario(title="private"),
}  # fmt: skip
"""By name; S7 is S1, S3 and S4 under differential privacy."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One member of a scenario.

    harmful: colluding sites of 83 (S5). anchors: trusted sites. base: the scenario that S7 repeats under `epsilon`.
    """

    scenario: str
    harmful: int | None = None
    anchors: int = 0
    epsilon: float | None = None
    base: str = ""

    @property
    def label(self) -> str:
        """The case in one word: `S3`, `S5-16-a3`, `S7-S1-e0.5`."""
        parts = [self.scenario]
        if self.harmful is not None:
            parts += [str(self.harmful), f"a{self.anchors}"]
        if self.epsilon is not None:
            parts += [self.base, f"e{self.epsilon:g}"]
        return "-".join(parts)


def find_scenario(name: str) -> str:
    """`S3` for `S3`, `s3` or its title `mixed`. Raises UsageError with the names there are."""
    for key, scenario in SCENARIOS.items():
        if name.lower() in (key.lower(), scenario.title):
            return key
    known = ", ".join(f"{key} ({scenario.title})" for key, scenario in SCENARIOS.items())
    raise UsageError(f"unknown scenario '{name}'; available: {known}")


def cases(name: str) -> tuple[Case, ...]:
    """The members of a scenario: one, but for S5 (sites x anchors) and S7 (scenario x epsilon)."""
    key = find_scenario(name)
    if key == "S5":
        return tuple(Case(scenario=key, harmful=n, anchors=a) for n in (8, 16, 20, 24, 32) for a in (0, 3))
    if key == "S7":
        return tuple(Case(scenario=key, base=b, epsilon=e) for b in ("S1", "S3", "S4") for e in (4.0, 2.0, 1.0, 0.5))
    return (Case(scenario=key),)
