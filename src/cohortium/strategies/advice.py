"""Which merge suits these sites: sentences for `cohortium study check`, from number and size of sites alone.

Figures: `python -m benchmarks networks --seeds 10` (docs/results.md); reasons: clinical-learning.md, findings 3, 6, 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Literal

__all__ = ["advise"]

_MANY = 10
_SMALL = 50
_TINY = 10
_ROBUST = ("bulyan", "coordinate-median", "geometric-median", "krum", "multi-krum", "trimmed-mean")
_REPLAY = ("minimum", "maximum")
_ADAPTIVE = ("fedadam", "fedyogi")
_PERSONAL = ("ditto", "fedbn", "fedper")


def advise(strategy: str, sizes: Mapping[str, int], *, learns_by: Literal["sums", "weights"]) -> tuple[str, ...]:
    """What to consider before the run; empty when nothing speaks against the choice.

    sizes: training records by site.
    """
    if not sizes:
        return ()
    if learns_by == "sums":
        return tuple(_too_small(sizes))
    return (*_too_small(sizes), *_by_shape(strategy, sizes), *_by_rule(strategy, sizes))


def _too_small(sizes: Mapping[str, int]) -> list[str]:
    tiny = sorted(site for site, n in sizes.items() if n < _TINY)
    if not tiny:
        return []
    return [
        f"fewer than {_TINY} training records at {_some(tiny)}: too few to train alone; pool them or leave them out"
    ]


def _by_shape(strategy: str, sizes: Mapping[str, int]) -> list[str]:
    typical, largest, whole = median(sizes.values()), max(sizes.values()), sum(sizes.values())
    said = []
    if len(sizes) >= _MANY and typical < _SMALL and strategy not in _ADAPTIVE:
        said.append(
            f"{len(sizes)} sites with a median of {typical:g} records: 'fedadam' learned more from many small sites"
            " (autism, 25 scanners: AUROC 0.604 against 0.595 with fedavg, ten seeds)"
        )
    if len(sizes) < _MANY and strategy in _ADAPTIVE:
        said.append(
            f"{len(sizes)} sites: '{strategy}' pays off with many small ones; 'fedavg' has fewer settings to get wrong"
        )
    if len(sizes) > 2 and largest > 0.5 * whole and strategy in ("fedavg", "fedprox", "fedavgm"):
        site = max(sorted(sizes), key=lambda one: sizes[one])
        said.append(
            f"site '{site}' holds {100 * largest / whole:.0f} % of the records and leads the mean;"
            " set cap, or choose 'mean'"
        )
    if largest >= 5 * max(typical, 1) and strategy == "fedavg":
        said.append(
            "sites take very unequal numbers of steps an epoch: 'fednova' corrects for it, sync_every evens it out"
        )
    return said


def _by_rule(strategy: str, sizes: Mapping[str, int]) -> list[str]:
    if strategy in _ROBUST:
        said = [f"'{strategy}' punishes honest differences between hospitals (TB: AUROC 0.94 with fedavg, 0.81 robust)"]
        return said + ([f"'{strategy}' needs at least 3 sites"] if len(sizes) < 3 else [])
    if strategy in _REPLAY:
        return [f"'{strategy}' exists to replay published experiments; choose 'fedavg' to learn"]
    if strategy == "cyclic":
        return ["'cyclic' shows each site the model its predecessor made: whoever is next can compare the two"]
    if strategy in _PERSONAL:
        small = sorted(site for site, n in sizes.items() if n < _SMALL)
        if small:
            return [f"'{strategy}' trains a part on each site's own records; fewer than {_SMALL} at {_some(small)}"]
    return []


def _some(sites: list[str]) -> str:
    return ", ".join(sites[:5]) + (f" and {len(sites) - 5} more" if len(sites) > 5 else "")
