"""One consortium with known truth: every record of every site, what is wrong with it, and test patients nobody saw.

    world = make_world(task, shape=PD83, case=Case(scenario="S3"), seed=0)

Records are dealt without replacement. Each gets the task's noise, its site's gain N(1, .04), then what its site's role
does to it. `clean_x` and `clean_y` are the same records before harm: what a repair must bring back.
A minority site of a table holds nobody but the minority, other sites hold everybody (up to a third of the minority is
kept for its test; a site for which the rest is too small is filled up with others). The minority of images are images
turned by 30 degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.randomness import Chance
from cohortium.errors import DataError
from cohortium.sim.harm import corruptions
from cohortium.sim.harm.corruptions import FAULTS
from cohortium.sim.harm.roles import draw_roles
from cohortium.sim.harm.scenarios import SCENARIOS, Case
from cohortium.sim.harm.shapes import PD83, Shape, SiteShape
from cohortium.sim.harm.tasks import Task

__all__ = ["World", "make_world"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_TEST = 1500
_MINORITY_TEST = 300
_SINGLE = ("flip", "flip", "noise", "inverted", "preparation")
_ANCHORS_OF = 20  # training records a trusted site has at least


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """All records, one row each, grouped by site.

    sites, roles: one for each site. x: (n, d); y: (n,) given labels; site: (n,) index into `sites`; held_out: (n,).
    fault: (n,) what is wrong with a record, "" if nothing. clean_x, clean_y: before harm. test_*, minority_*: final
    test patients and those of the minority, seen by no detector. copies: (m, 2) rows, copy and original.
    anchors: sites the consortium trusts.
    """

    task: str
    side: int
    shape: Shape
    case: Case
    seed: int
    roles: tuple[str, ...]
    x: Floats
    y: NDArray[np.int8]
    site: Ints
    held_out: NDArray[np.bool_]
    fault: NDArray[np.str_]
    clean_x: Floats
    clean_y: NDArray[np.int8]
    test_x: Floats
    test_y: NDArray[np.int8]
    minority_x: Floats
    minority_y: NDArray[np.int8]
    copies: Ints
    anchors: tuple[str, ...]

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, in the order of `roles`."""
        return self.shape.names

    @property
    def bad(self) -> NDArray[np.bool_]:
        """(n,) whether something is wrong with a record."""
        return np.asarray(self.fault != "", dtype=np.bool_)

    @property
    def harmful(self) -> NDArray[np.bool_]:
        """(sites,) whether a site is wholly harmful."""
        return np.array([role in FAULTS for role in self.roles])

    @property
    def minority(self) -> NDArray[np.bool_]:
        """(n,) records of minority sites."""
        return np.array([role == "minority" for role in self.roles])[self.site]

    def rows(self, site: int, *, held_out: bool | None = None) -> Ints:
        """Row numbers of a site: all, or one part."""
        own = self.site == site
        return np.flatnonzero(own if held_out is None else own & (self.held_out == held_out))

    def examples(self, rows: Ints) -> Examples:
        """The rows as a learner sees them; one record per patient."""
        return self.as_examples(self.x[rows], self.y[rows])

    def as_examples(self, x: Floats, y: NDArray[np.int8]) -> Examples:
        """Records of this task (test patients, say) as a learner sees them: table rows, or images of one channel."""
        names = () if self.side else tuple(f"x{at}" for at in range(x.shape[1]))
        image = (1, self.side, self.side) if self.side else None
        layout = Layout(features=names, outcome="binary", classes=("0", "1"), image=image)
        values = x.reshape(-1, 1, self.side, self.side).astype(np.float32) if self.side else x
        return Examples(layout=layout, x=values, y=y.astype(np.float64))


