"""Repairs: reversible, named changes of a site's own records that a simple mistake would call for.

    kind in [quality] repairs   names and what they do
    label-polarity              `label-polarity`: y becomes 1 - y
    intensity                   `intensity`: an image in 0..1 becomes its negative; standardised columns change sign
    axes                        `flip-horizontal`, `flip-vertical`, `rotate-90`, `rotate-180`, `rotate-270`,
                                `transpose`, `anti-transpose`: images turned or mirrored
    units                       `units:COLUMN:x10`, `units:COLUMN:/10`; 10, 18, 38.67, 88.4, 1000: a column times that
    code-map                    `code-map:COLUMN:2.1`: the codes of a category exchanged, the first means the second
    columns                     `columns:A:B`: two columns exchanged

The site applies each to its own records and asks how well the other sites' models then explain its labels. Only the
best one's name and the class of its gain leave the site. A repair that does not fit the records (an axis flip of a
table) raises ValueError; `library` lists those that fit a layout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.verdicts import LEAST_PUBLISHED, Repair

__all__ = [
    "FACTORS",
    "KINDS",
    "Axes",
    "CodeMap",
    "ColumnSwap",
    "Intensity",
    "LabelPolarity",
    "UnitFactor",
    "find_repair",
    "gain_class",
    "library",
    "offered",
]

KINDS = ("label-polarity", "intensity", "axes", "units", "code-map", "columns")
"""What a study may name; `columns` only where it says so."""

FACTORS = (10.0, 18.0, 38.67, 88.4, 1000.0)
"""Ratios between the units clinical columns are measured in, and their inverses."""

_AXES = (
    "flip-horizontal", "flip-vertical", "rotate-90", "rotate-180", "rotate-270", "transpose", "anti-transpose",
)  # fmt: skip
_SQUARE_ONLY = ("rotate-90", "rotate-270", "transpose", "anti-transpose")
_MAX_CODES = 4  # of a category with more, only pairs are exchanged
_MAX_SWAPPED = 40  # columns; of wider tables no pair is tried
_STEPS = (8, 16, 32, 64)

Pixels = NDArray[np.floating]


@dataclass(frozen=True)
class LabelPolarity:
    """Cases and controls exchanged."""

    name: str = "label-polarity"

    @property
    def inverse(self) -> LabelPolarity:
        """Itself."""
        return self

    def apply(self, examples: Examples) -> Examples:
        """The same records with 1 - y. Raises ValueError unless the outcome is binary."""
        if examples.layout.outcome != "binary" or examples.y is None:
            raise ValueError(f"repair '{self.name}' needs a binary outcome")
        return replace(examples, y=1.0 - examples.y)


@dataclass(frozen=True)
class Intensity:
    """Dark and bright exchanged; in a table, the sign of every column."""

    name: str = "intensity"

    @property
    def inverse(self) -> Intensity:
        """Itself."""
        return self

    def apply(self, examples: Examples) -> Examples:
        """1 - x for images in 0..1, -x for tables, which are understood to be standardised."""
        negative = 1.0 - examples.x if examples.layout.image is not None else -examples.x
        return examples.with_x(negative, examples.layout)


@dataclass(frozen=True)
class Axes:
    """Images turned or mirrored in their plane; one of seven."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in _AXES:
            raise ValueError(f"no axis repair '{self.name}'; known: {', '.join(_AXES)}")

    @property
    def inverse(self) -> Axes:
        """The turn the other way; a flip is its own."""
        return Axes({"rotate-90": "rotate-270", "rotate-270": "rotate-90"}.get(self.name, self.name))

    def apply(self, examples: Examples) -> Examples:
        """The turned images. Raises ValueError for a table, or where a quarter turn would change the shape."""
        shape = examples.layout.image
        if shape is None:
            raise ValueError(f"repair '{self.name}' needs images")
        if self.name in _SQUARE_ONLY and shape[1] != shape[2]:
            raise ValueError(f"repair '{self.name}' needs square images, these are {shape[1]} x {shape[2]}")
        return examples.with_x(np.ascontiguousarray(_turned(examples.x, self.name)), examples.layout)


