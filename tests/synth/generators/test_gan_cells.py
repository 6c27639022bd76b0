import numpy as np
import pytest

from cohortium.synth.generators.gan_cells import GanCells


@pytest.fixture(scope="module")
def cells(world):
    return GanCells.of(world.generator, world.state)


def test_rows_come_back_with_their_spikes_and_gaps(world, cells):
    back = cells.decode(cells.encode(world.training, np.random.default_rng(0)), np.random.default_rng(1))
    for fact in world.facts.columns:
        real, again = world.training[fact.name], back[fact.name]
        np.testing.assert_array_equal(np.isnan(real) & cells.cells.coding.gaps[fact.name], np.isnan(again))
        there = ~np.isnan(real) & ~np.isnan(again)
        if fact.is_number:
            assert np.corrcoef(real[there], again[there])[0, 1] > 0.9, fact.name
        else:
            np.testing.assert_array_equal(real[there], again[there])


def test_margins_are_those_of_the_coded_rows(world, cells):
    modal = cells.encode(world.training, np.random.default_rng(0))
    for at, size in enumerate(cells.sizes):
        found = np.bincount(modal.codes[:, at], minlength=size) / len(world.training)
        np.testing.assert_allclose(found, cells.margins[at], atol=0.05)
        assert cells.margins[at].sum() == pytest.approx(1.0)


def test_where_there_is_no_mode_there_is_no_distance(world, cells):
    modal = cells.encode(world.training, np.random.default_rng(0))
    for k, m in enumerate(cells.n_modes):
        outside = modal.codes[:, len(cells.named) + k] >= m
        assert not modal.places[outside, k].any()
    assert any(m for m in cells.n_modes)
