"""Rows and models as arrays of one agreed size, so that the contributions of all sites have one shape."""

from __future__ import annotations

import numpy as np

from cohortium.core.codec import decode, encode
from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError
from cohortium.synth.facts import Facts
from cohortium.synth.rows import Rows

__all__ = ["MOST_ROWS", "packed_rows", "packed_state", "unpacked_rows", "unpacked_state"]

MOST_ROWS = 50_000
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
    """What `packed_rows` packed. Raises FrameError where the arrays are not such rows."""
    try:
        n, values, gaps = int(packed["n"][0]), np.asarray(packed["values"], dtype=np.float64), packed["gaps"]
        fits = values.ndim == 2 and values.shape == gaps.shape and values.shape[1] == len(facts.names)
    except (KeyError, IndexError, TypeError, ValueError):
        fits = False
    if not fits or not 0 <= n <= min(len(values), MOST_ROWS):
        raise FrameError("shared rows do not have the agreed shape")
    held = np.where(np.asarray(gaps[:n], dtype=bool), np.nan, values[:n])
    return Rows(facts, {name: held[:, at].copy() for at, name in enumerate(facts.names)})


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
