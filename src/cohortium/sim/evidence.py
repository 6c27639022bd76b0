"""Offline check of an audit's evidence: rows, roots and verdicts of a file against an exported ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortium.core.foreign_json import read_json
from cohortium.errors import UsageError, VerificationFailed
from cohortium.ledger.archive import Verified
from cohortium.quality.proof import Recorded, faults

__all__ = ["EvidenceCheck", "check_evidence"]

_MAX_BYTES = 16 << 20
_DEPTH = 8


@dataclass(frozen=True, kw_only=True)
class EvidenceCheck:
    """What held. run: of the audit on the ledger; rows, roots: sites that had committed what the file says.

    agreed: whether verdicts on the ledger rest on this very table; without one nobody was accused.
    """

    path: Path
    run: int
    rows: int
    roots: int
    verdicts: int
    agreed: bool

    @property
    def sentence(self) -> str:
        """For people."""
        voted = (
            "the ledger's verdicts rest on it" if self.agreed else "the ledger holds no verdict that asks for anything"
        )
        return (
            f"evidence of run {self.run}: {self.rows} rows and {self.roots} roots of scores are those that sites had"
            f" committed, roots first; the {self.verdicts} verdicts follow from the rows, and {voted}"
        )


def check_evidence(path: Path, found: Verified) -> EvidenceCheck:
    """Compare an `evidence.json` (or `audit-1.json` of a simulated run) with a ledger that was replayed.

    Raises VerificationFailed with the first thing that does not hold, UsageError for a file that is none, or belongs to
    another kind of audit.
    """
    held = _read(path)
    if "shown" not in held:
        kind = "by agreement" if "aurocs" in held else "under noise" if "noise" in held else "of an older version"
        raise UsageError(f"'{path}' is of an audit {kind}; only rows out of bag without noise can be checked here")
    run = next((one for one in found.runs if one.seed and one.seed.hex() == held.get("seed")), None)
    if run is None:
        raise VerificationFailed(f"{path.name}: no run on this ledger has drawn the seed that the file names")
    recorded = Recorded(
        run=run.run,
        study=run.study,
        seed=run.seed,
        rounds=[merge.round for merge in run.merges],
        merged={merge.round: merge.contributors for merge in run.merges},
        committed={(round, site): digest for (of, round, site), digest in found.commitments.items() if of == run.run},
        verdicts={one.subject: (one.verdict, one.evidence) for one in found.harm if one.run == run.run},
    )
    try:
        wrong = faults(held, recorded)
        done = EvidenceCheck(
            path=path,
            run=run.run,
            rows=len(held["evidence"]),
            roots=len(held["shown"]["roots"]["salts"]) if "roots" in held["shown"] else 0,
            verdicts=len(held["verdicts"]),
            agreed=bool(recorded.verdicts),
        )
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise VerificationFailed(f"{path.name}: not the evidence of an audit ({error!r:.120})") from None
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise VerificationFailed(f"{path.name}: {wrong[0]}{more}")
    return done


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"'{path}' is larger than {_MAX_BYTES} bytes")
        held = read_json(path.read_bytes(), max_depth=_DEPTH)
    except OSError as error:
        raise UsageError(f"cannot read '{path}': {error.strerror}") from None
    except ValueError as error:
        raise VerificationFailed(f"{path.name}: not JSON ({error})") from None
    if not isinstance(held, dict):
        raise VerificationFailed(f"{path.name}: not the evidence of an audit")
    return held
