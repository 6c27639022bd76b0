"""Simulated sites out of one table: which rows each site gets. Pure; chance comes from the `rng` handed in.

    by_column          real sites, as a column names them
    iid                all alike
    label_skew         Dirichlet shares of every class (Hsu, Qi, Brown 2019, arXiv:1909.06335)
    size_skew          alike, but of Dirichlet sizes
    case_control       given sizes and case:control shares, as in the Swarm Learning paper (Nature 2021, fig. 2b)

Each gives site -> row numbers, disjoint; `take` makes the tables. The first three use every row.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.data.table import Table
from cohortium.errors import DataError

__all__ = ["NATURE_2B", "Rows", "by_column", "case_control", "iid", "label_skew", "site_name", "size_skew", "take"]

Rows = dict[str, NDArray[np.int64]]

NATURE_2B = {"node-1": (5.0, 5.0), "node-2": (0.3, 29.7), "node-3": (42.0, 18.0)}
"""Cases and controls of three nodes, in per cent of the pool: prevalence 50, 1 and 70 %."""

_MAX_NAME = 32
_DRAWS = 1000


def site_name(text: str) -> str:
    """A site name of the form [a-z0-9-]{1,32}: `Long Beach VA` gives `long-beach-va`, `7` gives `7`.

    Raises DataError when nothing is left.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_MAX_NAME].strip("-")
    if not name:
        raise DataError("a site name has no letter or digit of a-z, 0-9; rename it in the data")
    return name


def by_column(table: Table, column: str) -> Rows:
    """One site per value of the column, named by `site_name`, sorted.

    Raises DataError: column absent; rows without a site; two values that give one name.
    """
    words = table.texts(column)
    if empty := int((words == "").sum()):
        raise DataError(f"site column '{column}': {empty} rows name no site; fill or remove them")
    sites: Rows = {}
    spelled: dict[str, str] = {}
    for word in np.unique(words).tolist():
        name = site_name(word)
        if name in spelled:
            raise DataError(
                f"site column '{column}': '{spelled[name]}' and '{word}' both give the name '{name}'; rename one"
            )
        spelled[name] = word
        sites[name] = np.flatnonzero(words == word)
    return dict(sorted(sites.items()))


def take(table: Table, rows: Rows, *, without: Collection[str] = ()) -> dict[str, Table]:
    """Site -> its table, columns `without` left out (the site column, say)."""
    rest = table.without(without)
    return {site: rest.take(numbers) for site, numbers in rows.items()}


def iid(n_rows: int, n_sites: int, *, rng: np.random.Generator) -> Rows:
    """All rows, shuffled, in equal shares (sizes differ by one at most)."""
    _enough(n_rows, n_sites)
    return _named(np.array_split(rng.permutation(n_rows), n_sites))


def size_skew(n_rows: int, n_sites: int, *, alpha: float, rng: np.random.Generator, least: int = 1) -> Rows:
    """All rows, shuffled; sizes follow Dirichlet(alpha), at least `least` each. Small alpha, unequal sizes."""
    _enough(n_rows, n_sites, least)
    _positive(alpha)
    sizes = least + _apportion(rng.dirichlet(np.full(n_sites, alpha)), n_rows - least * n_sites)
    return _named(np.split(rng.permutation(n_rows), np.cumsum(sizes)[:-1]))


def label_skew(
    labels: NDArray[np.generic], n_sites: int, *, alpha: float, rng: np.random.Generator, least: int = 1
) -> Rows:
    """All rows; the rows of every class are shared out by Dirichlet(alpha), drawn again until each site has `least`.

    labels: class per row, any kind. Small alpha: sites hold nearly one class each.
    """
    _enough(len(labels), n_sites, least)
    _positive(alpha)
    for _ in range(_DRAWS):
        held: list[list[NDArray[np.int64]]] = [[] for _ in range(n_sites)]
        for value in np.unique(labels):
            rows = rng.permutation(np.flatnonzero(labels == value))
            sizes = _apportion(rng.dirichlet(np.full(n_sites, alpha)), len(rows))
            for site, piece in zip(held, np.split(rows, np.cumsum(sizes)[:-1]), strict=True):
                site.append(piece)
        sites = [np.concatenate(pieces) for pieces in held]
        if min(len(site) for site in sites) >= least:
            return _named(sites)
    raise DataError(
        f"no draw of Dirichlet({alpha:g}) gave {n_sites} sites {least} rows each; raise alpha or lower least"
    )


def case_control(
    cases: NDArray[np.bool_], shares: Mapping[str, tuple[float, float]] = NATURE_2B, *, rng: np.random.Generator
) -> Rows:
    """Sites of given numbers of cases and controls, in per cent of a pool as large as the rows allow.

    cases: per row. shares: site -> (cases, controls) in per cent of the pool; together at most 100.
    The pool is the largest for which both classes suffice, so not every row is used.
    """
    wanted = np.array([shares[site] for site in shares], dtype=np.float64)
    if len(wanted) == 0 or (wanted < 0).any() or not 0 < wanted.sum() <= 100 + 1e-9:
        raise DataError("shares of cases and controls must be >= 0 and at most 100 % together")
    there = np.array([int(cases.sum()), int((~cases).sum())])
    needed = wanted.sum(axis=0) / 100
    pool = int(min(n / share for n, share in zip(there, needed, strict=True) if share > 0))
    sizes = np.floor(wanted / 100 * pool + 0.5).astype(np.int64)
    sizes[:, 0] = _capped(sizes[:, 0], there[0])
    sizes[:, 1] = _capped(sizes[:, 1], there[1])
    groups = [rng.permutation(np.flatnonzero(cases)), rng.permutation(np.flatnonzero(~cases))]
    pieces = [
        np.split(rows[: counts.sum()], np.cumsum(counts)[:-1]) for rows, counts in zip(groups, sizes.T, strict=True)
    ]
    return {
        site: np.sort(np.concatenate([pieces[0][at], pieces[1][at]])).astype(np.int64) for at, site in enumerate(shares)
    }


def _named(sites: Sequence[NDArray[np.int64]]) -> Rows:
    width = len(str(len(sites)))
    return {f"site-{at:0{width}d}": np.sort(rows).astype(np.int64) for at, rows in enumerate(sites, start=1)}


def _apportion(shares: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Whole numbers that sum to n, by largest remainder."""
    exact = shares / shares.sum() * n
    sizes: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - sizes), kind="stable")
    sizes[order[: n - int(sizes.sum())]] += 1
    return sizes


def _capped(sizes: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Rounding may ask for a row too many: the largest site gives it up."""
    sizes = sizes.copy()
    while sizes.sum() > n:
        sizes[np.argmax(sizes)] -= 1
    return sizes


def _enough(n_rows: int, n_sites: int, least: int = 1) -> None:
    if n_sites < 1:
        raise DataError(f"at least 1 site is needed, got {n_sites}")
    if n_rows < n_sites * least:
        raise DataError(f"{n_rows} rows cannot be shared out: at least {n_sites * least} are needed")


def _positive(alpha: float) -> None:
    if not (np.isfinite(alpha) and alpha > 0):
        raise DataError(f"alpha must be positive, got {alpha:g}")
