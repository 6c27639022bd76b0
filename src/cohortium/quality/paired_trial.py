"""The trial before `eliminate`: the same training with and without the quarantined sites, on held-out patients.

Judged on held-out records of sites that are not accused and whose records are trusted; by the pooled AUROC, with a
bootstrap of sites, because patients of one hospital resemble each other. Not by the raw log-loss: it spoke against a
removal by 2.6 standard errors where the AUROC rose by .03, since a model of fewer data is over-confident. The trial
has little power by nature: not passed means that the site stays in quarantine. Design: harmful-data.md 5.8.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, concatenate
from cohortium.errors import UsageError
from cohortium.quality.protection import ranking

__all__ = ["Comparison", "Train", "Trial", "compare_paired", "run_trial"]

Floats = NDArray[np.float64]
Train = Callable[[Mapping[str, Examples], int], Callable[[str, Examples], Floats]]
"""Sites' training records and a seed -> scores of a site's records; order and start follow from the seed alone."""

DRAWS = 300
_BOUND = 0.10  # one-sided
_LARGEST_LOSS = 0.01


@dataclass(frozen=True)
class Comparison:
    """AUROC without minus AUROC with; one-sided 90 % bounds, the lower one of the gain and the upper one of the loss,

    and the upper bound of the gain.
    """

    gain: float
    lower: float
    largest_loss: float
    upper: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of it. whole: all judged patients; subgroups: by name, where both outcomes occur."""

    left_out: tuple[str, ...]
    n_sites: int
    whole: Comparison
    subgroups: Mapping[str, Comparison] = field(default_factory=dict)

    @property
    def endangered(self) -> tuple[str, ...]:
        """Subgroups that may lose more than .01 of AUROC."""
        return tuple(name for name, one in self.subgroups.items() if one.largest_loss > _LARGEST_LOSS)

    @property
    def passed(self) -> bool:
        """Whether the model is better without, surely, and no subgroup may pay for it."""
        return self.whole.lower > 0 and not self.endangered


def run_trial(
    training: Mapping[str, Examples],
    held_out: Mapping[str, Examples],
    *,
    quarantined: Collection[str],
    accused: Collection[str] = (),
    train: Train,
    trusted: Mapping[str, NDArray[np.bool_]] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
) -> Trial:
    """Train with and without the quarantined sites and compare.

    accused: other sites whose held-out records may not decide. trusted: rows of each site's held-out records with trust
    above one half (all, where absent). Raises UsageError where fewer than two sites are left to train or to judge.
    """
    judges = {}
    for name in sorted(set(held_out) - set(quarantined) - set(accused)):
        rows = held_out[name] if trusted is None or name not in trusted else held_out[name].take(trusted[name])
        if len(rows):
            judges[name] = rows
    rest = {name: one for name, one in training.items() if name not in quarantined}
    if len(judges) < 2 or len(rest) < 2:
        raise UsageError(f"a paired trial needs two sites to train and two to judge, got {len(rest)} and {len(judges)}")
    patients = concatenate(list(judges.values()))
    site = np.repeat(np.arange(len(judges)), [len(one) for one in judges.values()])
    having: list[Floats] = []
    lacking: list[Floats] = []
    for seed in seeds:
        for scores, sites in ((having, training), (lacking, rest)):
            score = train(sites, seed)
            scores.append(np.concatenate([score(name, rows) for name, rows in judges.items()]))
    y = np.asarray(patients.y, dtype=np.float64)
    groups = {
        f"{name} {code}": codes == code
        for name, codes in patients.subgroups.items()
        for code in np.unique(codes[codes >= 0])
    }
    rng = np.random.default_rng([len(seeds), *seeds])
    return Trial(
        left_out=tuple(sorted(quarantined)),
        n_sites=len(judges),
        whole=compare_paired(np.array(having), np.array(lacking), y, site, rng=rng),
        subgroups={
            name: compare_paired(np.array(having)[:, rows], np.array(lacking)[:, rows], y[rows], site[rows], rng=rng)
            for name, rows in groups.items()
            if 0 < y[rows].sum() < rows.sum()
        },
    )


def compare_paired(
    having: Floats, lacking: Floats, y: Floats, site: NDArray[np.integer], *, rng: np.random.Generator
) -> Comparison:
    """Mean AUROC difference over seeds, with bounds from 300 bootstrap draws of sites.

    having, lacking: scores with and without, (seeds, n); y, site: (n,). Draws in which one outcome is missing count as
    no difference.
    """
    gain = _difference(having, lacking, y, np.arange(len(y)))
    rows_of = [np.flatnonzero(site == one) for one in np.unique(site)]
    sites = len(rows_of)
    drawn = [
        _difference(having, lacking, y, np.concatenate([rows_of[k] for k in rng.integers(sites, size=sites)]))
        for _ in range(DRAWS)
    ]
    lower, upper = (float(one) for one in np.quantile(drawn, (_BOUND, 1 - _BOUND)))
    return Comparison(gain, lower, -lower, upper)


def _difference(having: Floats, lacking: Floats, y: Floats, rows: NDArray[np.integer]) -> float:
    pairs = zip(having[:, rows], lacking[:, rows], strict=True)
    return float(np.mean([ranking(without, y[rows]).auroc - ranking(score, y[rows]).auroc for score, without in pairs]))
