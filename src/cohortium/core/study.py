"""`Study`: the agreed plan of one run, frozen; its digest is what every site approves on the ledger.

Only shapes, types and ranges are checked here. Whether names exist and combinations are possible is
`assembly`'s business, reading the TOML text is `study_text`'s.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "AuditPlan",
    "CohortPlan",
    "DpPlan",
    "EvaluationPlan",
    "ModelPlan",
    "PrivacyPlan",
    "QualityDp",
    "QualityPlan",
    "StopPlan",
    "StrategyPlan",
    "Study",
    "StudyPlan",
    "SurvivalOutcome",
    "SwarmPlan",
    "SynthPlan",
    "ValidationPlan",
]

Name = Annotated[str, Field(min_length=1, max_length=200)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000)]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Named(_Plan):
    """A registered name and whatever options the thing behind it takes."""

    model_config = ConfigDict(extra="allow")
    name: Name

    @property
    def options(self) -> dict[str, Any]:
        """The keys that belong to the named thing itself."""
        return dict(self.model_extra or {})


class SurvivalOutcome(_Plan):
    """Columns of a survival outcome. unit: of `time`."""

    time: Name
    event: Name
    unit: Literal["d", "weeks", "months", "years"] = "d"


class StudyPlan(_Plan):
    """What is studied: outcome and features by column name."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    outcome: Name | SurvivalOutcome
    features: list[Name] | None = None
    exclude: list[Name] = []
    acknowledged: dict[str, Name] = {}

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> StudyPlan:
        if self.features is not None and self.exclude:
            raise ValueError("name either features or exclude, not both")
        if self.features == []:
            raise ValueError("features is empty; leave it out to use every column")
        return self


class CohortPlan(_Plan):
    """How a table becomes numbers. `schema` is the full data contract; without it one is inferred and shown."""

    patient: Name | None = None
    group: Name | None = None
    part: Name | None = None
    subgroups: list[Name] = []
    rows: Literal["patients", "visits"] | None = None
    predict_at: Name | None = None
    bad_records: Literal["skip", "refuse"] | None = None
    fill: Literal["mean", "gaussian", "none"] = "mean"
    scale: Literal["standard", "site", "shrunk", "combat", "public", "none"] = "standard"
    ranges: dict[Name, Annotated[list[float], Field(min_length=2, max_length=2)]] = {}
    columns: dict[str, dict[str, Any]] = {}


class ModelPlan(_Named):
    """The learner and its options. code_digest: of the file behind `module`, the code every site approves."""

    code_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class StopPlan(_Plan):
    """Early stop on the merged training loss: after `patience` rounds without a gain of `min_delta`."""

    patience: Annotated[int, Field(ge=1, le=10_000)]
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class StrategyPlan(_Named):
    """The merge and its options, and the rounds it gets."""

    name: Name = "auto"
    rounds: Annotated[int, Field(ge=1, le=100_000)] = 20
    min_sites: Annotated[int, Field(ge=2, le=128)] | None = None
    round_timeout_s: Seconds = 600.0
    stop: StopPlan | None = None


class SwarmPlan(_Plan):
    """Waiting, late updates and attestation (design: swarm.md section 8)."""

    wait: Literal["all", "progressing", "quorum"] = "progressing"
    silence_s: Seconds = 120.0
    max_round_s: Seconds = 86_400.0
    answer_timeout_s: Seconds = 86_400.0
    attest: Literal["auto", "all", "drawn"] = "auto"
    complete_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    late: Literal["discard", "carry"] = "discard"


class EvaluationPlan(_Plan):
    """Which patients are held out and how results are compared."""

    test_fraction: Share = 0.3
    calibration_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    folds: Annotated[int, Field(ge=0, le=20)] = 0
    per_site: bool = True
    leave_one_out: bool = True
    recalibrate: bool = True
    threshold: Literal["half", "youden", "sensitivity"] = "youden"
    min_sensitivity: Share = 0.9

    @model_validator(mode="after")
    def _something_left_to_train(self) -> EvaluationPlan:
        if self.test_fraction + self.calibration_fraction >= 1:
            raise ValueError("test_fraction and calibration_fraction leave nothing to train on")
        if self.folds == 1:
            raise ValueError("folds must be 0 (one split) or at least 2")
        return self


