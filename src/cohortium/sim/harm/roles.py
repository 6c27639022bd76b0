"""Which site of a shape plays which role in a scenario: drawn within size classes, so that harm is not only small.

Shares over (20 and more / 5 to 19 / fewer) training records: harmful 30 % / 40 % / rest, scanner 3/4/1 of 8,
minority 1/2 / 1/2 / 0. Where a class runs out, the rest comes from the other classes.
"""

from __future__ import annotations

import numpy as np

from cohortium.sim.harm.scenarios import RIDERS, Scenario
from cohortium.sim.harm.shapes import LARGE, SMALL, Shape

__all__ = ["bad_share", "draw_roles"]

_SHARES = {"harmful": (0.3, 0.4), "scanner": (3 / 8, 4 / 8), "minority": (0.5, 0.5), "riders": (0.3, 0.4)}
_ENOUGH = 8  # training records of a site that may hold one bad record, or a quarter of bad labels
_DRAWS = 500
_QUARTER = 0.25


def draw_roles(shape: Shape, scenario: Scenario, *, harmful: int | None, rng: np.random.Generator) -> tuple[str, ...]:
    """A role for each site: `sound`, a fault, `partial`, `single`, `scanner`, `minority` or a free-rider.

    harmful: of 83 sites, in place of the scenario's number. Where the scenario bounds the share of bad records, the
    first of 500 draws inside it is taken, else the nearest.
    """
    low, high = scenario.share
    best, best_miss = _draw(shape, scenario, harmful, rng), np.inf
    for _ in range(_DRAWS):
        share = bad_share(shape, best, polluted=scenario.polluted)
        if low <= share <= high:
            return best
        drawn = _draw(shape, scenario, harmful, rng)
        miss = max(low - bad_share(shape, drawn, polluted=scenario.polluted), 0.0) + max(
            bad_share(shape, drawn, polluted=scenario.polluted) - high, 0.0
        )
        if miss < best_miss:
            best, best_miss = drawn, miss
    return best


def bad_share(shape: Shape, roles: tuple[str, ...], *, polluted: bool) -> float:
    """Bad records of all, training and held out."""
    bad = 0.0
    for one, role in zip(shape.sites, roles, strict=True):
        own = one.training + (one.held_out if polluted else 0)
        if role in ("single",):
            bad += 1
        elif role == "partial":
            bad += _QUARTER * own
        elif role not in ("sound", "scanner", "minority", *RIDERS):
            bad += own
    return bad / shape.n_records


def _draw(shape: Shape, scenario: Scenario, harmful: int | None, rng: np.random.Generator) -> tuple[str, ...]:
    n = len(shape.sites)
    roles = ["sound"] * n
    number = scenario.count("harmful", n) if harmful is None else max(1, round(harmful * n / 83))
    for at, site in enumerate(_pick(shape, roles, number, _SHARES["harmful"], rng)):
        roles[site] = scenario.kinds[at % len(scenario.kinds)]
    for role in ("scanner", "minority"):
        for site in _pick(shape, roles, scenario.count(role, n), _SHARES[role], rng):
            roles[site] = role
    for at, site in enumerate(_pick(shape, roles, scenario.count("riders", n), _SHARES["riders"], rng)):
        roles[site] = RIDERS[at % len(RIDERS)]
    for role in ("partial", "single"):
        room = [s for s in range(n) if roles[s] == "sound" and shape.sites[s].training >= _ENOUGH]
        wanted = min(scenario.count(role, n), len(room))
        for site in rng.permutation(np.array(room, dtype=np.int64))[:wanted]:
            roles[int(site)] = role
    return tuple(roles)


def _pick(
    shape: Shape, roles: list[str], number: int, shares: tuple[float, float], rng: np.random.Generator
) -> list[int]:
    """Sites that are still sound: so many of each class, in a random order over the classes."""
    groups: list[list[int]] = [[], [], []]
    for site, one in enumerate(shape.sites):
        if roles[site] == "sound":
            groups[0 if one.training >= LARGE else 2 if one.training < SMALL else 1].append(site)
    large, medium = round(shares[0] * number), round(shares[1] * number)
    quotas = (large, medium, max(0, number - large - medium))
    picked: list[int] = []
    left: list[int] = []
    for group, quota in zip(groups, quotas, strict=True):
        order = [group[at] for at in rng.permutation(len(group))]
        picked += order[:quota]
        left += order[quota:]
    picked += left[: max(0, number - len(picked))]
    return [picked[at] for at in rng.permutation(len(picked))]
