"""`out-of-bag`, the default detector: every record is judged by models that never saw its site.

    audit = co.quality.OutOfBag(halves=8, passes=2, convict=0.95)
    result = audit.run({"porto": (x, y), ...}, probe="logistic", seed=0)
    result.sites["porto"]        # a Verdict
    result.records("porto")      # ranked records: only at porto

`run` holds all sites in one process and takes their rows together; `learner.Audit` is the same audit as a learner by
sums, for the round machine. Both use `stages.Auditor`, whose totals are integers, so the verdict tables are equal byte
for byte.

The audit is made for mistakes, not for enemies: scores are computed by the accused. What it cannot see: backdoors that
leave held-out error alone, shortcuts, collusion above 35-40 % of the records, very small sites. Design:
harmful-data.md 5.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters
from cohortium.core.verdicts import Needs, Repair, Status, Verdict
from cohortium.errors import DataError, UsageError
from cohortium.quality.decide import Rules, Table
from cohortium.quality.evidence import SUSPECT
from cohortium.quality.judging import Judged, PassModels
from cohortium.quality.learner import MAX_EXCHANGES
from cohortium.quality.pool import Pool, as_examples, pool_of
from cohortium.quality.repairs import library
from cohortium.quality.slots import X_BITS
from cohortium.quality.stages import Auditor, AuditPlan

__all__ = ["AuditResult", "Cost", "OutOfBag", "Record"]

Floats = NDArray[np.float64]

LEAST_SITES = 6


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Counted, not estimated. training_steps_ratio: records trained on by all probes, each exchange anew, over those

    of one probe trained on everybody. model_transfers: payloads that sites sent. exchanges: rounds.
    """

    training_steps_ratio: float
    model_transfers: int
    exchanges: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """One of a site's own records. row: in the site's examples; label: as given; probability: of a case, by the other

    sites' models; suspicion: that the record is wrong; why: rather its label, or its values; look_alike: row of the
    nearest trusted record, or -1.
    """

    row: int
    label: int
    probability: float
    suspicion: float
    why: Literal["label", "values"]
    look_alike: int


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditResult:
    """What came of an audit. table: what all nodes agree on; flagged: suspicious records by site, counts only.

    Records of a site are asked for by name, where its rows are.
    """

    table: Table
    cost: Cost
    flagged: Mapping[str, int]
    state: Parameters = field(repr=False)
    _held: _Held = field(repr=False)

    @property
    def status(self) -> Status:
        """`decided`, or `inconclusive`: nothing could be said about labels."""
        return self.table.status

    @property
    def sites(self) -> Mapping[str, Verdict]:
        """The verdict on every site."""
        return {one.site: one for one in self.table.verdicts}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Sites whose records have no weight until something changes."""
        return tuple(one.site for one in self.table.verdicts if one.left_out)

    def records(self, site: str) -> tuple[Record, ...]:
        """A site's own records, most suspicious first. Raises UsageError where its rows are not here."""
        return self._held.records(site)

    def suspicion(self, site: str) -> Floats:
        """The probability that each of a site's own records is wrong, in the order of its rows."""
        return self._held.suspicion(site)

    def posterior(self, site: str) -> float:
        """What the site itself knows: like the verdict's, also below five records."""
        return self._held.posterior(site)

    def judged(self) -> Judged:
        """What every row that is here was found to be; in a benchmark, all of them."""
        return self._held.judged()