class DpPlan(_Plan):
    """Differential privacy: what is promised (epsilon at delta, for one patient or one site), and how it is kept.

    mode: `local` = every site adds the whole noise itself; `distributed` = masks at every step, noise shared out.
    sample_rate: probability of each patient in each step. clip: `quantile` lets the norm follow the gradients.
    """

    unit: Literal["patient", "site"] = "patient"
    mode: Literal["local", "distributed"] = "local"
    epsilon: Annotated[float, Field(gt=0, le=1000)] = 3.0
    delta: Annotated[float, Field(gt=0, le=1e-3)] = 1e-5
    clipping_norm: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    sample_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    clip: Literal["fixed", "quantile"] = "fixed"
    allow_large: bool = False
    accept_site_level: bool = False


class AuditPlan(_Plan):
    """What a released model may not exceed under attack, agreed before anybody trains.

    max_auc: of telling members from others. max_tpr: share of members found at 1 % false alarms. references: models
    that are trained for the audit before release.
    """

    max_auc: Annotated[float, Field(gt=0.5, le=1)] = 0.60
    max_tpr: Annotated[float, Field(gt=0.01, le=1)] = 0.03
    references: Annotated[int, Field(ge=4, le=256)] = 8


class PrivacyPlan(_Plan):
    """What members may see of each other's updates.

    secure_aggregation: whether a merge sees only their sum; None: from three sites on, wherever that is possible.
    method: how; threshold encryption is for small updates and needs the extra `he`. fallback: where that is missing.
    word_bits: of a masked number. weights: on the ledger, or masked too, then none is above largest_weight.
    groups: 2 adds up two fixed halves of the sites, each under its own masks. dp: differential privacy; without it
    nothing formal is promised to patients. audit: attacks on the own model.
    """

    secure_aggregation: bool | None = None
    method: Literal["masks", "threshold-ckks"] = "masks"
    fallback: Literal["refuse", "masks"] = "refuse"
    word_bits: Literal[16, 32, 64] = 32
    weights: Literal["public", "hidden"] = "public"
    largest_weight: Annotated[int, Field(ge=1, le=1 << 29)] = 4096
    groups: Literal[1, 2] = 1
    dp: DpPlan | None = None
    audit: AuditPlan = AuditPlan()

    def masked(self, n_sites: int | None) -> bool:
        """Whether a run of so many sites is under masks: as the study says, or by default from 3 to 64 sites.

        n_sites: None where it is not known yet; then unless the study says no.
        """
        if self.secure_aggregation is not None:
            return self.secure_aggregation
        return n_sites is None or 3 <= n_sites <= 64


class QualityDp(_Plan):
    """Noise in a whole audit. epsilon at delta: of one audit, for one patient, all sums and numbers together.

    alpha: chance that noise alone convicts a site whose labels neither agree with the others nor contradict them.
    """

    epsilon: Annotated[float, Field(ge=0.1, le=20)] = 1.0
    delta: Annotated[float, Field(gt=0, le=1e-3)] = 1e-5
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.01


class QualityPlan(_Plan):
    """The audit of the sites' data before training, and what a verdict does.

    gate: `consortium` compares each site's columns with sums of all before training, and first updates where they lie
    open; `site` looks at the own table only. Read with any detector, also with none. copies: near-copies of records at
    other sites are looked for as well, by tokens that every member of the run gets.
    detector: `out-of-bag` (sums only), `agreement` (single-site models, 3 to 9 sites), `travelling` or none.
    on_harm: only tell; apply the repair an audit names and audit again; leave a convicted site out; also eliminate it
    where paired_trial (with and without it, on trusted patients) shows that this helps. halves: of the sites, each
    trains a probe; passes: over the records. convict: posterior for action. exclude_records: `local` leaves out a
    site's own records above `convict`, `list` only ranks them. anchors: sites whose trust stays 1. repairs: those that
    are tried. tolerance (per record), cycles, learning_rate: of `travelling` alone.
    """

    gate: Literal["site", "consortium"] = "site"
    copies: bool = False
    detector: Literal["out-of-bag", "agreement", "travelling", "none"] = "none"
    on_harm: Literal["report", "repair", "quarantine", "eliminate"] = "quarantine"
    halves: Annotated[int, Field(ge=4, le=16, multiple_of=2)] = 8
    passes: Annotated[int, Field(ge=1, le=3)] = 2
    convict: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    exclude_records: Literal["local", "list"] = "list"
    one_class_unconfirmed: Literal["keep", "quarantine"] = "keep"
    anchors: list[Name] = []
    repairs: list[Literal["label-polarity", "intensity", "axes", "units", "code-map", "columns"]] = [
        "label-polarity", "intensity", "axes", "units", "code-map",
    ]  # fmt: skip
    paired_trial: bool = True
    dp: QualityDp | None = None
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.02
    cycles: Annotated[int, Field(ge=1, le=1000)] = 30
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4


