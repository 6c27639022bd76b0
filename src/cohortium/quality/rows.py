"""A site's evidence as a row of whole numbers, which a table in a sum carries, and back. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.verdicts import Evidence
from cohortium.quality.novelty import LARGEST_NOVELTY

__all__ = ["FIELDS", "read_row", "row_of"]

Integers = NDArray[np.int64]

FIELDS = (
    "n", "two_class", "majority", "sound", "reversed", "shifted", "novelty", "contradicted", "flagged", "auroc",
    "ranking", "shortfall", "repair", "gain", "at_stake",
)  # fmt: skip
"""Columns of the evidence table; numbers that are not counts in millionths, `repair` counts from 1 in the library."""

_MICRO = 1_000_000
_LIKELY = ("sound", "reversed", "shifted")  # likelihoods over those of coins: n log 2 where every label is certain
_REAL = {*_LIKELY, "novelty", "auroc", "ranking", "shortfall"}


def row_of(one: Evidence, *, repairs: Sequence[str], silent: bool) -> Integers:
    """A row of the table; where labels may not be judged, nothing that was found by labels is in it."""
    told = {name: getattr(one, name) for name in FIELDS}
    told["repair"] = 1 + repairs.index(one.repair) if one.repair else 0
    if silent:
        told = {
            **dict.fromkeys(FIELDS, 0),
            "n": one.n,
            "two_class": one.two_class,
            "novelty": one.novelty,
            "auroc": 0.5,
        }
    return np.array([round(told[f] * _MICRO) if f in _REAL else int(told[f]) for f in FIELDS], dtype=np.int64)


def read_row(site: str, row: Integers, *, repairs: Sequence[str]) -> Evidence | None:
    """What a row says; None where the site published nothing. Raises ValueError for what no site can have found."""
    told = dict(zip(FIELDS, (int(v) for v in row), strict=True))
    if not row.any():
        return None
    for name in ("two_class", "majority", "at_stake"):
        if told[name] not in (0, 1):
            raise ValueError(f"{name} is 0 or 1, got {told[name]}")
    if not 0 <= told["repair"] <= len(repairs) or not 0 <= told["flagged"] <= told["n"]:
        raise ValueError("an unknown repair, or more records flagged than there are")
    most = {"auroc": 1.0, "novelty": LARGEST_NOVELTY, **dict.fromkeys(_LIKELY, math.log(2.0) * told["n"])}
    for name, bound in most.items():
        least = -math.inf if name in _LIKELY else 0
        if not least <= told[name] <= bound * _MICRO + 1:
            raise ValueError(f"{name} reaches {bound:.6g} at most, got {told[name] / _MICRO:.6g}")
    return Evidence(
        site=site,
        n=told["n"],
        two_class=bool(told["two_class"]),
        at_stake=bool(told["at_stake"]),
        repair=repairs[told["repair"] - 1] if told["repair"] else "",
        **{name: told[name] for name in ("majority", "contradicted", "flagged", "gain")},
        **{name: told[name] / _MICRO for name in sorted(_REAL)},  # type: ignore[arg-type]
    )
