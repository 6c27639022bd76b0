"""`RunRecord`: everything a run has to say, as one frozen value and as `run.json`.

The first part of `run.json` is a contract others rely on: `status, sites, included, test, model.digest, ledger,
seed, versions, seconds`. `test` holds numbers, `intervals` mirrors it with interval, sample size, method and
reason, so that a number that is missing is null with its reason beside it. Strict JSON: never NaN.

Times stand in `seconds` and `timings` only: two runs with the same seed are equal elsewhere (`without_times`).
No patient's value, no address of a node is in here. What readers outside may see is `scope`'s matter.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from cohortium.core.check import Check
from cohortium.core.examples import OutcomeKind
from cohortium.errors import DataError
from cohortium.reports.calibration import Bin
from cohortium.reports.comparison import Comparison
from cohortium.reports.fairness import Gap, Subgroup
from cohortium.reports.measure import Measure
from cohortium.reports.privacy import PrivacyRecord, PrivateStudy
from cohortium.reports.quality import QualityRecord
from cohortium.reports.recalibration import Recalibration, Threshold
from cohortium.reports.site_matrix import SiteMatrix

__all__ = [
    "FORMAT",
    "CurveRecord",
    "Flow",
    "LedgerRecord",
    "Measures",
    "Member",
    "ModelRecord",
    "Presence",
    "Results",
    "RoundRecord",
    "RunRecord",
    "SharedFigures",
    "SiteCalibration",
    "Span",
    "Timings",
    "flat",
    "mean_of",
    "plain",
]

FORMAT = "cohortium-run/1"

Measures = dict[str, Measure]


@dataclass(frozen=True, kw_only=True)
class Results:
    """Measures on the test parts. swarm, pooled: over all test rows; single: each site's own model on the same rows.

    single_mean: mean over the single-site models. per_site: site -> `swarm`, `own` (and others) on its own test part.
    """

    swarm: Measures = field(default_factory=dict)
    pooled: Measures = field(default_factory=dict)
    single_mean: Measures = field(default_factory=dict)
    single: dict[str, Measures] = field(default_factory=dict)
    per_site: dict[str, dict[str, Measures]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """name, strategy as in the study; digest: hex SHA-256 of the final parameters."""

    name: str
    digest: str
    strategy: str = ""
    n_parameters: int = 0


@dataclass(frozen=True, kw_only=True)
class Member:
    """One member on the ledger. account: its address; approved: digest of the study it signed (hex)."""

    site: str
    account: str = ""
    approved: str = ""


@dataclass(frozen=True, kw_only=True)
class LedgerRecord:
    """head: hex hash of the newest block. verified: result of the offline replay, None = not run.

    verify: the command that repeats it.
    """

    engine: str
    height: int
    head: str
    members: tuple[Member, ...] = ()
    verified: bool | None = None
    verify: str = ""


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """One round. missing: site -> why it is not in the merge. metrics: of the merged model; per_site: of each site.

    n_attested: members that recomputed the merge and signed it. bytes: sent by all sites together.
    """

    round: int
    leader: str
    contributors: tuple[str, ...]
    merge: str
    stage: str = "model"
    inputs: str = ""
    missing: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    per_site: dict[str, dict[str, float | None]] = field(default_factory=dict)
    n_attested: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Records of one site: read, left out by rule (a record may meet several), and the three parts it was drawn into.

    blanked: values set to missing, by rule. positive: kept records with the outcome (events for survival), None
    where it does not apply. A count that the reader may not see is None and named in `withheld`.
    """

    read: int | None
    train: int | None
    calibration: int | None
    test: int | None
    skipped: dict[str, int | None] = field(default_factory=dict)
    excluded: dict[str, int | None] = field(default_factory=dict)
    blanked: dict[str, int | None] = field(default_factory=dict)
    positive: int | None = None
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Share of missing values, site -> one number per feature (None: withheld).

    word: site -> present, sparse or absent per feature (over 80 % missing: absent, over 5 %: sparse).
    """

    features: tuple[str, ...]
    missing: dict[str, tuple[float | None, ...]]
    word: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SiteCalibration:
    """A site's recalibration, chosen threshold, and the test part's figures before and after both.

    before, after: brier, accuracy, sensitivity, specificity, ppv, npv, calibration_intercept, calibration_slope, ece.
    """

    recalibration: Recalibration
    threshold: Threshold
    before: Measures
    after: Measures
    bins_before: tuple[Bin, ...] = ()
    bins_after: tuple[Bin, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SharedFigures:
    """What a site told the others of the final model on its own patients, in a run between hospitals.

    missing: why it told nothing, else empty. Intervals are the site's own; no count is told. gate: `pass`, `warn` or
    `fail` for each check of its data, where the study compares sites.
    """

    swarm: Measures = field(default_factory=dict)
    own: Measures = field(default_factory=dict)
    missing: str = ""
    gate: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CurveRecord:
    """One survival curve on a grid: survival with band and patients at risk (None: withheld) at each time."""

    name: str
    time: tuple[float, ...]
    survival: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    at_risk: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Span:
    """What a site did when, seconds since the run began."""

    site: str
    round: int
    stage: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Timings:
    """All times but the total: per round, per stage, and spans for the time line."""

    rounds: tuple[float, ...] = ()
    stages: dict[str, float] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run. status: `complete`, `partial (k/n)` or `failed (site, stage, reason)`; included: sites of each round.

    study, study_digest: the plan the sites approved. randomness: `Chance.source`. notes: sentences the reader must
    know, e.g. "real patients, simulated sites". command: what repeats the run. shared: site -> what it told the others,
    in a run between hospitals, where `test` holds the figures of the record's own site only. private_study: of the same
    patients, where one was made beside this run.
    """

    status: str
    outcome: OutcomeKind
    sites: tuple[str, ...]
    included: tuple[tuple[str, ...], ...]
    model: ModelRecord
    ledger: LedgerRecord
    seed: int
    versions: dict[str, str]
    seconds: float
    test: Results = field(default_factory=Results)
    name: str = ""
    study: dict[str, Any] = field(default_factory=dict)
    study_digest: str = ""
    randomness: str = "seeded (simulation)"
    engine: str = ""
    command: str = ""
    rounds: tuple[RoundRecord, ...] = ()
    flow: dict[str, Flow] = field(default_factory=dict)
    presence: Presence | None = None
    comparison: Comparison | None = None
    matrix: SiteMatrix | None = None
    calibration: dict[str, SiteCalibration] = field(default_factory=dict)
    curves: tuple[CurveRecord, ...] = ()
    time_unit: str = ""
    subgroups: tuple[Subgroup, ...] = ()
    gaps: tuple[Gap, ...] = ()
    shared: dict[str, SharedFigures] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    quality: QualityRecord | None = None
    privacy: PrivacyRecord | None = None
    private_study: PrivateStudy | None = None
    notes: tuple[str, ...] = ()
    timings: Timings = field(default_factory=Timings)

    def to_json(self) -> str:
        """`run.json`: fields in the order above, names inside them sorted, no NaN; equal records, equal bytes."""
        document: dict[str, Any] = {"format": FORMAT}
        for part in dataclasses.fields(self):
            document[part.name] = plain(getattr(self, part.name))
            if part.name == "test":
                document["test"], document["intervals"] = _split(document["test"])
        return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> RunRecord:
        """The record of a `run.json`. Raises DataError for other JSON, another format or a wrong type."""
        try:
            document = json.loads(text)
        except ValueError as error:
            raise DataError(f"run record: not JSON ({error})") from None
        found = document.pop("format", None) if isinstance(document, dict) else None
        if found != FORMAT:
            raise DataError(f"run record: format {found!r}, expected {FORMAT!r}")
        try:
            document["test"] = _join(document.get("test", {}), document.pop("intervals", {}))
            return msgspec.convert(document, cls)
        except (msgspec.ValidationError, TypeError, AttributeError, KeyError) as error:
            raise DataError(f"run record: {error}") from None

    @property
    def digest(self) -> str:
        """Hex SHA-256 of `to_json`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def trained(self) -> tuple[str, ...]:
        """The sites that should be in every merge: all but those an audit left out."""
        audited = () if self.quality is None else self.quality.left_out
        return tuple(site for site in self.sites if site not in audited)

    def without_times(self) -> RunRecord:
        """The same record with all times gone: equal for two runs with the same seed."""
        return replace(self, seconds=0.0, timings=Timings())


def flat(measures: Mapping[str, Measure]) -> dict[str, Any]:
    """Metric names at top level and `intervals` beside them, as `cohortium evaluate --json` prints."""
    values, intervals = _split({name: plain(measure) for name, measure in measures.items()})
    return {**values, "intervals": intervals}


def mean_of(models: Mapping[str, Measures]) -> Measures:
    """Mean of each measure over several models on the same rows (`single_mean`); models without it are left out."""
    names = dict.fromkeys(name for measures in models.values() for name in measures)
    result = {}
    for name in names:
        held = [m[name] for _, m in sorted(models.items()) if name in m and m[name].value is not None]
        value = sum(m.value or 0.0 for m in held) / len(held) if held else None
        result[name] = Measure(value=value, n=max((m.n or 0 for m in held), default=0), method="mean over models")
    return result


def plain(value: Any) -> Any:
    """JSON values of frozen dataclasses, mappings (sorted), sequences and numpy scalars; NaN and infinity -> None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {part.name: plain(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"a run record cannot hold a {type(value).__name__}")


_MEASURE = {part.name for part in dataclasses.fields(Measure)}


def _split(tree: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    values: dict[str, Any] = {}
    beside: dict[str, Any] = {}
    for name, inner in tree.items():
        if set(inner) == _MEASURE:
            values[name] = inner["value"]
            beside[name] = {key: held for key, held in inner.items() if key != "value"}
        else:
            values[name], beside[name] = _split(inner)
    return values, beside


def _join(values: dict[str, Any], beside: dict[str, Any]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for name, inner in values.items():
        if isinstance(inner, dict):
            joined[name] = _join(inner, beside.get(name, {}))
        else:
            joined[name] = {"value": inner, **beside.get(name, {})}
    return joined
