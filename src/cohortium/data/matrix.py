"""Stored columns as learners see them: one float matrix, or images; and subgroup codes beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.data.schema import CohortSchema, Subgroup

__all__ = ["feature_matrix", "image_array", "subgroup_codes"]

_FULL = {"uint8": 255.0, "uint16": 65_535.0}


def feature_matrix(
    schema: CohortSchema,
    columns: Mapping[str, NDArray[Any]],
    masks: Mapping[str, NDArray[np.bool_]],
    rows: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Features of the rows in the schema's order, shape (n, p), a copy. NaN where missing."""
    x = np.empty((len(rows), sum(len(column.features) for column in schema.features)))
    at = 0
    for column in schema.features:
        values, missing = columns[column.name][rows], masks[column.name][rows]
        block = x[:, at : at + len(column.features)]
        if column.kind == "category":
            block[:] = values[:, None] == np.arange(len(column.values))
        elif column.kind == "fingerprint":
            block[:] = np.unpackbits(values, axis=1)[:, : column.n]
        else:
            block[:] = values.reshape(block.shape)
        block[missing] = np.nan
        at += len(column.features)
    return x


def image_array(
    schema: CohortSchema,
    columns: Mapping[str, NDArray[Any]],
    masks: Mapping[str, NDArray[np.bool_]],
    rows: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Images of the rows, float32 (n, c, h, w), whole-number pixels scaled to 0..1; a copy."""
    del masks  # rows without an image were skipped
    name = next(column.name for column in schema.features if column.kind == "image")
    pixels = columns[name][rows]
    scale = np.float32(_FULL.get(pixels.dtype.name, 1.0))
    return np.asarray(pixels.astype(np.float32) / scale, dtype=np.float32)


def subgroup_codes(
    schema: CohortSchema,
    subgroup: Subgroup,
    columns: Mapping[str, NDArray[Any]],
    masks: Mapping[str, NDArray[np.bool_]],
) -> NDArray[np.int8]:
    """Index of every row's label, -1 where unknown. Cuts hold their lower edge; `>70` leaves 70 below."""
    values = columns[subgroup.column]
    codes = np.zeros(len(values), dtype=np.int8)
    if not subgroup.edges:
        codes = values.astype(np.int8)
    for edge in subgroup.edges:
        strict = edge == subgroup.edges[-1] and subgroup.labels[-1].startswith(">") and subgroup.labels[-1][1:2] != "="
        codes += (values > edge if strict else values >= edge).astype(np.int8)
    return np.where(masks[subgroup.column], -1, codes).astype(np.int8)
