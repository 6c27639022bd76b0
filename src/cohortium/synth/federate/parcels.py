"""Rows and models as arrays of one agreed size, so that the contributions of all sites have one shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.core.codec import decode, encode
from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.rows import Rows

__all__ = ["MOST_ROWS", "packed_rows", "packed_state", "unpacked_rows", "unpacked_state"]

MOST_ROWS = 50_000
_LARGEST = 1e12
_FORMAT = "cohortium-site-model/1"


def packed_rows(rows: Rows, *, size: int) -> Parameters:
    """n, values and gaps of the rows, padded to `size` of them."""
    if len(rows) > min(size, MOST_ROWS):
        raise ValueError(f"{len(rows)} rows do not fit into {min(size, MOST_ROWS)}")
    held = rows.matrix() if len(rows) else np.zeros((0, len(rows.facts.names)))
    values = np.zeros((size, len(rows.facts.names)))
    gaps = np.zeros(values.shape, dtype=np.uint8)
    gaps[: len(rows)] = np.isnan(held)
    values[: len(rows)] = np.nan_to_num(held)
    return Parameters({"n": np.array([len(rows)], dtype=np.int64), "values": values, "gaps": gaps})


def unpacked_rows(packed: Parameters, facts: Facts) -> Rows:
    """What `packed_rows` packed. Raises FrameError where the arrays are not such rows, or hold what no column can."""
    try:
        n, values, gaps = int(packed["n"][0]), np.asarray(packed["values"], dtype=np.float64), packed["gaps"]
        fits = values.ndim == 2 and values.shape == gaps.shape and values.shape[1] == len(facts.names)
    except (KeyError, IndexError, TypeError, ValueError):
        fits = False
    if not fits or not 0 <= n <= min(len(values), MOST_ROWS):
        raise FrameError("shared rows do not have the agreed shape")
    held = np.where(np.asarray(gaps[:n], dtype=bool), np.nan, values[:n])
    rows = Rows(facts, {name: held[:, at].copy() for at, name in enumerate(facts.names)})
    for fact in facts.columns:
        if not _possible(rows[fact.name], fact):
            raise FrameError(f"shared rows hold values that column '{fact.name}' cannot have")
    return rows


def _possible(values: NDArray[np.float64], fact: Fact) -> bool:
    """Whether a column can hold these: a learner counts levels and takes logarithms without asking again."""
    there = values[~np.isnan(values)]
    if fact.kind in ("time", "event") and len(there) < len(values):
        return False
    if fact.is_number:
        least = 0.0 if fact.kind == "time" else -_LARGEST
        return bool(((there >= least) & (there <= _LARGEST)).all())
    most = len(fact.levels or "01") - 1
    return bool(((there >= 0) & (there <= most) & (there == np.rint(there))).all())


def packed_state(state: Parameters, *, size: int = 0) -> Parameters:
    """A model as bytes, padded to `size` of them; as long as it is for 0."""
    content = b"".join(bytes(part) for part in encode(state, {"format": _FORMAT}))
    room = np.zeros(max(size, len(content)), dtype=np.uint8)
    room[: len(content)] = np.frombuffer(content, dtype=np.uint8)
    return Parameters({"n": np.array([len(content)], dtype=np.int64), "bytes": room})


def unpacked_state(packed: Parameters) -> Parameters:
    """What `packed_state` packed; empty for no bytes. Raises FrameError."""
    try:
        n, room = int(packed["n"][0]), np.asarray(packed["bytes"], dtype=np.uint8)
    except (KeyError, IndexError, TypeError, ValueError):
        raise FrameError("a site's model does not have the agreed shape") from None
    if n == 0:
        return Parameters()
    if not 0 < n <= len(room):
        raise FrameError("a site's model does not have the agreed shape")
    state, metadata = decode(room[:n].tobytes())
    if metadata.get("format") != _FORMAT:
        raise FrameError("these bytes are no site's model")
    return state
