"""What the consortium learns of a site's local gate: one word a check, `pass`, `warn` or `fail`.

The sentences, rows and counts of the checks (`core.check.Check`) stay at the site. A check that could not be made
passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from cohortium.core.check import Check

__all__ = ["Code", "codes"]

Code = Literal["pass", "warn", "fail"]

_WORDS: dict[str, Code] = {"ok": "pass", "skipped": "pass", "warn": "warn", "fail": "fail"}
_ORDER: tuple[Code, ...] = ("pass", "warn", "fail")


def codes(checks: Iterable[Check]) -> dict[str, Code]:
    """The worst word of each check, by its id, sorted; nothing else of it."""
    found: dict[str, Code] = {}
    for check in checks:
        word = _WORDS[check.level]
        found[check.id] = max(word, found.get(check.id, "pass"), key=_ORDER.index)
    return dict(sorted(found.items()))
