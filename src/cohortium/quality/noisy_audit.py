"""`out-of-bag` under differential privacy: an audit of three exchanges in which nothing leaves a site without noise.

    first, second  noisy sums over all patients, shared out under masks (`noisy_probe`)     two `gaussian` events
    number         each site shows its class of size and two noisy numbers (`noisy`)        one `laplace` event

    audit = NoisyOutOfBag(epsilon=1.0, scale=PublicScale(ranges=(("*", -3.0, 3.0),)))
    audit.run({"porto": (x, y), ...}, entropy=os.urandom, seed=0).table

There is one pass, and no calibration, novelty, record trust or repair in sums: each would be a release of its own, and
a weight that follows a site's own evidence moves with all its patients when one is added, so no clipping bounds it.
Bisections share no budget: a patient is in one half of each. Sites keep nothing between rounds; each finds the probes
itself from the noisy sums in the state. Design: harmful-data.md 5 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Layout
from cohortium.core.marks import SHOWN, drawn_by, lot_of, showing
from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivacyTerms, PrivateSteps
from cohortium.core.verdicts import Needs
from cohortium.data.public_scale import PublicScale
from cohortium.errors import PeerError, UsageError
from cohortium.privacy.dp.noise import SecretStream
from cohortium.privacy.dp.sampling import public_size
from cohortium.privacy.dp.terms import audit_terms
from cohortium.quality.binding import own_rows
from cohortium.quality.decide import Table
from cohortium.quality.evidence import record_suspicion
from cohortium.quality.halves import halves_drawn
from cohortium.quality.noisy import GRID, Noisiness, NoisyEvidence, noisy_numbers, noisy_table
from cohortium.quality.noisy_probe import (
    MOST_COLUMNS,
    NoisyProbes,
    NoisyScale,
    columns_seen,
    first_grid,
    first_terms,
    label_sums,
    product_sums,
    read_probes,
    read_scale,
    second_grid,
    seen,
)
from cohortium.quality.out_of_bag import LEAST_SITES, Cost, Record
from cohortium.quality.pool import Pool, as_examples, pool_of

__all__ = ["EXCHANGES", "FIELDS", "NoisyAuditor", "NoisyOutOfBag", "NoisyResult"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FIRST, SECOND, NUMBER, DONE = range(4)
EXCHANGES = DONE
FIELDS = ("size", "cases", "others")
"""Columns of the table; numbers in steps of 2^-10, a row of zeros where a site has shown nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyAuditor:
    """Both halves of the audit. sites: all, sorted; terms: of the run; alpha, convict, to_sign: of the verdicts."""

    sites: tuple[str, ...]
    terms: PrivacyTerms
    scale: PublicScale
    halves: int = 8
    masked: bool = False
    alpha: float = 0.01
    convict: float = 0.95
    to_sign: bool = False

    def initial(self, lot: int | bytes = 0) -> Parameters:
        """Before the first exchange. lot: what the halves follow from, 32 bytes of the ledger, or a number."""
        return drawn_by(_clock(FIRST), lot)

    def finished(self, state: Parameters) -> bool:
        """Whether the table is there."""
        return _stage(state) == DONE

    # a site's half

    def answer(self, state: Parameters, pool: Pool) -> Parameters:
        """Never: what it asks about patients leaves with noise only. Raises UsageError."""
        raise UsageError("an audit under differential privacy is answered with noise; it needs the terms of its run")

    def noisy(self, state: Parameters, pool: Pool, *, steps: PrivateSteps) -> Parameters:
        """What the one site of the pool answers, with its part of the noise."""
        (site,) = pool.examples
        stage, x = _stage(state), self._seen(pool)
        if stage == NUMBER:
            return self._row(state, site, x, pool.y, steps)
        stream = SecretStream(steps.entropy, use="harm-audit")
        if stage == FIRST:
            grid, sums = first_grid(x.shape[1]), {"first": first_terms(x).sum(axis=0)}
        else:
            grid = second_grid(x.shape[1], halves=self.halves)
            scale = read_scale(np.asarray(state["first"], dtype=np.int64))
            design, member = scale.design(x), self._member(state)[site]
            sums = {"products": product_sums(design, bound=scale.bound),
                    "labels": label_sums(design, pool.y, member, bound=scale.bound)}  # fmt: skip
        return Parameters(dict(grid.noisy(sums, multiplier=steps.noise_multiplier, stream=stream)))

    def _row(self, state: Parameters, site: int, x: Floats, y: Floats, steps: PrivateSteps) -> Parameters:
        table = np.zeros((len(self.sites), len(FIELDS)), dtype=np.int64)
        scale, probes = self.probes(state)
        z = probes.scores(scale.design(x), self._member(state)[site])
        stream = SecretStream(steps.entropy, use="harm-evidence")
        table[site] = public_size(len(y)), *noisy_numbers(z, y, scale=steps.noise_multiplier, stream=stream)
        return Parameters({"table": table})

    def ranked(self, state: Parameters, pool: Pool) -> tuple[Record, ...]:
        """The one site's own records, most suspicious first; they stay there. No look-alikes are sought."""
        (site,) = pool.examples
        scale, probes = self.probes(state)
        z = probes.scores(scale.design(self._seen(pool)), self._member(state)[site])
        suspicion = record_suspicion((2.0 * pool.y - 1.0) * z, np.zeros(len(z)))
        return tuple(
            Record(row=int(i), label=int(pool.y[i]), probability=float(fp.sigmoid(z[i])),
                   suspicion=float(suspicion[i]), why="label", look_alike=-1)
            for i in np.argsort(-suspicion, kind="stable")
        )  # fmt: skip

    def _seen(self, pool: Pool) -> Floats:
        if "seen" not in pool.cache:
            (examples,) = pool.examples.values()
            known = self.scale.initial(examples.layout, rng=np.random.default_rng(0))
            pool.cache["seen"] = seen(self.scale.apply(known, examples, own=Parameters()))
        found: Floats = pool.cache["seen"]
        return found

    def _member(self, state: Parameters) -> NDArray[np.bool_]:
        return halves_drawn(lot_of(state), attempt=0, number=0, draw=0, n_sites=len(self.sites), halves=self.halves,
                            masked=self.masked)  # fmt: skip

    # the leader's half: pure, repeated by every node

    def advance(self, state: Parameters, total: Parameters) -> Parameters:
        """The next state: the noisy sums themselves, so that no node depends on another's arithmetic."""
        stage = _stage(state)
        state |= Parameters({name: np.asarray(total[name], dtype=np.int64) for name in total}) | _clock(stage + 1)
        if stage == SECOND:
            return showing(state)
        return state.without([SHOWN]) if stage == NUMBER else state

    def gather(self, state: Parameters, answers: Mapping[str, Parameters]) -> Parameters:
        """The table, each site's own row. Raises PeerError naming a site whose row cannot be."""
        table = np.zeros((len(self.sites), len(FIELDS)), dtype=np.int64)
        for at, row in own_rows(answers, "table", sites=self.sites, width=len(FIELDS)).items():
            size = int(row[0])
            if size < 0 or size % 10 or (not size and row.any()):
                name = self.sites[at]
                raise PeerError(f"site '{name}' shows evidence that no site can have found", site=name)
            table[at] = row
        return Parameters({"table": table})

    def probes(self, state: Parameters) -> tuple[NoisyScale, NoisyProbes]:
        """What the noisy sums of a state after the second exchange say."""
        scale = read_scale(np.asarray(state["first"], dtype=np.int64))
        sums = {name: np.asarray(state[name], dtype=np.int64) for name in ("products", "labels")}
        whole = math.sqrt(len(self.sites) / self.terms.n_sharing)  # the share of every site, should none be missing
        return scale, read_probes(sums, scale, multiplier=self.terms.sums[1] * whole)

    def known(self, state: Parameters) -> Noisiness:
        """What everybody knows of the numbers of a finished audit."""
        _, probes = self.probes(state)
        return Noisiness(strength=round(probes.strength, 3), certain=round(probes.certain, 3),
                         scale=self.terms.shown[0] * (1.0 + GRID), alpha=self.alpha)  # fmt: skip

    def evidence(self, state: Parameters) -> tuple[NoisyEvidence, ...]:
        """The numbers of a finished audit; sites without a row have shown nothing."""
        rows = zip(self.sites, np.asarray(state["table"], dtype=np.int64), strict=True)
        return tuple(
            NoisyEvidence(site=site, size=int(size), cases=float(cases) * GRID, others=float(others) * GRID)
            for site, (size, cases, others) in rows
            if size
        )

    def table(self, state: Parameters) -> Table:
        """The verdicts of a finished audit: the same bytes at every node."""
        return noisy_table(self.evidence(state), self.known(state), sites=self.sites, convict=self.convict,
                           to_sign=self.to_sign)  # fmt: skip

    def drawing(self, state: Parameters) -> dict[str, Any]:
        """Seed and halves by name, so that anybody can check the draw."""
        member = self._member(state)
        return {
            "seed": lot_of(state).hex(),
            "drawn": {"attempt": 0, "pass": 0, "draws": 0, "masked": self.masked},
            "halves": [[site for site, inside in zip(self.sites, half, strict=True) if inside] for half in member.T],
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyResult:
    """What came of an audit: the table all nodes agree on, its cost, the final state."""

    table: Table
    cost: Cost
    state: Parameters


@dataclass(frozen=True, kw_only=True)
class NoisyOutOfBag:
    """The detector. epsilon, delta: of one audit, for one patient; alpha: chance that noise alone convicts a site.

    scale: of the columns, public. halves: even, 4 to 16. convict: posterior. to_sign: the study registers subgroups.
    """

    needs: ClassVar[Needs] = "scores"

    epsilon: float = 1.0
    delta: float = 1e-5
    alpha: float = 0.01
    halves: int = 8
    convict: float = 0.95
    scale: PublicScale = field(default_factory=PublicScale)
    to_sign: bool = False

    def auditor(self, sites: Collection[str], layout: Layout, *, masked: bool = True) -> NoisyAuditor:
        """What these sites exchange. Raises UsageError for too few sites or too many columns, MissingExtra."""
        if len(sites) < LEAST_SITES:
            raise UsageError(f"detector 'out-of-bag' needs at least {LEAST_SITES} sites, got {len(sites)}")
        if (width := columns_seen(layout)) > MOST_COLUMNS:
            raise UsageError(f"an audit under differential privacy sees {MOST_COLUMNS} columns at most, got {width}")
        terms = audit_terms(self.epsilon, self.delta, n_sites=len(sites))
        return NoisyAuditor(sites=tuple(sorted(sites)), terms=terms, scale=self.scale,
                            halves=self.halves, masked=masked, alpha=self.alpha, convict=self.convict,
                            to_sign=self.to_sign)  # fmt: skip

    def run(self, sites: Mapping[str, Any], *, entropy: Callable[[int], bytes], seed: int | bytes = 0) -> NoisyResult:
        """Audit all sites in one process, each with its own part of the noise. entropy: n secret bytes.

        sites: as `OutOfBag.run` takes them. Raises as `auditor` and `pool_of` do.
        """
        names = sorted(sites)
        pools = {name: pool_of({at: as_examples(sites[name])}, most_columns=None) for at, name in enumerate(names)}
        layout = next(iter(pools[names[0]].examples.values())).layout
        auditor = self.auditor(names, layout)
        state = auditor.initial(seed)
        for exchange in range(EXCHANGES):
            steps = auditor.terms.asked(exchange, clipping_norm=1.0, entropy=entropy)
            answers = {name: auditor.noisy(state, pools[name], steps=steps) for name in names}
            total = auditor.gather(state, answers) if exchange == NUMBER else _added(answers)
            state = auditor.advance(state, total)
        return self.result(auditor, state)

    def result(self, auditor: NoisyAuditor, state: Parameters) -> NoisyResult:
        """What a finished state says. All probes together read every record once for each of two sums."""
        cost = Cost(training_steps_ratio=2.0, model_transfers=EXCHANGES * len(auditor.sites), exchanges=EXCHANGES)
        return NoisyResult(table=auditor.table(state), cost=cost, state=state)


def _added(answers: Mapping[str, Parameters]) -> Parameters:
    first = next(iter(answers.values()))
    return Parameters({name: np.sum([one[name] for one in answers.values()], axis=0) for name in first})


def _stage(state: Parameters) -> int:
    return int(state["clock"][0])


def _clock(stage: int) -> Parameters:
    return Parameters({"clock": np.array([stage], dtype=np.int64)})
