"""Who failed, where, why, and how soon everybody knew: read from what the nodes told their observers.

told = attributions(notices, sites)
print(told[0])                 # lund (train, device) after 181 s, known at 6 other sites 0.1 s later
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cohortium.swarm.notices import Notice, Refused, Troubled

__all__ = ["REFUSED_HANDSHAKE", "Told", "attributions"]

REFUSED_HANDSHAKE = "handshake refused"
"""How the refusal of a peer whose certificate is the wrong one begins."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A trouble: first said at `at_s`; heard_s: seconds until each other site knew. missing: sites that never did."""

    site: str
    stage: str
    code: str
    at_s: float
    heard_s: dict[str, float]
    missing: tuple[str, ...]

    @property
    def within_s(self) -> float:
        """Seconds until the last site that heard it knew."""
        return max(self.heard_s.values(), default=0.0)

    def __str__(self) -> str:
        said = f"{self.site} ({self.stage}, {self.code}) after {self.at_s:.0f} s"
        if not self.heard_s:
            return f"{said}, known at no other site"
        others = f"not at {', '.join(self.missing)}" if self.missing else ""
        count = "1 other site" if len(self.heard_s) == 1 else f"{len(self.heard_s)} other sites"
        return "; ".join(filter(None, [f"{said}, known at {count} {self.within_s:.1f} s later", others]))


def attributions(notices: Iterable[tuple[float, str, Notice]], sites: Sequence[str]) -> tuple[Told, ...]:
    """Each trouble once, in the order in which they were first said. notices: (time, at which site, notice).

    A site whose certificate is refused cannot tell its peers; they know by the refusal.
    """
    first: dict[tuple[str, str, str], dict[str, float]] = {}
    for at_s, by, notice in notices:
        if isinstance(notice, Troubled):
            first.setdefault((notice.site, notice.stage, notice.code), {}).setdefault(by, at_s)
        elif isinstance(notice, Refused) and notice.why.startswith(REFUSED_HANDSHAKE):
            first.setdefault((notice.site, "connect", "certificate"), {}).setdefault(by, at_s)
    told = []
    for (site, stage, code), known in first.items():
        said = min(known.values())
        others = {by: at_s - said for by, at_s in sorted(known.items()) if by != site}
        missing = tuple(other for other in sites if other not in known)
        told.append(Told(site=site, stage=stage, code=code, at_s=said, heard_s=others, missing=missing))
    return tuple(sorted(told, key=lambda one: one.at_s))
