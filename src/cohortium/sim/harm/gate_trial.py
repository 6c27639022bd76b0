"""Would the local gate notice copies and free-riders? Scenario S6 on a world of one's own shape.

First updates are one pass of a small network over each site's records; of the 20 free-riders (of 83 sites) a third
sends a random vector of matching length, a third what it sent a round before, a third another site's update.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.randomness import Chance
from cohortium.quality.gate_copies import near_copies, standardised, tokens
from cohortium.quality.gate_free_rider import check_free_riders, energy_shares
from cohortium.quality.relay_probe import RelayProbe
from cohortium.reports.discrimination import auroc
from cohortium.sim.harm.scenarios import Case
from cohortium.sim.harm.shapes import Shape
from cohortium.sim.harm.tasks import Task, gaussian_task
from cohortium.sim.harm.world import World, make_world

__all__ = ["GateTrial", "gate_trial", "try_gate"]

Floats = NDArray[np.float64]

_BATCH, _RATE, _COLUMNS = 5, 0.05, 80


@dataclass(frozen=True, kw_only=True)
class GateTrial:
    """One world. copies_*: recall and precision of pairs. random_auroc: of the energy test for random vectors.

    riders_found: of each kind, random, replayed, shared. honest_alarmed: sites that learned and whose update is their
    own.
    """

    seed: int
    copies: int
    copies_recall: float
    copies_precision: float
    random_auroc: float
    riders: tuple[int, int, int]
    riders_found: tuple[int, int, int]
    honest: int
    honest_alarmed: int


def try_gate(shape: Shape, *, seeds: int, auroc: float = 0.85) -> tuple[GateTrial, ...]:
    """S6 on records of 80 columns without a patient in them."""
    task = gaussian_task(auroc=auroc, n=max(6000, 4 * shape.n_records), n_features=_COLUMNS)
    return tuple(gate_trial(task, shape, seed=seed) for seed in range(seeds))


def gate_trial(task: Task, shape: Shape, *, seed: int) -> GateTrial:
    """One draw of S6 for a task of at least 64 values a record."""
    world = make_world(task, case=Case(scenario="S6"), seed=seed, shape=shape)
    chance = Chance(seed, secrets_from_system=False)
    recall, precision = _copies(world, chance.secret(32, "copies"))
    updates, before, victims = _updates(world, chance)
    digests = [{name: _digest(update) for name, update in part.items()} for part in (before, updates)]
    checks = check_free_riders(updates, digests=digests)
    alarmed = np.array([checks[name].level == "warn" for name in world.sites])
    kinds = [
        np.array([role == kind for role in world.roles]) for kind in ("rider-random", "rider-replayed", "rider-shared")
    ]
    honest = ~np.any(kinds, axis=0) & np.array([name not in victims for name in world.sites])
    table = np.stack([updates[name] for name in world.sites])
    judged = honest | kinds[0]
    return GateTrial(
        seed=seed,
        copies=len(world.copies),
        copies_recall=recall,
        copies_precision=precision,
        random_auroc=auroc(kinds[0][judged].astype(float), -energy_shares(table)[judged]),
        riders=(int(kinds[0].sum()), int(kinds[1].sum()), int(kinds[2].sum())),
        riders_found=(
            int((kinds[0] & alarmed).sum()), int((kinds[1] & alarmed).sum()), int((kinds[2] & alarmed).sum())
        ),
        honest=int(honest.sum()),
        honest_alarmed=int((honest & alarmed).sum()),
    )  # fmt: skip


def _copies(world: World, secret: bytes) -> tuple[float, float]:
    rows = np.flatnonzero(~world.held_out)
    x = world.x[rows]
    made = tokens(x, mean=standardised(x).mean(axis=0), secret=secret)
    place = {int(row): at for at, row in enumerate(rows)}
    true = {(min(place[a], place[b]), max(place[a], place[b])) for a, b in world.copies.tolist()}
    found = {(a, b) for a, b in near_copies(made, made, same=True).tolist()}
    hit = len(true & found)
    return hit / max(len(true), 1), hit / max(len(found), 1)


def _updates(world: World, chance: Chance) -> tuple[dict[str, Floats], dict[str, Floats], set[str]]:
    """(this round, the round before, sites whose update somebody copied) by site."""
    probe = RelayProbe(n_features=world.x.shape[1])
    start = np.asarray(probe.initial(rng=chance.stream("gate", "start"))["w"], dtype=np.float64)
    rng = chance.stream("gate", "riders")
    before = {name: _one_pass(world, probe, start, at, rng) for at, name in enumerate(world.sites)}
    merged = start + np.mean(list(before.values()), axis=0)
    now = {name: _one_pass(world, probe, merged, at, rng) for at, name in enumerate(world.sites)}
    honest = [name for name, role in zip(world.sites, world.roles, strict=True) if not role.startswith("rider")]
    victims: set[str] = set()
    for name, role in zip(world.sites, world.roles, strict=True):
        if role == "rider-random":
            made = rng.normal(size=now[name].shape)
            now[name] = made * (np.sqrt((now[name] ** 2).sum()) / np.sqrt((made**2).sum()))
        elif role == "rider-replayed":
            now[name] = before[name]
        elif role == "rider-shared":
            victim = honest[int(rng.integers(len(honest)))]
            victims.add(victim)
            now[name] = now[victim] * 1.01
    return now, before, victims


def _one_pass(world: World, probe: RelayProbe, first: Floats, at: int, rng: np.random.Generator) -> Floats:
    """What plain SGD changes in one pass; Adam's first steps are signs, alike at all sites of one record."""
    w, rows = first.copy(), rng.permutation(world.rows(at, held_out=False))
    for begin in range(0, len(rows), _BATCH):
        some = rows[begin : begin + _BATCH]
        w -= _RATE * probe.gradient(w, world.x[some], world.y[some].astype(np.float64))
    return w - first


def _digest(update: Floats) -> bytes:
    return hashlib.sha256(update.tobytes()).digest()
