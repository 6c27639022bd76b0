"""Images: size, bit depth, blank or saturated pictures, inverted ones, and mixed orientations.

Warnings name the repair that would mend them; nothing is changed before a person has looked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.check import Check

__all__ = ["check_images"]

_SHARE = 0.5
_FLAT = 0.01
_BORDER = 0.12  # of a side, at each end


def check_images(
    images: NDArray[np.floating],
    *,
    shape: tuple[int, int, int],
    bits: Sequence[int] = (),
    orientations: Sequence[str] = (),
) -> list[Check]:
    """Checks of a site's images (n, c, h, w) in 0..1. bits, orientations: of each, as the archive's header says.

    shape: agreed in the study.
    """
    if images.shape[1:] != shape:
        sizes = f"images of {images.shape[1:]}, the study agreed on {shape}"
        return [Check(id="image", level="fail", found=sizes, fix="bring the images to the agreed size")]
    found = []
    dull = _share(_blank(images))
    if dull > _SHARE:
        found.append(_warn(f"{dull:.0%} of the images are blank or saturated", "check the window of the export"))
    bright = _share(_border_brighter(images))
    if bright > _SHARE:
        found.append(
            _warn(f"in {bright:.0%} of the images the border is brighter than the centre", "look at repair 'intensity'")
        )
    if len(set(bits)) > 1:
        depths = ", ".join(str(depth) for depth in sorted(set(bits)))
        found.append(_warn(f"images of {depths} bits are mixed", "export all with the same depth"))
    if len(set(orientations)) > 1:
        found.append(_warn(f"{len(set(orientations))} orientations are mixed", "look at the repairs of 'axes'"))
    return found or [Check(id="image", level="ok", found="size, depth, brightness and orientation are as agreed")]


def _warn(found: str, fix: str) -> Check:
    return Check(id="image", level="warn", found=found, fix=f"{fix}, after a person has seen some of them")


def _share(which: NDArray[np.bool_]) -> float:
    return float(which.mean()) if len(which) else 0.0


def _blank(images: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Nearly one grey, or more than half of the pixels at either end of the range."""
    flat = images.reshape(len(images), -1)
    even = flat.max(axis=1) - flat.min(axis=1) < _FLAT
    ends = ((flat <= 0) | (flat >= 1)).mean(axis=1) > _SHARE
    return np.asarray(even | ends)


def _border_brighter(images: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Mean of a frame of an eighth of each side against the mean of the middle half."""
    height, width = images.shape[2:]
    frame = np.ones((height, width), dtype=bool)
    top, left = max(1, round(_BORDER * height)), max(1, round(_BORDER * width))
    frame[top:-top, left:-left] = False
    middle = images[:, :, height // 4 : height - height // 4, width // 4 : width - width // 4]
    return np.asarray(images[:, :, frame].mean(axis=(1, 2)) > middle.mean(axis=(1, 2, 3)))
