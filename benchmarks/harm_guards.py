"""Rules that keep sites that differ: which harmful sites each protects, and whom it saves, on the same audits.

    python -m benchmarks harm_guards --tasks flchain,xray-easy,xray-hard --scenarios S1,S3,S4 --seeds 100-104

One audit a world; then every rule judges the evidence of the last pass anew. Two-class sites only, for no rule speaks
of others. A is the AUROC of a site's patients, E what the models expect of it, O that of all patients in this audit.

    none          nobody is protected                  chance     A is above one half by 1.28 standard errors
    others        A is not below O by 1.64             expected   A > .5 and not below E by 2
    expected-1.64 A > .5 and not below E by 1.64       ratio      N(A; E, se, sd .1 between sites) over N(A; .5, se)
    ratio-others  the same with O                      new        chance, but never where the records look new
    new-expected  chance; where records look new E as well: the rule in use
    share         less than half of the labels are coins, by a mixture          chance-share  chance and share
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.harm_tasks import load_task, seeds_of
from cohortium.quality.evidence import log_sigmoid, posterior
from cohortium.quality.out_of_bag import OutOfBag
from cohortium.quality.protection import AS_EXPECTED, LOOKS_NEW, RANKED_RIGHTLY, Ranking, protects
from cohortium.sim.harm import World, cases, make_world

__all__ = ["main", "rules"]

_BETWEEN = 0.1  # sd of the AUROC between good sites, for the ratios
_SHARES = np.linspace(0.0, 1.0, 41)
_CONVICT = 0.95


def rules(ranked: Ranking, *, n: int, cases_n: int, others: float, novelty: float, coins: float) -> dict[str, bool]:
    """Whether each rule protects a two-class site. others: AUROC of the audit; coins: expected share of coin labels."""
    n1, n0, area = cases_n, n - cases_n, ranked.auroc
    chance_se = float(np.sqrt((n + 1) / (12 * n0 * n1)))

    def beats(hoped: float) -> bool:
        se = _error(hoped, n0, n1)
        wide = float(np.hypot(se, _BETWEEN))
        good = -0.5 * ((area - hoped) / wide) ** 2 - np.log(wide)
        return bool(good > -0.5 * ((area - 0.5) / chance_se) ** 2 - np.log(chance_se))

    chance = ranked.errors > RANKED_RIGHTLY
    strict = area > 0.5 and ranked.shortfall < 1.64
    return {
        "none": False,
        "chance": chance,
        "others": (area - others) / _error(others, n0, n1) > -1.64,
        "expected": area > 0.5 and ranked.shortfall < AS_EXPECTED,
        "expected-1.64": strict,
        "ratio": beats(ranked.expected),
        "ratio-others": beats(others),
        "new": chance and novelty < LOOKS_NEW,
        "new-expected": protects(ranked.errors, ranked.shortfall, novelty=novelty, two_class=True),
        "share": coins < 0.5,
        "chance-share": chance and coins < 0.5,
    }


def _error(area: float, n0: int, n1: int) -> float:
    """Standard error of an AUROC (Hanley and McNeil 1982)."""
    a = min(max(area, 0.5), 0.995)
    spread = a * (1 - a) + (n1 - 1) * (a / (2 - a) - a * a) + (n0 - 1) * (2 * a * a / (1 + a) - a * a)
    return float(np.sqrt(spread / (n0 * n1)))


def _coins(margin: NDArray[np.float64]) -> float:
    """Expected share of labels that are coins: flat beyond a tenth, .82 of the prior below."""
    agree = np.exp(log_sigmoid(margin))[:, None]
    told = np.log(np.maximum((1 - _SHARES) * agree + 0.5 * _SHARES, 1e-9)).sum(axis=0)
    few = _SHARES <= 0.1
    told = told + np.log(np.where(few, 0.82 / few.sum(), 0.18 / (~few).sum()))
    weight = np.exp(told - told.max())
    return float((weight * _SHARES).sum() / weight.sum())


def _count(world: World, seed: int, found: dict[str, list[int]]) -> None:
    """Adds one world: harmful convicted, harmful, good convicted, good, minority records convicted and in all."""
    names = {name: world.examples(world.rows(at)) for at, name in enumerate(world.sites)}
    result = OutOfBag(anchors=world.anchors).run(names, seed=seed, repairs=())
    if result.status == "inconclusive":
        return
    judged = result.judged()
    for at, role in enumerate(world.roles):
        rows, one = world.rows(at), judged.sites[at]
        if not one.evidence.two_class or role == "partial" or len(rows) < 5:
            continue
        harmful, guilty = bool(world.harmful[at]), posterior(one.evidence) > _CONVICT
        held = rules(one.ranking, n=len(rows), cases_n=int(world.y[rows].sum()), others=result.table.auroc,
                     novelty=one.evidence.novelty, coins=_coins(judged.margin[rows]))  # fmt: skip
        for name, kept in held.items():
            row, out = found[name], guilty and not kept
            row[0] += harmful and out
            row[1] += harmful
            row[2] += not harmful and out
            row[3] += not harmful
            row[4] += len(rows) * (role == "minority" and out)
            row[5] += len(rows) * (role == "minority")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line a task, scenario and rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="flchain,xray-easy,xray-hard")
    parser.add_argument("--scenarios", default="S1,S3,S4")
    parser.add_argument("--seeds", default="100-104")
    asked = parser.parse_args(arguments)
    for name in asked.tasks.split(","):
        task = load_task(name)
        for scenario in asked.scenarios.split(","):
            found: dict[str, list[int]] = defaultdict(lambda: [0] * 6)
            for seed in seeds_of(asked.seeds):
                _count(make_world(task, case=cases(scenario)[0], seed=seed), seed, found)
            for rule, (hit, harmful, wrong, good, lost, minority) in found.items():
                print(f"{name} {scenario} {rule:14} harmful sites convicted {hit}/{harmful}, good ones {wrong}/{good}, "
                      f"minority records {lost}/{minority}", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