@dataclass(frozen=True)
class UnitFactor:
    """One column times a factor: values were entered in another unit."""

    column: str
    factor: float

    @property
    def name(self) -> str:
        """`units:creatinine:/88.4`; never a value of a patient."""
        by = f"x{self.factor:g}" if self.factor >= 1 else f"/{1 / self.factor:g}"
        return f"units:{self.column}:{by}"

    @property
    def inverse(self) -> UnitFactor:
        """The factor the other way round."""
        return UnitFactor(self.column, 1.0 / self.factor)

    def apply(self, examples: Examples) -> Examples:
        """The column scaled; missing values stay missing."""
        at = _position(examples.layout, self.column, self.name)
        x = np.array(examples.x)
        x[:, at] *= self.factor
        return examples.with_x(x, examples.layout)


@dataclass(frozen=True)
class CodeMap:
    """The codes of one category exchanged. order: position of each code's new column, from 0."""

    column: str
    order: tuple[int, ...]

    @property
    def name(self) -> str:
        """`code-map:stage:2.1.3`: the first code means the second."""
        return f"code-map:{self.column}:{'.'.join(str(at + 1) for at in self.order)}"

    @property
    def inverse(self) -> CodeMap:
        """The codes put back."""
        back = [0] * len(self.order)
        for at, to in enumerate(self.order):
            back[to] = at
        return CodeMap(self.column, tuple(back))

    def apply(self, examples: Examples) -> Examples:
        """The 0/1 columns of the category exchanged. Raises ValueError where the layout has no such category."""
        columns = _categories(examples.layout).get(self.column, ())
        if len(columns) != len(self.order):
            raise ValueError(f"repair '{self.name}' needs a category '{self.column}' of {len(self.order)} codes")
        x = np.array(examples.x)
        for at, to in enumerate(self.order):
            x[:, columns[to]] = examples.x[:, columns[at]]
        return examples.with_x(x, examples.layout)


@dataclass(frozen=True)
class ColumnSwap:
    """Two columns exchanged: their headings were mixed up."""

    first: str
    second: str

    @property
    def name(self) -> str:
        """`columns:kappa:lambda`."""
        return f"columns:{self.first}:{self.second}"

    @property
    def inverse(self) -> ColumnSwap:
        """Itself."""
        return self

    def apply(self, examples: Examples) -> Examples:
        """The same rows with the two columns exchanged."""
        a = _position(examples.layout, self.first, self.name)
        b = _position(examples.layout, self.second, self.name)
        x = np.array(examples.x)
        x[:, [a, b]] = examples.x[:, [b, a]]
        return examples.with_x(x, examples.layout)


