"""Scores of single records, compared on the same audits: which wrong ones a site would look at first.

    python -m benchmarks harm_records --tasks flchain,xray-easy,xray-hard --scenarios S2,S3 --seeds 100-104

One audit a world; then every score ranks the records of the last pass anew. Labels: turned ones inside sites that are
not harmful, mean AUROC and share among the first 5 %. Values (images): of single records of noise, inverted or turned
in sites that nobody looks at, the share that is stranger than all but one sound record in a thousand.

    posterior   as trust counts it, with strange values in the same number   margin     the others' models alone
    surprise    loss minus the loss these models expect                        halves     the half that agrees most
    own level   margin, once the site's own level is taken into account        neighbours labels of the 5 nearest there
    both        own level and half the logarithm of the neighbours' odds       listed     the score in use

    inside, rest   the two distances of sites      oddity   the larger, as for sites       mean image   correlation
    repair         the gain of the best turn or inversion under a normal law of the trusted (inside and rest together)
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.harm_tasks import load_task, seeds_of
from cohortium.core import fixed_point as fp
from cohortium.data.ranks import auroc
from cohortium.quality.evidence import record_suspicion
from cohortium.quality.judging import Judged, PassModels
from cohortium.quality.novelty import distances
from cohortium.quality.out_of_bag import OutOfBag
from cohortium.quality.pool import Scale, flat
from cohortium.quality.repairs import library
from cohortium.quality.slots import X_BITS, logits
from cohortium.quality.suspects import own_margin
from cohortium.sim.harm import World, cases, make_world

__all__ = ["label_scores", "main", "value_scores"]

Floats = NDArray[np.float64]

_NEAREST = 5
_FIRST = 0.05
_RARE = 0.001
_VALUES = ("noise", "inverted", "preparation")


def label_scores(world: World, judged: Judged, models: PassModels, x: Floats) -> dict[str, Floats]:
    """By score (n,), higher is more suspect. x: scaled rows, (n, d)."""
    sign, site = 2.0 * world.y - 1.0, world.site
    predictor = models.slope * judged.z + models.offset
    inside = (x - models.basis.mean) @ models.basis.directions / np.sqrt(models.basis.variance)
    level, near = np.zeros(len(site)), np.zeros(len(site))
    for at in range(len(world.sites)):
        rows = world.rows(at)
        level[rows] = own_margin(predictor[rows], world.y[rows].astype(np.float64))
        near[rows] = _neighbours(inside[rows], world.y[rows])
    unseen = ~models.heads.member[site] & models.heads.usable
    halves = np.clip(logits(fp.to_fixed(x, X_BITS, what="features"), models.heads.point), -6.0, 6.0) * sign[:, None]
    m = judged.margin
    return {
        "posterior": record_suspicion(m, judged.oddity), "margin": -m, "surprise": -m * fp.sigmoid(-m),
        "halves": -np.where(unseen, halves, -np.inf).max(axis=1), "own level": -level, "neighbours": -near,
        "both": -level - 0.5 * near, "listed": judged.suspicion,
    }  # fmt: skip


def _neighbours(inside: Floats, y: NDArray[np.int8]) -> Floats:
    """Log-odds that the nearest records of the same site share a record's label, (n,)."""
    k = min(_NEAREST, len(y) - 1)
    if k < 1:
        return np.zeros(len(y))
    far = ((inside[:, None] - inside[None]) ** 2).sum(axis=2)
    np.fill_diagonal(far, np.inf)
    agree = (y[np.argsort(far, axis=1, kind="stable")[:, :k]] == y[:, None]).sum(axis=1)
    return np.asarray(np.log((agree + 1.0) / (k - agree + 1.0)), dtype=np.float64)


def value_scores(world: World, judged: Judged, models: PassModels, scale: Scale, x: Floats) -> dict[str, Floats]:
    """By score (n,), higher is stranger; of images."""
    near, rest, unlike = distances(x, models.basis, images=True).T
    usual = float(np.median(np.exp(rest[judged.q > 0.5]))) / (x.shape[1] - models.basis.directions.shape[1])

    def length(inside: Floats, outside: Floats) -> Floats:
        return np.asarray(0.5 * (np.exp(inside) + np.exp(outside) / usual), dtype=np.float64)

    whole, best = world.examples(np.arange(len(world.y))), np.full(len(x), -np.inf)
    for repair in library(whole.layout, ("intensity", "axes")):
        other = fp.from_fixed(scale.fixed(flat(repair.apply(whole))), X_BITS)
        best = np.maximum(best, length(near, rest) - length(*distances(other, models.basis).T))
    return {"oddity": judged.oddity, "inside": near, "rest": rest, "mean image": unlike, "repair": best}


def _labels(world: World, scores: Mapping[str, Floats], found: dict[str, list[tuple[float, float]]]) -> None:
    for at in np.flatnonzero(~world.harmful).tolist():
        rows = world.rows(at)
        wrong = world.fault[rows] == "flip"
        if not wrong.any() or wrong.all():
            continue
        for name, score in scores.items():
            own = score[rows]
            first = np.argsort(-own, kind="stable")[: max(1, round(_FIRST * len(rows)))]
            area = float(auroc(own[:, None], wrong)[0])
            found[name].append((area, float(wrong[first].sum() / wrong.sum())))


def _values(
    world: World, scores: Mapping[str, Floats], seen: NDArray[np.bool_], found: dict[str, dict[str, list[bool]]]
) -> None:
    for name, score in scores.items():
        usual = float(np.quantile(score[seen & ~world.bad], 1.0 - _RARE))
        for fault in _VALUES:
            found[name][fault] += (score[seen & (world.fault == fault)] > usual).tolist()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line a task, scenario and score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="flchain,xray-easy,xray-hard")
    parser.add_argument("--scenarios", default="S2,S3")
    parser.add_argument("--seeds", default="100-104")
    asked = parser.parse_args(arguments)
    for name in asked.tasks.split(","):
        task = load_task(name)
        for scenario in asked.scenarios.split(","):
            labels: dict[str, list[tuple[float, float]]] = defaultdict(list)
            makers: Callable[[], dict[str, list[bool]]] = lambda: defaultdict(list)  # noqa: E731
            values: dict[str, dict[str, list[bool]]] = defaultdict(makers)
            for seed in seeds_of(asked.seeds):
                world = make_world(task, case=cases(scenario)[0], seed=seed)
                sites = {site: world.examples(world.rows(at)) for at, site in enumerate(world.sites)}
                audit = OutOfBag(anchors=world.anchors)
                result = audit.run(sites, seed=seed, repairs=())
                judged, models = result.judged(), PassModels.read(result.state, f"pass-{audit.passes - 1}")
                scale = Scale.read(result.state)
                x = fp.from_fixed(scale.fixed(world.x), X_BITS)
                _labels(world, label_scores(world, judged, models, x), labels)
                if world.side:
                    looked = np.array([result.sites[site].look or result.posterior(site) > 0.5 for site in world.sites])
                    seen = ~(world.harmful | looked)[world.site]
                    _values(world, value_scores(world, judged, models, scale, x), seen, values)
            for score, pairs in labels.items():
                area, top = np.mean(pairs, axis=0)
                print(f"{name} {scenario} labels {score:11} AUROC {area:.3f}, in the first 5 % {top:.3f}", flush=True)
            for score, by in values.items():
                shares = ", ".join(f"{fault} {np.mean(by[fault]):.2f} of {len(by[fault])}" for fault in _VALUES)
                print(f"{name} {scenario} values {score:11} {shares}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