def make_world(task: Task, *, case: Case, seed: int, shape: Shape = PD83) -> World:
    """Deal a task's records to a shape's sites and do to them what the case says; the same seed, the same world.

    Raises DataError where the task holds too few records of a class.
    """
    chance = Chance(seed, secrets_from_system=False)
    scenario = SCENARIOS[case.base or case.scenario]
    roles = draw_roles(shape, scenario, harmful=case.harmful, rng=chance.stream("harm", "roles"))
    dealt = _deal(task, shape, roles, chance.stream("harm", "deal"))
    x = _looks(task, task.x[dealt.rows], turn=dealt.minority, rng=chance.stream("harm", "noise"))
    x = _as_measured(x, task.side, roles, dealt.site, chance)
    y = task.y[dealt.rows]
    bad_x, bad_y, fault = _harmed(x, y, dealt, roles, task.side, polluted=scenario.polluted, chance=chance)
    copies = _copies(dealt, scenario.copies, len(roles), chance.stream("harm", "copies"))
    bad_x[copies[:, 0]] = corruptions.near_copy(
        x[copies[:, 1]], side=task.side, rng=chance.stream("harm", "copied values")
    )
    bad_y[copies[:, 0]] = y[copies[:, 1]]
    tests = chance.stream("harm", "test noise")
    return World(
        task=task.name,
        side=task.side,
        shape=shape,
        case=case,
        seed=seed,
        roles=roles,
        x=bad_x,
        y=bad_y,
        site=dealt.site,
        held_out=dealt.held_out,
        fault=fault,
        clean_x=x,
        clean_y=y,
        test_x=_looks(task, task.x[dealt.test], turn=np.zeros(len(dealt.test), dtype=bool), rng=tests),
        test_y=task.y[dealt.test],
        minority_x=_looks(task, task.x[dealt.rare], turn=np.ones(len(dealt.rare), dtype=bool), rng=tests),
        minority_y=task.y[dealt.rare],
        copies=copies,
        anchors=_anchors(shape, roles, case.anchors),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Dealt:
    """Rows of the task by place: sites' records, final test, minority test."""

    rows: Ints
    site: Ints
    held_out: NDArray[np.bool_]
    minority: NDArray[np.bool_]
    test: Ints
    rare: Ints


def _deal(task: Task, shape: Shape, roles: tuple[str, ...], rng: np.random.Generator) -> _Dealt:
    rare = np.zeros(len(task.y), dtype=bool) if task.rare is None else task.rare
    order = rng.permutation(len(task.y)).tolist()
    few = {c: [r for r in order if task.y[r] == c and rare[r]] for c in (0, 1)}
    kept = {c: few[c][: min(_MINORITY_TEST, len(few[c]) // 3)] for c in (0, 1)}
    few = {c: few[c][len(kept[c]) :] for c in (0, 1)}
    stock = {c: [r for r in order if task.y[r] == c and not rare[r]] for c in (0, 1)}
    taken: dict[tuple[int, bool], list[int]] = {}
    for at in _of_role(roles, "minority"):
        for held, c, wanted in _wanted(shape.sites[at]):
            taken[at, held] = taken.get((at, held), []) + few[c][:wanted]
            few[c] = few[c][wanted:]
    for c in (0, 1):
        everybody = stock[c] + few[c]
        stock[c] = [everybody[at] for at in rng.permutation(len(everybody))]
    rows, site, held_out = [], [], []
    for at, one in enumerate(shape.sites):
        for held, c, wanted in _wanted(one):
            mine = [r for r in taken.get((at, held), []) if task.y[r] == c]
            lacking = wanted - len(mine)
            if len(stock[c]) < lacking:
                what = "cases" if c else "controls"
                raise DataError(f"task '{task.name}' holds too few {what} for shape '{shape.name}'")
            rows += mine + stock[c][:lacking]
            stock[c] = stock[c][lacking:]
            site += [at] * wanted
            held_out += [held] * wanted
    if task.side:
        kept = {c: stock[c][:_MINORITY_TEST] for c in (0, 1)}
    return _Dealt(
        rows=np.array(rows, dtype=np.int64),
        site=np.array(site, dtype=np.int64),
        held_out=np.array(held_out, dtype=bool),
        minority=np.array([roles[at] == "minority" for at in site], dtype=bool),
        test=np.array(stock[0][:_TEST] + stock[1][:_TEST], dtype=np.int64),
        rare=np.array(kept[1] + kept[0], dtype=np.int64),
    )


def _of_role(roles: tuple[str, ...], role: str) -> list[int]:
    return [at for at, one in enumerate(roles) if one == role]


def _wanted(one: SiteShape) -> tuple[tuple[bool, int, int], ...]:
    """(held out, class, number) of a site's records."""
    return (
        (False, 1, one.cases),
        (False, 0, one.training - one.cases),
        (True, 1, one.held_out_cases),
        (True, 0, one.held_out - one.held_out_cases),
    )


def _looks(task: Task, x: Floats, *, turn: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """Images as a world holds them: the minority's turned, then noise; tables as they are."""
    if not task.side:
        return x.copy()
    seen = x.copy()
    if turn.any():
        seen[turn] = corruptions.turned(x[turn], side=task.side)
    return np.clip(seen + rng.normal(scale=task.noise, size=x.shape), 0.0, 1.0) if task.noise else seen


def _as_measured(x: Floats, side: int, roles: tuple[str, ...], site: Ints, chance: Chance) -> Floats:
    """Every site's gain, and what another scanner does."""
    measured = x.copy()
    for at, role in enumerate(roles):
        own = site == at
        rng = chance.stream("harm", "site", at)
        measured[own] *= rng.normal(1.0, 0.04)
        if side:
            measured[own] = np.clip(measured[own], 0.0, 1.0)
        if role == "scanner":
            measured[own] = corruptions.scanner_shift(measured[own], side=side, rng=rng)
    return measured


def _harmed(
    x: Floats,
    y: NDArray[np.int8],
    dealt: _Dealt,
    roles: tuple[str, ...],
    side: int,
    *,
    polluted: bool,
    chance: Chance,
) -> tuple[Floats, NDArray[np.int8], NDArray[np.str_]]:
    bad_x, bad_y, fault = x.copy(), y.copy(), np.full(len(y), "", dtype="<U11")
    singles = 0
    for at, role in enumerate(roles):
        own, kind = np.flatnonzero((dealt.site == at) & (polluted | ~dealt.held_out)), role
        rng = chance.stream("harm", "fault", at)
        if role == "partial":
            own, kind = np.sort(rng.permutation(own)[: round(0.25 * len(own))]), "flip"
        elif role == "single":
            training = np.flatnonzero((dealt.site == at) & ~dealt.held_out)
            own, kind = rng.choice(training, size=1), _SINGLE[singles % len(_SINGLE)]
            singles += 1
        elif role not in FAULTS:
            continue
        bad_x[own] = corruptions.broken_values(x[own], fault=kind, side=side, rng=rng)
        bad_y[own] = corruptions.broken_labels(y[own], fault=kind, rng=rng)
        fault[own] = kind
    return bad_x, bad_y, fault


def _copies(dealt: _Dealt, number: int, n_sites: int, rng: np.random.Generator) -> Ints:
    """(copy, original) training rows of different sites; no row is in two pairs."""
    training = rng.permutation(np.flatnonzero(~dealt.held_out))
    pairs: list[tuple[int, int]] = []
    used: set[int] = set()
    if number and n_sites > 1:
        for first in training.tolist():
            if len(pairs) == number:
                break
            if first in used:
                continue
            for second in training[::-1].tolist():
                if second not in used and second != first and dealt.site[second] != dealt.site[first]:
                    pairs.append((first, second))
                    used |= {first, second}
                    break
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _anchors(shape: Shape, roles: tuple[str, ...], number: int) -> tuple[str, ...]:
    """The first sound two-class sites of 20 and more training records."""
    sound = [
        name
        for name, one, role in zip(shape.names, shape.sites, roles, strict=True)
        if role == "sound" and one.two_class and one.training >= _ANCHORS_OF
    ]
    return tuple(sound[:number])
