"""Modes of every number by additive EM over patients: what `ctgan` learns where histograms alone are not to decide.

Every exchange each site sends, for every mode, the sums of r, r u and r u^2 over its patients (r: responsibility, u:
the value in units of the published spread), rounded patient by patient; the leader half adds nothing but the formulas.
So the modes of many sites are those of the pooled patients to the last bit, under masks too. Start: the quantiles
(k - 1/2)/K of the published table, sd = IQR/K, equal weights. A number stands still when the mean log density grew by
less than 1e-4; modes below 0.005 go. Design: synthetic-data.md 4, mode-specific normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters
from cohortium.models.row_sums import summed_products
from cohortium.synth.generators.modes import LEAST_SD, LEAST_WEIGHT, TOLERANCE, Modes, start_of
from cohortium.synth.generators.normal_scores import Scores

__all__ = ["MAX_EXCHANGES", "ModesByEm"]

Floats = NDArray[np.float64]

MAX_EXCHANGES = 30
_VALUE_BITS, _SHARE_BITS = 12, 12
_LARGEST = 16.0  # spreads from the middle: what lies further out counts as there


@dataclass(frozen=True, kw_only=True)
class ModesByEm:
    """tables: published, one a number. All numbers are asked at once; a number that stands still is left as it is."""

    tables: Sequence[Scores]

    def initial(self) -> Parameters:
        """The start, from the published tables. `still`: numbers that need no exchange."""
        starts = [start_of(table) for table in self.tables]
        arrays: dict[str, object] = {"round": np.zeros(1, dtype=np.int64)}
        middles, spreads, still = np.zeros(len(starts)), np.ones(len(starts)), np.ones(len(starts), dtype=np.int64)
        for k, (modes, spread) in enumerate(starts):
            if spread > 0:
                middles[k], spreads[k], still[k] = modes.means[len(modes) // 2], spread, 0
            arrays |= _packed(k, Modes(modes.weights, (modes.means - middles[k]) / spreads[k], modes.sds / spreads[k]))
        score = np.full(len(starts), -np.inf)
        return Parameters(arrays | {"middle": middles, "spread": spreads, "still": still, "score": score})

    def answer(self, state: Parameters, values: Sequence[Floats]) -> Parameters:
        """Sums over these patients. values: one array a number, without gaps and spikes."""
        found: dict[str, object] = {"n": np.array([len(one) for one in values], dtype=np.int64)}
        score = np.zeros(len(values), dtype=np.int64)
        for k in self._moving(state):
            u = (values[k] - float(state["middle"][k])) / float(state["spread"][k])
            steps = fp.to_fixed(np.clip(u, -_LARGEST, _LARGEST), _VALUE_BITS, what="values")
            log_density = _log_densities(_unpacked(state, k), fp.from_fixed(steps, _VALUE_BITS))
            top = log_density.max(axis=1, initial=-np.inf, keepdims=True)
            raised = fp.exp(log_density - top)
            total = fp.ordered_sum(raised, axis=1)
            shares = fp.to_fixed(raised / total[:, None], _SHARE_BITS, what="responsibilities")
            powers = np.column_stack([np.ones_like(steps), steps, steps * steps])
            found[f"sums/{k}"] = summed_products(shares, powers, what="moments of modes")
            score[k] = fp.to_fixed(top[:, 0] + fp.log(total), _SHARE_BITS, what="log density").sum()
        return Parameters(found | {"score": score})

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half."""
        number = int(start["round"][0]) + 1
        found: dict[str, object] = dict(start.items())
        still, score = np.array(start["still"]), np.array(start["score"])
        for k in self._moving(start):
            n = max(int(total["n"][k]), 1)
            now = float(fp.from_fixed(total["score"][k], _SHARE_BITS)) / n
            if now - score[k] < TOLERANCE or int(total["n"][k]) == 0:
                still[k] = 1
                continue
            score[k] = now
            found |= _packed(k, _moved(_unpacked(start, k), np.asarray(total[f"sums/{k}"], dtype=np.int64)))
        if number >= MAX_EXCHANGES:
            still[:] = 1
        return Parameters(found | {"round": np.array([number], dtype=np.int64), "still": still, "score": score})

    def finished(self, state: Parameters) -> bool:
        """Whether every number stands still."""
        return bool(np.asarray(state["still"]).all())

    def modes(self, state: Parameters) -> tuple[Modes, ...]:
        """The modes that are kept, by number, in units of the column."""
        found = []
        for k in range(len(self.tables)):
            held = _unpacked(state, k)
            kept = held.weights >= LEAST_WEIGHT
            middle, spread = float(state["middle"][k]), float(state["spread"][k])
            weights = held.weights[kept] / fp.ordered_sum(held.weights[kept])
            found.append(Modes(weights, middle + spread * held.means[kept], spread * held.sds[kept]))
        return tuple(found)

    def _moving(self, state: Parameters) -> list[int]:
        return [k for k, still in enumerate(np.asarray(state["still"]).tolist()) if not still]


def _log_densities(modes: Modes, u: Floats) -> Floats:
    """log weight + log normal density, up to what all modes share, (n, k)."""
    constant = fp.log(np.maximum(modes.weights, 1e-12)) - fp.log(modes.sds)
    away = (u[:, None] - modes.means) / modes.sds
    return np.asarray(constant - 0.5 * away * away)


def _moved(modes: Modes, sums: NDArray[np.int64]) -> Modes:
    """The next modes from sums (k, 3); one that nobody is in stays where it is."""
    share = fp.from_fixed(sums[:, 0], _SHARE_BITS)
    there = share > 0
    held = np.where(there, share, 1.0)
    first = fp.from_fixed(sums[:, 1], _SHARE_BITS + _VALUE_BITS) / held
    second = fp.from_fixed(sums[:, 2], _SHARE_BITS + 2 * _VALUE_BITS) / held
    sds = np.sqrt(np.maximum(second - first * first, LEAST_SD * LEAST_SD))
    weights = (share + 1e-9) / fp.ordered_sum(share + 1e-9)
    return Modes(weights, np.where(there, first, modes.means), np.where(there, sds, modes.sds))


def _packed(k: int, modes: Modes) -> dict[str, object]:
    return {f"modes/{k}": np.stack([modes.weights, modes.means, modes.sds])}


def _unpacked(state: Parameters, k: int) -> Modes:
    held = np.asarray(state[f"modes/{k}"], dtype=np.float64)
    return Modes(held[0], held[1], held[2])
