"""The gate at a site: nothing that speaks of single patients leaves before it was attacked with the site's own rows.

What wants to leave - rows, or a model by as many rows as it was learned from - is judged against the site's training
and reserve rows by the rules of `validation.privacy`. The verdict is bound to the digest of what it judged: shown
beside anything else it is refused. Only pass or fail leaves; the findings stay. Design: synthetic-data.md 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.synth.rows import Rows
from cohortium.synth.validation.privacy import judge_privacy

__all__ = ["LEAST_RESERVE", "LEAST_TRAINING", "GateVerdict", "gate", "rows_digest", "too_few", "wrong_seal"]

LEAST_TRAINING, LEAST_RESERVE = 100, 30


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """subject: digest of what was judged (32 bytes). findings: pass, warn or fail by measure; they stay at the site."""

    subject: bytes
    passed: bool
    reason: str = ""
    findings: Mapping[str, str] = field(default_factory=dict)

    def seal(self) -> Parameters:
        """What leaves beside the subject: pass or fail, and the digest it was said of."""
        said = bytes([int(self.passed)]) + self.subject
        return Parameters({"verdict": np.frombuffer(said, dtype=np.uint8)})


def too_few(training: Rows, reserve: Rows) -> str:
    """Why a site may receive but not share; empty when it may."""
    if len(training) < LEAST_TRAINING:
        return f"too few training rows to share: {len(training)} of {LEAST_TRAINING}"
    if len(reserve) < LEAST_RESERVE:
        return f"too few reserve rows to judge: {len(reserve)} of {LEAST_RESERVE}"
    return ""


def gate(
    training: Rows, reserve: Rows, table: Rows, *, subject: bytes, seed: int, attack_risk_max: float
) -> GateVerdict:
    """The verdict on a table, or on a model by the table drawn from it."""
    if why := too_few(training, reserve):
        return GateVerdict(subject=subject, passed=False, reason=why)
    found = judge_privacy(training, reserve, table, seed=seed).findings(attack_risk_max=attack_risk_max)
    failed = sorted(name for name, word in found.items() if word == "fail")
    reason = f"the table is too near to its patients: {', '.join(failed)}" if failed else ""
    return GateVerdict(subject=subject, passed=not failed, reason=reason, findings=found)


def rows_digest(rows: Rows) -> bytes:
    """The digest of a table (32 bytes): its columns in order, and all its values."""
    return Parameters({name: rows[name] for name in rows.facts.names}).digest


def wrong_seal(seal: Parameters, subject: bytes) -> str:
    """What is wrong with the verdict beside something of this digest; empty when it passed."""
    said = seal.get("verdict")
    if said is None or said.shape != (33,) or said.dtype != np.uint8:
        return "it carries no verdict of the gate"
    if said[1:].tobytes() != subject:
        return "its verdict was given to another table"
    return "" if said[0] == 1 else "it did not pass the gate of its site"