def library(layout: Layout, kinds: Sequence[str] = KINDS[:-1]) -> tuple[Repair, ...]:
    """Every repair of these kinds that fits a layout, in the order of the table above.

    Raises ValueError for an unknown kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"unknown repair '{kind}'; available: {', '.join(KINDS)}")
    makers: dict[str, Callable[[], list[Repair]]] = {
        "label-polarity": lambda: [LabelPolarity()] if layout.outcome == "binary" else [],
        "intensity": lambda: [Intensity()],
        "axes": lambda: _axes(layout),
        "units": lambda: _units(layout),
        "code-map": lambda: _code_maps(layout),
        "columns": lambda: _swaps(layout),
    }
    return tuple(one for kind in KINDS if kind in kinds for one in makers[kind]())


def find_repair(name: str, layout: Layout) -> Repair:
    """The repair of that name for these records. Raises ValueError listing the kinds there are."""
    for one in library(layout, KINDS):
        if one.name == name:
            return one
    raise ValueError(f"no repair '{name}' fits these records; kinds: {', '.join(KINDS)}")


def offered(
    examples: Examples,
    repairs: Sequence[Repair],
    score: Callable[[Examples], float],
    *,
    convict: float = 0.95,
) -> tuple[str, int]:
    """The repair to offer and the class of its gain, 8, 16, 32 or 64 nats; ("", 0) where none gains enough.

    score: evidence G that a site's labels are sound, in nats, from models that never saw the site. A repair must gain
    more than log(|library|/.06) + log(convict/(1 - convict)): 8 nats for 9 repairs. Of equal ones the first wins. Sites
    below five records are offered nothing.
    """
    if len(examples) < LEAST_PUBLISHED or not repairs:
        return "", 0
    before = score(examples)
    best, gain = "", 0.0
    for repair in repairs:
        try:
            changed = repair.apply(examples)
        except ValueError:
            continue  # does not fit these records
        gained = score(changed) - before
        if gained > gain:
            best, gain = repair.name, gained
    least = math.log(len(repairs) / 0.06) + math.log(convict / (1 - convict))
    return (best, gain_class(gain)) if gain > least else ("", 0)


def gain_class(gain: float) -> int:
    """A gain that is enough as it leaves the site: 8, 16, 32 or 64 nats, rounded down."""
    return max((step for step in _STEPS if step <= gain), default=_STEPS[0])


def _turned(x: Pixels, name: str) -> Pixels:
    """Images (n, c, h, w), turned; quarter turns run against the clock."""
    if name.startswith("rotate"):
        return np.rot90(x, k=int(name.removeprefix("rotate-")) // 90, axes=(2, 3))
    if name == "transpose":
        return x.swapaxes(2, 3)
    if name == "anti-transpose":
        return np.rot90(x, k=2, axes=(2, 3)).swapaxes(2, 3)
    return np.flip(x, axis=3 if name == "flip-horizontal" else 2)


def _axes(layout: Layout) -> list[Repair]:
    if layout.image is None:
        return []
    square = layout.image[1] == layout.image[2]
    return [Axes(name) for name in _AXES if square or name not in _SQUARE_ONLY]


def _units(layout: Layout) -> list[Repair]:
    coded = {at for columns in _categories(layout).values() for at in columns}
    factors = [factor for known in FACTORS for factor in (known, 1.0 / known)]
    return [UnitFactor(c, f) for at, c in enumerate(layout.features) if at not in coded for f in factors]


def _code_maps(layout: Layout) -> list[Repair]:
    found: list[Repair] = []
    for column, codes in _categories(layout).items():
        n = len(codes)
        if n <= _MAX_CODES:
            found += [CodeMap(column, order) for order in permutations(range(n)) if order != tuple(range(n))]
            continue
        for a, b in combinations(range(n), 2):
            order = list(range(n))
            order[a], order[b] = b, a
            found.append(CodeMap(column, tuple(order)))
    return found


def _swaps(layout: Layout) -> list[Repair]:
    coded = {at for columns in _categories(layout).values() for at in columns}
    plain = [name for at, name in enumerate(layout.features) if at not in coded]
    return [ColumnSwap(a, b) for a, b in combinations(plain, 2)] if len(plain) <= _MAX_SWAPPED else []


def _categories(layout: Layout) -> dict[str, tuple[int, ...]]:
    """Positions of the 0/1 columns of each category, `COLUMN=CODE`, by column; at least two codes."""
    found: dict[str, list[int]] = {}
    for at, name in enumerate(layout.features):
        column, equals, _ = name.partition("=")
        if equals:
            found.setdefault(column, []).append(at)
    return {column: tuple(places) for column, places in found.items() if len(places) > 1}


def _position(layout: Layout, column: str, repair: str) -> int:
    if column not in layout.features:
        raise ValueError(f"repair '{repair}' needs a column '{column}'")
    return layout.features.index(column)
