"""Offline check of an audit's evidence: rows, roots and verdicts of a file against an exported ledger, and against the
study that its rules come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cohortium.core.foreign_json import read_json
from cohortium.core.study import Study
from cohortium.errors import UsageError, VerificationFailed
from cohortium.ledger.archive import Verified
from cohortium.quality.proof import Recorded, faults
from cohortium.quality.repairs import KINDS
from cohortium.sim.auditing import audit_study, detector_of

__all__ = ["EvidenceCheck", "check_evidence"]

_MAX_BYTES = 16 << 20
_DEPTH = 8


@dataclass(frozen=True, kw_only=True)
class EvidenceCheck:
    """What held. run: of the audit on the ledger; rows, roots: sites that had committed what the file says.

    agreed: whether verdicts on the ledger rest on this very table; without one nobody was accused. of_study: whether
    rules and halves were compared with a study's.
    """

    path: Path
    run: int
    rows: int
    roots: int
    verdicts: int
    agreed: bool
    of_study: bool

    @property
    def sentence(self) -> str:
        """For people."""
        voted = (
            "the ledger's verdicts rest on it" if self.agreed else "the ledger holds no verdict that asks for anything"
        )
        return (
            f"evidence of run {self.run}: {self.rows} rows and {self.roots} roots of scores are those that sites had"
            f" committed, roots first; the {self.verdicts} verdicts follow from the rows"
            f"{' by the rules of the study' * self.of_study}, and {voted}"
        )


def check_evidence(path: Path, found: Verified, *, study: Study | None = None) -> EvidenceCheck:
    """Compare an `evidence.json` (or `audit-1.json` of a simulated run) with a ledger that was replayed.

    study: whose audit it must be, and whose rules.

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
        wrong = (*faults(held, recorded), *(() if study is None else _unlike(held, study, recorded.study)))
        done = EvidenceCheck(
            path=path,
            run=run.run,
            rows=len(held["evidence"]),
            roots=len(held["shown"]["roots"]["salts"]) if "roots" in held["shown"] else 0,
            verdicts=len(held["verdicts"]),
            agreed=bool(recorded.verdicts),
            of_study=study is not None,
        )
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise VerificationFailed(f"{path.name}: not the evidence of an audit ({error!r:.120})") from None
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise VerificationFailed(f"{path.name}: {wrong[0]}{more}")
    return done


def _unlike(held: Mapping[str, Any], study: Study, recorded: bytes) -> Iterator[str]:
    """What the file says of the audit's settings, and the study says otherwise. recorded: digest of the run's study."""
    if recorded not in (study.digest, audit_study(study).digest):
        yield "this audit is of another study"
        return
    plan, drawn, decided = study.quality, held["drawn"], held["status"] == "decided"
    if plan.detector != "out-of-bag":
        raise UsageError(f"the study asks for detector '{plan.detector}', whose evidence cannot be checked here")
    asked: dict[str, tuple[object, object]] = {
        name: (value, held["rules"].get(name)) for name, value in asdict(detector_of(plan).rules).items()
    }
    asked["secure aggregation"] = (study.privacy.masked(len(held["verdicts"])), drawn["masked"])
    if decided:
        asked |= {"halves": (plan.halves, len(held["halves"])), "passes": (plan.passes, int(drawn["pass"]) + 1)}
    for name, (wanted, told) in asked.items():
        if told != wanted:
            yield f"the study says {name} = {wanted}, this file {told}"
    kinds = {kind if (kind := name.partition(":")[0]) in KINDS else "axes" for name in held["repairs"]}
    strange = sorted(kinds - set(plan.repairs))
    if strange:
        yield f"the study tries no repair '{strange[0]}', this file does"


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
