"""A finished single-site model with its counts rounded, so that none of them speaks of a few patients.

published = rounded_counts(state, min_cell=10)      # every count of patients a multiple of 10

Multiples, and not merely no small ones: sums and differences of published counts are multiples too, so nothing small
can be found by taking one from another. Counts are rounded as running sums, along the values of a number and, in a
table of a network, along the rows of parents from the fullest on: every total stays right to half a cell. What decides
shapes (whether gaps are modelled) is kept. Coefficients, correlations and weights of networks are left as they are.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.synth.generators.coding import MODELLED_GAP
from cohortium.synth.generators.normal_scores import mid_rank_scores

__all__ = ["is_count", "rounded_counts"]

Integers = NDArray[np.int64]

_PLAIN: Final = re.compile(r"^(foundation/)?(counts|levels)/\d+$")
_TABLE: Final = re.compile(r"^(foundation/)?(whole )?table/.*/counts$")
_GAPS: Final = re.compile(r"^(foundation/)?missing$")
_ALL: Final = re.compile(r"^(foundation/)?n$")


def is_count(name: str) -> bool:
    """Whether an array of a finished state holds numbers of patients."""
    return any(pattern.match(name) for pattern in (_PLAIN, _TABLE, _GAPS, _ALL))


def rounded_counts(state: Parameters, *, min_cell: int) -> Parameters:
    """The state with every count of patients a multiple of `min_cell`, and the scores and shares that follow."""
    found: dict[str, object] = dict(state.items())
    for name in filter(is_count, state):
        held = np.asarray(state[name], dtype=np.int64)
        if _ALL.match(name):
            found[name] = _up(held, min_cell)
        elif _GAPS.match(name):
            n = int(state[f"{name.removesuffix('missing')}n"][0])
            found[name] = np.where(held >= MODELLED_GAP * n, _up(held, min_cell), held // min_cell * min_cell)
        elif _TABLE.match(name):
            table, counts = name.removesuffix("counts"), _running(held, min_cell)
            found[name], found[f"{table}z"] = counts, mid_rank_scores(counts)
            found[f"{table}written"] = _shares(np.asarray(state[f"{table}written"]), int(held.sum()), min_cell)
        elif held.ndim == 2:
            order = np.argsort(-held.sum(axis=0), kind="stable")
            table_of = np.zeros_like(held)
            table_of[:, order] = _running(held[:, order], min_cell)
            found[name] = table_of
        else:
            found[name] = _running(held, min_cell)
    return Parameters(found)


def _up(counts: Integers, cell: int) -> Integers:
    return -(-counts // cell) * cell


def _running(counts: Integers, cell: int) -> Integers:
    """Running sums along the last axis to the nearest multiple, and the steps between them."""
    rounded = (np.cumsum(counts, axis=-1) + cell // 2) // cell * cell
    return np.diff(rounded, axis=-1, prepend=0)


def _shares(shares: NDArray[np.float64], n: int, cell: int) -> NDArray[np.float64]:
    """Shares of n patients, in steps of one cell."""
    whole = _running(np.rint(np.append(shares, 1.0 - shares.sum()) * n).astype(np.int64), cell)
    return shares if cell == 1 else np.asarray(whole[:-1] / max(int(whole.sum()), cell), dtype=np.float64)
