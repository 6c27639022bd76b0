"""The hook for image archives: `ImageSource` delivers raw pixels with what is known of them, `prepare` checks
and normalises. A source for DICOM (or a PACS) is one class elsewhere; the core imports no DICOM library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cohortium.data.table import Table
from cohortium.errors import DataError

__all__ = ["MAX_SIDE", "Image", "ImageSource", "prepare", "table_of_images"]

MAX_SIDE = 4096
_WINDOW = (1.0, 99.0)  # percentiles that become 0 and 1

Photometric = Literal["MONOCHROME1", "MONOCHROME2", "RGB"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """One image as its archive holds it.

    pixels: [h, w] or [c, h, w], whole numbers or floats. slope, intercept: to physical values.
    MONOCHROME1 means that high values are dark. bits: stored bits. burned_in: text is part of the pixels.
    """

    pixels: NDArray[Any]
    spacing_mm: tuple[float, float] | None = None
    photometric: Photometric = "MONOCHROME2"
    bits: int = 8
    burned_in: bool = False
    slope: float = 1.0
    intercept: float = 0.0


class ImageSource(Protocol):
    """Where images come from, one reference at a time; nothing is kept."""

    def read(self, reference: str) -> Image:
        """The image a reference of the site's table names. Raises DataError when it cannot be read."""
        ...


def prepare(image: Image) -> NDArray[np.float32]:
    """Pixels as float32 [c, h, w] in 0..1: slope and intercept applied, MONOCHROME1 inverted, 1-99 % window.

    Raises DataError: burned-in text, a side above 4,096, another number of dimensions, non-finite pixels.
    """
    if image.burned_in:
        raise DataError("text is burned into the pixels; it may name the patient")
    shape = image.pixels.shape
    if image.pixels.ndim not in (2, 3) or max(shape[-2:]) > MAX_SIDE or min(shape) < 1:
        raise DataError(f"pixels of shape {shape}; expected [h, w] or [c, h, w] with at most {MAX_SIDE} a side")
    pixels = image.pixels.astype(np.float64) * image.slope + image.intercept
    if not np.isfinite(pixels).all():
        raise DataError("pixels that are not finite")
    if image.photometric == "MONOCHROME1":
        pixels = pixels.max() + pixels.min() - pixels
    low, high = np.percentile(pixels, _WINDOW)
    scaled = np.clip((pixels - low) / (high - low), 0.0, 1.0) if high > low else np.zeros_like(pixels)
    return scaled.astype(np.float32).reshape((1, *shape) if len(shape) == 2 else shape)


def table_of_images(
    table: Table, source: ImageSource, *, column: str, shape: tuple[int, int, int]
) -> tuple[Table, Mapping[str, Sequence[int]]]:
    """The table with the references in `column` replaced by their pixels, and the rows (from 1) left out, by reason.

    An image that cannot be read, or of another shape, never ends a run: its row is left out and counted.
    """
    kept: list[int] = []
    images: list[NDArray[np.float32]] = []
    bad: dict[str, list[int]] = {}
    for row, reference in enumerate(table.texts(column).tolist()):
        try:
            pixels = prepare(source.read(reference))
            if pixels.shape != shape:
                raise DataError(f"shape {pixels.shape}; expected {shape}")
        except DataError as error:
            bad.setdefault(str(error), []).append(row + 1)
            continue
        kept.append(row)
        images.append(pixels)
    held = np.stack(images) if images else np.zeros((0, *shape), dtype=np.float32)
    return table.take(np.array(kept, dtype=np.int64)).with_column(column, held), bad