class ValidationPlan(_Plan):
    """How a synthetic table is judged. reserve_share: of each site's patients, who never train a generator."""

    reserve_share: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    fidelity_pass: Annotated[float, Field(ge=0, le=1)] = 0.85
    attack_risk_max: Annotated[float, Field(ge=0, le=1)] = 0.05


class SynthPlan(_Plan):
    """A study that learns a generator of patients. genes, treatments, after_baseline: column names.

    derived: flags recomputed from a condition on others. rules: conditions no synthetic patient may break.
    sets: tables to draw, each as large as the training rows. min_cell: fewest patients in a published cell.
    rounds: of networks and of shared rows; sums end by themselves. proximal: mu of `similarity` for networks.
    """

    generator: Name = "bn"
    federation: Name = "exact"
    rounds: Annotated[int, Field(ge=1, le=1000)] = 5
    proximal: Annotated[float, Field(ge=0, le=100)] = 0.01
    sets: Annotated[int, Field(ge=1, le=20)] = 5
    min_cell: Annotated[int, Field(ge=1, le=1000)] = 10
    genes: list[Name] = []
    treatments: list[Name] = []
    after_baseline: list[Name] = []
    derived: dict[str, Annotated[str, Field(min_length=1, max_length=500)]] = {}
    rules: list[Annotated[str, Field(min_length=1, max_length=500)]] = []
    options: dict[str, Any] = {}
    validation: ValidationPlan = ValidationPlan()


class Study(_Plan):
    """One plan, complete. Sections as in the study file; with `[synth]` the model is its generator."""

    study: StudyPlan
    cohort: CohortPlan = CohortPlan()
    model: ModelPlan
    strategy: StrategyPlan = StrategyPlan()
    swarm: SwarmPlan = SwarmPlan()
    privacy: PrivacyPlan = PrivacyPlan()
    quality: QualityPlan = QualityPlan()
    evaluation: EvaluationPlan = EvaluationPlan()
    synth: SynthPlan | None = None

    @model_validator(mode="before")
    @classmethod
    def _generator_is_the_model(cls, content: Any) -> Any:
        if isinstance(content, dict) and isinstance(content.get("synth"), dict) and "model" not in content:
            return {**content, "model": {"name": content["synth"].get("generator", "bn")}}
        return content

    @model_validator(mode="after")
    def _one_thing_to_learn(self) -> Study:
        if self.synth is not None and (self.model.name != self.synth.generator or self.model.options):
            raise ValueError("a study learns a model or, with [synth], a generator; leave [model] out")
        return self

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.name

    def with_seed(self, seed: int | None) -> Study:
        """The same plan under another seed; itself for None."""
        if seed is None:
            return self
        return self.with_plans(evaluation=self.evaluation.model_copy(update={"seed": seed}))

    def with_plans(self, **sections: _Plan) -> Study:
        """The same plan with these sections in the place of its own."""
        copy = self.model_copy(update=sections)
        copy.__dict__.pop("digest", None)  # the copy must not keep the digest of the original
        return copy

    def canonical(self) -> bytes:
        """Every setting, defaults included, as canonical JSON: equal plans give equal bytes."""
        content = self.model_dump(mode="json")
        if self.synth is None:  # studies without synthesis keep the digest they had before there was any
            del content["synth"]
        elif self.synth.federation == "exact":  # as before there was anything to choose
            del content["synth"]["rounds"], content["synth"]["proximal"]
        if self.privacy.method == "masks" and self.privacy.fallback == "refuse":  # as before there was a choice
            del content["privacy"]["method"], content["privacy"]["fallback"]
        if self.quality.detector != "travelling":  # as before there was this detector
            for name in ("tolerance", "cycles", "learning_rate"):
                del content["quality"][name]
        if self.quality.paired_trial:  # as before there was a trial
            del content["quality"]["paired_trial"]
        if self.quality.detector == "none":  # the same for studies without an audit
            content["quality"] = {"detector": "none"}
        for name, usual in (("gate", "site"), ("copies", False)):  # as before there was a choice
            content["quality"].pop(name, None)
            if getattr(self.quality, name) != usual:
                content["quality"][name] = getattr(self.quality, name)
        if self.privacy.groups == 1:
            del content["privacy"]["groups"]
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of `canonical()`, what sites approve (32 bytes)."""
        return hashlib.sha256(b"cohortium-study-1" + self.canonical()).digest()
