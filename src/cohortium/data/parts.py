"""Parts: which patients train, which calibrate, which test. Drawn once, kept for ever.

Patients, not rows, are drawn, within strata of (outcome, group), in the order of a keyed hash: equal at
every reading whatever the order of the file. In every stratum the counts are the wanted shares, rounded so
that all strata together are within one patient of them. A `PartBook`, kept at the site, holds what was
drawn; a later data version keeps those patients where they are and only places the new ones, so that
the shares hold again. A published split wins over all of this.

Exact shares make patients depend on each other: one more moves the border, and another changes its part. Where a
promise counts patients (differential privacy), parts are drawn `alone`: each patient's follows from its own key and
nothing else, so one patient more or less moves nobody, and shares hold on average only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import DataError

__all__ = ["PARTS", "Part", "PartBook", "Split", "draw_folds", "draw_parts", "published_parts"]

Part = Literal["train", "calibration", "test"]
PARTS: tuple[Part, ...] = ("train", "calibration", "test")

_WORDS = {"train": 0, "training": 0, "calibration": 1, "val": 1, "valid": 1, "validation": 1, "test": 2}


@dataclass(frozen=True, kw_only=True)
class Split:
    """Shares of the patients held out for the final figures and for calibration, and the draw's seed.

    drawn: `balanced`, shares exact in every stratum; `alone`, each patient by its key only.
    """

    test: float = 0.3
    calibration: float = 0.1
    seed: int = 0
    drawn: Literal["balanced", "alone"] = "balanced"

    def __post_init__(self) -> None:
        for name in ("test", "calibration"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.test + self.calibration >= 1:
            raise ValueError(f"test + calibration must leave something to train on, got {self.test + self.calibration}")


@dataclass(frozen=True)
class PartBook:
    """Patient key -> index into PARTS, as drawn. Stays at the site."""

    parts: Mapping[bytes, int] = field(default_factory=dict)

    def to_json(self) -> str:
        """Text to store; keys in hexadecimal, sorted."""
        return json.dumps({key.hex(): PARTS[part] for key, part in sorted(self.parts.items())}, indent=0)

    @classmethod
    def from_json(cls, text: str) -> PartBook:
        """The book `to_json` wrote. Raises DataError when it is not one."""
        try:
            return cls({bytes.fromhex(key): PARTS.index(part) for key, part in json.loads(text).items()})
        except (ValueError, AttributeError, TypeError):
            raise DataError("the stored parts are not readable; restore them: parts are never drawn twice") from None


def draw_parts(
    keys: Sequence[bytes],
    strata: Sequence[Hashable],
    split: Split,
    *,
    earlier: PartBook | None = None,
) -> PartBook:
    """A part for every patient. keys, strata: one per row; a patient belongs to its smallest stratum.

    earlier: what was drawn before; those patients stay. Depends on keys, not on the order of rows.
    """
    if split.drawn == "alone":
        return _draw_alone(keys, split)
    kept = {} if earlier is None else dict(earlier.parts)
    parts = dict(kept)
    by_stratum: dict[str, list[bytes]] = {}
    for key, place in _patients(keys, strata).items():
        by_stratum.setdefault(place, []).append(key)
    shares = {2: _exact(split.test), 1: _exact(split.calibration)}
    n_before = 0
    for name in sorted(by_stratum):
        patients = sorted(by_stratum[name], key=lambda key: _order(key, split.seed))
        wanted = {
            part: _rounded(share * (n_before + len(patients))) - _rounded(share * n_before)
            for part, share in shares.items()
        }
        n_before += len(patients)
        new = [key for key in patients if key not in kept]
        for part in (2, 1):
            missing = wanted[part] - sum(kept.get(key) == part for key in patients)
            for key in new[: max(missing, 0)]:
                parts[key] = part
            new = new[max(missing, 0) :]
        parts.update(dict.fromkeys(new, 0))
    return PartBook(parts)


def _draw_alone(keys: Sequence[bytes], split: Split) -> PartBook:
    """Every patient's part from its keyed hash read as a number between 0 and 1."""
    test, most = _exact(split.test), _exact(split.test) + _exact(split.calibration)
    parts = {}
    for key in keys:
        place = Fraction(int.from_bytes(_order(key, split.seed)[:8], "big"), 1 << 64)
        parts[key] = 2 if place < test else 1 if place < most else 0
    return PartBook(parts)


def draw_folds(keys: Sequence[bytes], strata: Sequence[Hashable], k: int, *, seed: int) -> NDArray[np.int64]:
    """Fold 0..k-1 of every row, by patient, sizes within one patient of each other overall."""
    if k < 2:
        raise ValueError(f"k must be at least 2, got {k}")
    stratum = _patients(keys, strata)
    ordered = sorted(stratum, key=lambda key: (stratum[key], _order(key, seed)))
    fold = {key: number % k for number, key in enumerate(ordered)}
    return np.array([fold[key] for key in keys], dtype=np.int64)


def published_parts(words: NDArray[np.str_], *, column: str) -> NDArray[np.int8]:
    """Index into PARTS per row from a column of train, calibration (or val) and test; -1 where it says nothing."""
    lower = np.char.lower(words)
    unknown = sorted(set(np.unique(lower[lower != ""]).tolist()) - set(_WORDS))
    if unknown:
        raise DataError(
            f"column '{column}': {len(unknown)} unknown words for a part; expected train, calibration, test"
        )
    return np.array([_WORDS.get(word, -1) for word in lower.tolist()], dtype=np.int8)


def _patients(keys: Sequence[bytes], strata: Sequence[Hashable]) -> dict[bytes, str]:
    """Patient -> its stratum, the same for every order of the rows."""
    stratum: dict[bytes, str] = {}
    for key, place in zip(keys, strata, strict=True):
        text = str(place)
        stratum[key] = min(text, stratum.get(key, text))
    return stratum


def _exact(share: float) -> Fraction:
    return Fraction(repr(share))


def _rounded(number: Fraction) -> int:
    return int(number + Fraction(1, 2))


def _order(key: bytes, seed: int) -> bytes:
    """Keys are already keyed with the site's secret, so a plain hash tells nobody else the draw."""
    return hashlib.sha256(b"part\x00" + seed.to_bytes(8, "big") + key).digest()
