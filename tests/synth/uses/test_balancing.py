"""Weights that make two groups alike in their means, and what is told where that cannot be."""

import numpy as np
import pytest

from cohortium.errors import DataError
from cohortium.synth.uses.balancing import balance_columns, entropy_balanced


def test_means_are_met_and_the_price_is_told():
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(2000, 3)), rng.normal(0.4, 1.0, size=(500, 3))
    found = entropy_balanced(x, target)
    assert found.before > 0.3
    assert found.after < 0.01
    assert np.average(x, axis=0, weights=found.weights) == pytest.approx(target.mean(axis=0), abs=0.02)
    assert found.weights.mean() == pytest.approx(1.0)
    assert found.weights.min() > 0
    assert 800 < found.effective_n < 1600  # exp(-3 x 0.16) of 2,000 is 1,238


def test_equal_groups_keep_equal_weights():
    x = np.random.default_rng(1).normal(size=(300, 2))
    assert entropy_balanced(x, x).weights == pytest.approx(np.ones(300), abs=1e-6)


def test_means_out_of_reach_stay_out_of_reach_and_are_told():
    x = np.random.default_rng(2).random((200, 1))
    found = entropy_balanced(x, 3.0 + np.random.default_rng(3).random((200, 1)))
    assert found.after > 1.0
    assert np.isfinite(found.weights).all()


def test_a_constant_target_column_is_left_out_and_nobody_is_refused():
    x = np.random.default_rng(4).normal(size=(50, 1))
    assert (entropy_balanced(x, np.ones((20, 1))).weights == 1.0).all()
    with pytest.raises(DataError, match="nobody to balance"):
        entropy_balanced(x[:0], x)


def test_columns_hold_numbers_levels_and_gaps(world):
    facts = tuple(world.facts[name] for name in ("age", "karyotype_risk", "ferritin"))
    x, fill = balance_columns(world.training, facts)
    n_levels = len(world.facts["karyotype_risk"].levels)
    assert x.shape == (len(world.training), 2 + (n_levels - 1) + 1 + 2)
    assert not np.isnan(x).any()
    assert x[:, -1].mean() == pytest.approx(np.isnan(world.training["ferritin"]).mean())
    again, _ = balance_columns(world.reserve, facts, fill=fill)
    assert np.isnan(world.reserve["ferritin"]).any()
    assert (again[np.isnan(world.reserve["ferritin"]), -2] == fill[-2]).all()
