"""Roles: numbers by size class as the benchmark prescribes, the share of bad records, and other shapes."""

from collections import Counter

import numpy as np
import pytest

from cohortium.sim.harm.corruptions import FAULTS
from cohortium.sim.harm.roles import bad_share, draw_roles
from cohortium.sim.harm.scenarios import RIDERS, SCENARIOS
from cohortium.sim.harm.shapes import LARGE, PD83, SMALL, parse_shape


def drawn(name, *, seed=0, shape=PD83, harmful=None):
    return draw_roles(shape, SCENARIOS[name], harmful=harmful, rng=np.random.default_rng(seed))


def by_size(roles, wanted, shape=PD83):
    sizes = [one.training for one, role in zip(shape.sites, roles, strict=True) if role in wanted]
    return sum(n >= LARGE for n in sizes), sum(SMALL <= n < LARGE for n in sizes), sum(n < SMALL for n in sizes)


@pytest.mark.parametrize("seed", range(5))
def test_sizes_of_the_roles_are_those_of_the_design(seed):
    mixed = drawn("S3", seed=seed)
    assert by_size(mixed, FAULTS) == (4, 6, 4)
    assert by_size(mixed, ("scanner",)) == (3, 4, 1)
    assert by_size(mixed, ("minority",)) == (2, 2, 0)
    assert by_size(drawn("S1", seed=seed), FAULTS) == (3, 4, 3)
    count = Counter(mixed)
    assert [count[f] for f in FAULTS] == [3, 3, 3, 3, 2]
    assert (count["partial"], count["single"]) == (3, 15)
    assert min(PD83.training[at] for at, role in enumerate(mixed) if role in ("partial", "single")) >= 8


@pytest.mark.parametrize("seed", range(10))
def test_a_fifth_of_the_mixed_records_is_bad(seed):
    assert 0.18 <= bad_share(PD83, drawn("S3", seed=seed), polluted=True) <= 0.26


def test_collusion_takes_the_number_asked_for():
    roles = drawn("S5", harmful=32)
    assert Counter(roles)["flip"] == 32
    assert by_size(roles, ("flip",)) == (10, 13, 9)


def test_riders_come_in_three_kinds():
    count = Counter(drawn("S6"))
    assert [count[kind] for kind in RIDERS] == [7, 7, 6]


def test_nothing_harmful_means_nothing_harmful():
    assert set(drawn("S4")) == {"sound", "scanner", "minority"}
    assert bad_share(PD83, drawn("S4"), polluted=False) == 0


def test_a_small_consortium_gets_a_role_of_each_kind():
    shape = parse_shape(" ".join(["40:20/10:5"] * 12), name="twelve")
    count = Counter(drawn("S3", shape=shape))
    assert sum(count[f] for f in FAULTS) == 2
    assert (count["scanner"], count["minority"], count["partial"], count["single"]) == (1, 1, 1, 2)
