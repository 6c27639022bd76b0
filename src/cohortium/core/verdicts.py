"""What is said about a site's data: `Evidence` (numbers), `Verdict` (words), and what a detector `needs` to see.

Shared by detectors (`quality`), the ledger, the report and the page of a node. Evidence is in nats: logarithms of how
much better a hypothesis explains a site's labels than a coin does. Design: harmful-data.md 5.3, 5.5, 6 and 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from cohortium.core.examples import Examples

__all__ = [
    "CODES",
    "LEAST_PUBLISHED",
    "VERDICTS",
    "Channel",
    "Evidence",
    "Kind",
    "Needs",
    "Repair",
    "Status",
    "Verdict",
]

Needs = Literal["local", "scores", "updates"]
"""What a detector sees: own records only; sums and the declared evidence of a site; single updates or models."""

Kind = Literal["keep", "keep-shifted", "repair", "quarantine", "eliminate"]
Channel = Literal["sound", "reversed", "unrelated", "shifted"]
Status = Literal["decided", "inconclusive"]

LEAST_PUBLISHED = 5
"""A site with fewer records publishes no evidence, and nobody else reads a count below it."""

CODES = {"keep": 1, "keep-shifted": 2, "repair": 3, "quarantine": 4, "eliminate": 5}
"""The contract's words for a verdict."""

VERDICTS = {**{code: kind for kind, code in CODES.items()}, 6: "inconclusive"}

_KINDS = ("keep", "keep-shifted", "repair", "quarantine", "eliminate")
_CHANNELS = ("sound", "reversed", "unrelated", "shifted")
_GAINS = (0, 8, 16, 32, 64)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one site publishes in one audit, and nothing else of its records does.

    n: records scored, training and held-out together (at least 5). two_class: at least 3 records of each class.
    sound, reversed, shifted: log-likelihood of the labels under each hypothesis minus n log(1/2), in nats.
    novelty: 0 to 6 nats in favour of `unrelated`. contradicted: records whose label the other sites' models find
    less likely than not; flagged: those more likely wrong than right. majority: the more frequent class. auroc and
    ranking: how well these models rank the site's patients, and by how many standard errors above chance; shortfall: by
    how many below what they expect of these patients; 0.5, 0 and 0 for one-class sites.
    repair: the name that gained most, or empty; gain: nats, rounded down to 8, 16, 32 or 64. at_stake: whether the site
    holds a twentieth or more of a registered subgroup.
    """

    site: str
    n: int
    two_class: bool
    sound: float
    reversed: float
    shifted: float
    novelty: float
    contradicted: int = 0
    flagged: int = 0
    majority: int = 0
    auroc: float = 0.5
    ranking: float = 0.0
    shortfall: float = 0.0
    repair: str = ""
    gain: int = 0
    at_stake: bool = False

    def __post_init__(self) -> None:
        if self.n < LEAST_PUBLISHED:
            raise ValueError(f"a site publishes evidence from {LEAST_PUBLISHED} records on, got {self.n}")
        for name in ("sound", "reversed", "shifted", "novelty", "auroc", "ranking", "shortfall"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"evidence '{name}' of site '{self.site}' is not finite")
        if not 0 <= self.contradicted <= self.n:
            raise ValueError(f"contradicted must be 0 to {self.n}, got {self.contradicted}")
        if self.gain not in _GAINS or bool(self.gain) != bool(self.repair):
            raise ValueError(f"a repair has a gain of 8, 16, 32 or 64 nats, got {self.repair!r} with {self.gain}")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the consortium says about one site's data in one audit; replaced by the next audit.

    posterior: probability that the labels are reversed or unrelated to the patients, 0 to 1. channel: the hypothesis
    that explains them best. reason: one sentence in words. repair, gain: what would mend the data, as in `Evidence`.
    look: shown to site and committee, weight unchanged. question: what a person at the site should confirm, or empty.
    left_out: whether the site's records have no weight until something changes. to_sign: whether part of a registered
    subgroup would be left out with them, so that between hospitals it has no effect before a person has signed.
    """

    site: str
    kind: Kind
    posterior: float
    channel: Channel
    reason: str
    repair: str = ""
    gain: int = 0
    look: bool = False
    question: str = ""
    left_out: bool = False
    to_sign: bool = False

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"unknown verdict {self.kind!r}; known: {', '.join(_KINDS)}")
        if self.channel not in _CHANNELS:
            raise ValueError(f"unknown channel {self.channel!r}; known: {', '.join(_CHANNELS)}")
        if not 0.0 <= self.posterior <= 1.0:
            raise ValueError(f"posterior must be 0 to 1, got {self.posterior}")
        if (self.kind == "repair") != bool(self.repair) and self.kind not in ("quarantine", "eliminate"):
            raise ValueError(f"verdict '{self.kind}' with repair {self.repair!r}")
        if self.left_out != self.convicted and self.kind != "repair":
            raise ValueError(f"verdict '{self.kind}' with left_out = {self.left_out}")
        if self.to_sign and not self.left_out:
            raise ValueError(f"verdict '{self.kind}' leaves nobody out, and asks for a signature")

    @property
    def convicted(self) -> bool:
        """Whether the labels or values were found harmful without a repair that would mend them."""
        return self.kind in ("quarantine", "eliminate")


@runtime_checkable
class Repair(Protocol):
    """A reversible change of a site's own records, by name; its inverse is a repair as well."""

    @property
    def name(self) -> str: ...

    def apply(self, examples: Examples) -> Examples:
        """The repaired records; raises ValueError where it does not fit (an axis flip of a table)."""
        ...
