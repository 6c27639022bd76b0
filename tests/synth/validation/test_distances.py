import numpy as np
import pytest
from scipy.spatial import cKDTree

from cohortium.synth.rows import Rows
from cohortium.synth.validation.distances import Space, identical_share, nearest, nndr


@pytest.mark.parametrize("k", [1, 2, 3])
def test_nearest_rows_are_scipys(k):
    rng = np.random.default_rng(0)
    x, to = rng.normal(size=(1500, 7)), rng.normal(size=(900, 7))
    distances, places = nearest(x, to, k)
    theirs = cKDTree(to).query(x, range(1, k + 1))
    assert np.allclose(distances, theirs[0])
    assert (places == theirs[1]).mean() > 0.999


def test_a_row_that_stands_twice_is_its_own_second_neighbour():
    rows = np.repeat(np.random.default_rng(1).normal(size=(20, 3)), 2, axis=0)
    distances, places = nearest(rows, rows, 2)
    assert (distances == 0).all()
    assert (np.sort(places, axis=1) == np.arange(40).reshape(20, 2).repeat(2, axis=0)).all()
    assert nearest(rows[:2], rows[:1], 2)[1].tolist() == [[0], [0]]


def test_a_copy_has_ratio_zero_and_is_identical(world):
    space = Space.of(world.training)
    real = space.place(world.training)
    assert np.median(nndr(real[:50], real)) == 0.0
    assert identical_share(world.training.take(np.arange(50)), world.training) == 1.0
    assert identical_share(world.synthetic, world.training) == 0.0


def test_numbers_are_in_units_of_the_real_spread(world):
    space = Space.of(world.training).only(("age",))
    placed = space.place(world.training)
    assert placed.mean() == pytest.approx(0.0, abs=1e-9)
    assert placed.std() == pytest.approx(1.0, abs=1e-9)


def test_two_categories_are_one_apart(world):
    space = Space.of(world.training).only(("karyotype_risk",))
    placed = space.place(world.training)
    kinds = np.unique(placed, axis=0)
    assert np.linalg.norm(kinds[0] - kinds[1]) in (pytest.approx(1.0), pytest.approx(np.sqrt(0.5)))


def test_a_cell_without_end_is_far_away_and_hides_no_copy(world):
    copy = {name: world.training[name].copy() for name in world.facts.names}
    copy["hb"][0] = np.inf
    space = Space.of(world.training)
    real, made = space.place(world.training), space.place(Rows(world.facts, copy))
    assert np.isfinite(made).all()
    assert (nearest(made[1:], real, 1)[0] == 0).all()
    assert (nearest(real[1:], made, 1)[0] == 0).all()