@dataclass(frozen=True, kw_only=True)
class OutOfBag:
    """The detector. halves: even, 4 to 16; passes: 1 to 3; convict: posterior for action.

    anchors: sites trusted by agreement. one_class_unconfirmed: what happens until a one-class site has answered.
    """

    needs: ClassVar[Needs] = "scores"

    halves: int = 8
    passes: int = 2
    convict: float = 0.95
    anchors: tuple[str, ...] = ()
    one_class_unconfirmed: Literal["keep", "quarantine"] = "keep"

    def __post_init__(self) -> None:
        AuditPlan(sites=self.anchors, halves=self.halves, passes=self.passes)
        if not SUSPECT <= self.convict < 1:
            raise ValueError(f"convict must be 0.5 to below 1, got {self.convict}")

    @property
    def rules(self) -> Rules:
        """What turns evidence into verdicts."""
        return Rules(convict=self.convict, one_class_unconfirmed=self.one_class_unconfirmed)

    def plan(self, sites: Collection[str], *, masked: bool = False, repairs: Sequence[Repair] = ()) -> AuditPlan:
        """What all sites agree on. Raises UsageError for too few sites."""
        if len(sites) < LEAST_SITES:
            raise UsageError(
                f"detector 'out-of-bag' needs at least {LEAST_SITES} sites, got {len(sites)}; use 'agreement'"
            )
        return AuditPlan(
            sites=tuple(sorted(sites)),
            halves=self.halves,
            passes=self.passes,
            masked=masked,
            anchors=frozenset(self.anchors),
            repairs=tuple(one.name for one in repairs),
        )

    def run(
        self,
        sites: Mapping[str, Any],
        *,
        probe: str = "logistic",
        seed: int | bytes = 0,
        masked: bool = False,
        repairs: Sequence[Repair] | None = None,
    ) -> AuditResult:
        """Audit all sites in one process: the same bytes as between nodes whose ledger drew this seed (32 bytes).

        sites: name -> Examples, or a pair x (n, d) or (n, c, h, w), y (n,) of 0 and 1; training and held-out records
        together, one per patient. masked: draw the halves as they are drawn under masks. repairs: the library; None
        takes all that fit the records. Raises DataError for other outcomes or more than 256 columns, UsageError for
        fewer than six sites or another probe.
        """
        if probe != "logistic":
            raise UsageError(f"unknown probe {probe!r}; available: logistic")
        names = sorted(sites)
        rows = {at: as_examples(sites[name]) for at, name in enumerate(names)}
        chosen = tuple(library(rows[0].layout)) if repairs is None and rows else tuple(repairs or ())
        auditor = Auditor(plan=self.plan(names, masked=masked, repairs=chosen), repairs=chosen)
        pool = pool_of(rows)
        state, exchanges = auditor.initial(seed), 0
        while not auditor.finished(state):
            state, exchanges = auditor.advance(state, auditor.answer(state, pool)), exchanges + 1
            if exchanges > MAX_EXCHANGES:
                raise DataError("the audit did not come to an end; its probes find no optimum")
        return self.result(auditor, state, pool, exchanges=exchanges)

    def result(self, auditor: Auditor, state: Parameters, pool: Pool | None, *, exchanges: int) -> AuditResult:
        """What a finished state says. pool: the rows that are here, for their own records."""
        table = auditor.table(state, self.rules)
        return AuditResult(
            table=table,
            cost=Cost(training_steps_ratio=auditor.training_ratio(state),
                      model_transfers=exchanges * len(auditor.plan.sites), exchanges=exchanges),
            flagged={one.site: one.flagged for one in auditor.evidence(state)},
            state=state,
            _held=_Held(auditor, state, pool),
        )  # fmt: skip


class _Held:
    """The rows that are here, judged by the last pass."""

    def __init__(self, auditor: Auditor, state: Parameters, pool: Pool | None) -> None:
        self._auditor, self._state, self._pool = auditor, state, pool
        self._last = auditor.plan.passes - 1

    def judged(self) -> Judged:
        if self._pool is None:
            raise UsageError("no records are here")
        return self._auditor.judged(self._state, self._last, self._pool)

    def _judged(self, site: str) -> tuple[Judged, Pool, int]:
        if site not in self._auditor.plan.sites:
            raise UsageError(f"unknown site {site!r}; sites: {', '.join(self._auditor.plan.sites)}")
        at = self._auditor.plan.sites.index(site)
        if self._pool is None or at not in self._pool.examples:
            raise UsageError(f"the records of site '{site}' are only at '{site}'")
        if f"pass-{self._last}/usual" not in self._state:
            raise UsageError("nothing was scored: no halves of the consortium had both classes")
        return self._auditor.judged(self._state, self._last, self._pool), self._pool, at

    def suspicion(self, site: str) -> Floats:
        judged, pool, at = self._judged(site)
        return judged.suspicion[pool.rows(at)]

    def posterior(self, site: str) -> float:
        judged, _, at = self._judged(site)
        return judged.sites[at].harmful

    def records(self, site: str) -> tuple[Record, ...]:
        judged, pool, at = self._judged(site)
        models, rows = PassModels.read(self._state, f"pass-{self._last}"), pool.rows(at)
        y, suspicion = pool.y[rows], judged.suspicion[rows]
        probability = fp.sigmoid(models.slope * judged.z[rows] + models.offset)
        near = _look_alikes(fp.from_fixed(pool.cache["x"][rows], X_BITS), trusted=suspicion <= SUSPECT)
        order = np.argsort(-suspicion, kind="stable")
        return tuple(
            Record(row=int(i), label=int(y[i]), probability=float(probability[i]), suspicion=float(suspicion[i]),
                   why="values" if judged.deformed[rows[i]] else "label", look_alike=int(near[i])) for i in order
        )  # fmt: skip


def _look_alikes(x: Floats, *, trusted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each row the nearest other trusted one, -1 where there is none."""
    squares = (x * x).sum(axis=1)
    distance = squares[:, None] + squares[None, :] - 2.0 * (x @ x.T)
    np.fill_diagonal(distance, np.inf)
    distance[:, ~trusted] = np.inf
    nearest = distance.argmin(axis=1).astype(np.int64)
    return np.where(np.isfinite(distance[np.arange(len(x)), nearest]), nearest, -1) if len(x) else nearest
