"""How many records and cases each site of a consortium holds: the published 83 centres, or a file of the user's own.

A shape is written `training:cases/held-out:cases`, one word a site, words parted by blanks, commas or new lines.
Source of `pd83`: per-subject table of Souza et al. 2025, npj Digital Medicine (Parkinson MRI, 83 centres).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cohortium.errors import DataError

__all__ = ["LARGE", "PD83", "SMALL", "Shape", "SiteShape", "parse_shape", "read_shape"]

LARGE = 20
"""Sites of so many training records are the large ones of a scenario."""
SMALL = 5
"""Sites of fewer training records are its small ones."""

_WORD = re.compile(r"(\d{1,7}):(\d{1,7})/(\d{1,7}):(\d{1,7})")
_MAX_SITES = 10_000


@dataclass(frozen=True, kw_only=True)
class SiteShape:
    """Records and cases of one site, for training and held out."""

    training: int
    cases: int
    held_out: int
    held_out_cases: int

    def __post_init__(self) -> None:
        if self.training < 1:
            raise DataError(f"a site needs at least 1 training record, got {self.training}")
        if self.cases > self.training or self.held_out_cases > self.held_out:
            raise DataError(f"a site has more cases than records: '{self.word}'")

    @property
    def word(self) -> str:
        """The site as a shape file writes it."""
        return f"{self.training}:{self.cases}/{self.held_out}:{self.held_out_cases}"

    @property
    def two_class(self) -> bool:
        """Whether training and held-out records together hold at least 3 of each class."""
        cases = self.cases + self.held_out_cases
        return min(cases, self.training + self.held_out - cases) >= 3


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A consortium as counts, sites in the order given; they are named `site-01`, `site-02`, ..."""

    name: str
    sites: tuple[SiteShape, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Site names, which sort in the order of the sites."""
        width = max(2, len(str(len(self.sites))))
        return tuple(f"site-{at:0{width}d}" for at in range(1, len(self.sites) + 1))

    @property
    def training(self) -> tuple[int, ...]:
        """Training records of each site."""
        return tuple(one.training for one in self.sites)

    @property
    def held_out(self) -> tuple[int, ...]:
        """Held-out records of each site."""
        return tuple(one.held_out for one in self.sites)

    @property
    def n_records(self) -> int:
        """Training and held-out records together."""
        return sum(self.training) + sum(self.held_out)

    def batches(self, size: int) -> int:
        """Optimiser steps of one cycle that visits every site: b = min(size, n), floor(n/b) batches a site."""
        return sum(n // min(size, n) for n in self.training)

    @property
    def gini(self) -> float:
        """Inequality of the training sizes, 0 (all alike) to 1."""
        sizes = np.sort(np.array(self.training, dtype=np.float64))
        n = len(sizes)
        return float((2 * np.arange(1, n + 1) - n - 1) @ sizes / (n * sizes.sum()))


def parse_shape(text: str, *, name: str) -> Shape:
    """The shape a text describes. Raises DataError naming the word that is wrong."""
    words = [word for word in re.split(r"[\s,;]+", text.strip()) if word]
    if not 2 <= len(words) <= _MAX_SITES:
        raise DataError(f"shape '{name}': a consortium needs 2 to {_MAX_SITES} sites, found {len(words)}")
    sites = []
    for at, word in enumerate(words, start=1):
        found = _WORD.fullmatch(word)
        if found is None:
            raise DataError(
                f"shape '{name}': site {at} is written '{word[:40]}'; "
                "expected training:cases/held-out:cases, as 24:15/6:3"
            )
        try:
            counts = [int(part) for part in found.groups()]
            sites.append(SiteShape(training=counts[0], cases=counts[1], held_out=counts[2], held_out_cases=counts[3]))
        except DataError as error:
            raise DataError(f"shape '{name}': site {at}: {error}") from None
    return Shape(name=name, sites=tuple(sites))


def read_shape(path: Path) -> Shape:
    """The shape in a text or CSV file. Raises DataError when it cannot be read or a word is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot read shape file '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"shape file '{path}' is no text") from None
    return parse_shape(text, name=path.stem)


PD83 = parse_shape(
    """
190:39/55:9 95:61/26:18 90:60/23:14 75:34/19:11 62:0/16:0 60:52/16:14 56:48/14:9 49:32/13:9 37:22/8:8 35:21/7:5
30:14/7:3 27:17/7:6 27:18/7:4 26:17/6:4 26:26/7:7 24:15/6:3 23:13/6:6 22:0/5:0 22:13/6:6 21:15/6:4 21:17/6:5
20:17/5:3 20:12/6:4 20:15/5:3 19:10/5:2 18:12/5:4 16:0/6:0 16:0/6:0 16:8/4:3 13:8/4:3 13:9/4:4 12:11/3:3 11:11/3:3
10:4/2:1 9:0/3:0 9:0/3:0 8:0/4:0 8:8/2:2 8:0/4:0 7:0/2:0 7:0/2:0 7:0/3:0 6:0/2:0 6:0/3:0 6:0/2:0 5:0/3:0 5:0/2:0
5:0/2:0 5:0/2:0 5:5/1:1 5:0/2:0 5:0/3:0 5:5/1:1 4:0/2:0 4:0/1:0 4:2/1:1 4:0/2:0 4:0/1:0 4:0/2:0 4:0/2:0 3:0/1:0
3:0/2:0 3:0/1:0 3:3/1:0 3:0/2:0 2:0/2:0 2:0/1:0 2:2/1:1 2:0/1:0 2:0/1:0 2:2/1:1 1:0/1:0 1:0/1:0 1:0/1:0 1:0/1:0
1:0/1:0 1:0/1:0 1:1/1:1 1:0/1:0 1:0/1:0 1:0/1:0 1:0/1:0 1:1/1:1
""",
    name="pd83",
)
"""The published 83 centres: 1,410 training records with 680 cases, 407 held out with 187."""
