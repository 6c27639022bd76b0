import numpy as np
import pytest

from cohortium.synth.rows import Rows
from cohortium.synth.validation.attacks import _predicates, inference, linkability, risk_of, singling_out, wilson


def rng():
    return np.random.default_rng(0)


def test_wilson_by_hand():
    centre, half = wilson(5, 50)
    z = 1.96
    assert centre == pytest.approx((5 + z * z / 2) / (50 + z * z))
    assert half == pytest.approx(z / (50 + z * z) * np.sqrt(5 * 45 / 50 + z * z / 4))


def test_risk_is_what_is_learned_beyond_the_control():
    found = risk_of(300, 100, 500)
    assert found.value == pytest.approx((wilson(300, 500)[0] - wilson(100, 500)[0]) / (1 - wilson(100, 500)[0]))
    assert found.low < found.value < found.high
    assert risk_of(100, 100, 500).value == pytest.approx(0.0)


def test_a_published_copy_is_linked_and_told(world):
    copy = world.training
    assert linkability(world.training, world.reserve, copy, rng()).low > 0.5
    assert inference(world.training, world.reserve, copy, "ASXL1", rng()).low > 0.02


def test_the_generators_table_gives_no_risk(world):
    for attack in (singling_out, linkability):
        found = attack(world.training, world.reserve, world.synthetic, rng())
        assert found.low <= 0.0 <= found.high


def test_patients_of_a_published_copy_are_singled_out(world):
    """Also by a bootstrap copy, in which patients come twice or not at all."""
    leaked = world.training.take(np.arange(240))
    assert singling_out(leaked, world.reserve, leaked, rng()).low > 0.1
    copy = world.training.take(rng().integers(len(world.training), size=len(world.training)))
    found = singling_out(world.training, world.reserve, copy, rng())
    assert found.low > 0.03
    assert not found.powerless


def test_nobody_is_singled_out_by_rows_that_come_twice(world):
    twice = world.training.take(np.repeat(np.arange(100), 2))
    found = singling_out(world.training, world.reserve, twice, rng())
    assert (found.value, found.n) == (0.0, 0)
    assert found.powerless


def test_among_too_few_carriers_nothing_is_said(world):
    columns = {name: world.reserve[name].copy() for name in world.facts.names}
    columns["TP53"][:] = 0.0
    assert inference(world.training, Rows(world.facts, columns), world.synthetic, "TP53", rng(), carriers=True) is None


def test_an_attack_that_does_not_beat_guessing_is_powerless():
    assert risk_of(10, 9, 500, guess=0.05).powerless
    assert not risk_of(300, 9, 500, guess=0.05).powerless


def test_a_predicate_counts_once_and_only_where_it_tells_one_synthetic_row_from_all_others(world):
    tried = _predicates(world.synthetic, rng(), single=True)
    assert len({repr(sorted(tests)) for tests in tried}) == len(tried) == 500
    assert {3, 4, 5, 6} <= {len(tests) for tests in tried} <= {1, 3, 4, 5, 6}
    for tests in tried[:50]:
        met = [all(lo <= world.synthetic[name][row] <= hi or (np.isnan(lo) and np.isnan(world.synthetic[name][row]))
                   for name, lo, hi in tests) for row in range(len(world.synthetic))]  # fmt: skip
        assert sum(met) == 1
