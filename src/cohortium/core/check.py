"""One preflight check: what was looked at, how it stands, what was found, how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "Level"]

Level = Literal["ok", "warn", "fail", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """id: stable name, e.g. `L2` or `coincurve`. found, fix: one clear sentence each, no patient value."""

    id: str
    level: Level
    found: str
    fix: str = ""
