"""Corruptions by hand, on images of 2 x 2 pixels and tables of three columns."""

import numpy as np
import pytest

from cohortium.sim.harm.corruptions import FAULTS, broken_labels, broken_values, near_copy, scanner_shift, turned

IMAGE = np.array([[0.1, 0.2, 0.3, 0.9]])
ROW = np.array([[1.0, 2.0, -3.0]])


def rng():
    return np.random.default_rng(0)


def test_reversed_labels_and_coins():
    y = np.array([0, 1, 1, 0, 1], dtype=np.int8)
    assert broken_labels(y, fault="flip", rng=rng()).tolist() == [1, 0, 0, 1, 0]
    coins = broken_labels(np.zeros(4000, dtype=np.int8), fault="random", rng=rng())
    assert coins.mean() == pytest.approx(0.5, abs=0.03)
    assert broken_labels(y[:3], fault="random", rng=rng()).tolist() == [1, 0, 0]  # so few: reversed
    assert broken_labels(y, fault="noise", rng=rng()).tolist() == y.tolist()


def test_inverted_and_wrongly_prepared_by_hand():
    np.testing.assert_allclose(broken_values(IMAGE, fault="inverted", side=2, rng=rng()), [[0.9, 0.8, 0.7, 0.1]])
    np.testing.assert_allclose(broken_values(IMAGE, fault="preparation", side=2, rng=rng()), [[0.2, 0.9, 0.1, 0.3]])
    assert broken_values(ROW, fault="inverted", side=0, rng=rng()).tolist() == [[-1.0, -2.0, 3.0]]
    assert broken_values(ROW, fault="preparation", side=0, rng=rng()).tolist() == [[-9.0, 6.0, 3.0]]


def test_noise_replaces_a_table_and_joins_an_image():
    table = broken_values(np.full((4000, 3), 50.0), fault="noise", side=0, rng=rng())
    assert table.std() == pytest.approx(2.0, rel=0.03)
    assert abs(table.mean()) < 0.1
    images = broken_values(np.full((500, 196), 0.5), fault="noise", side=14, rng=rng())
    assert images.min() == 0
    assert images.max() == 1
    assert images.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("fault", FAULTS)
def test_no_corruption_writes_into_its_input(fault):
    x, y = IMAGE.copy(), np.array([1], dtype=np.int8)
    x.flags.writeable = y.flags.writeable = False
    broken_values(x, fault=fault, side=2, rng=rng())
    broken_labels(y, fault=fault, rng=rng())


def test_another_scanner_keeps_the_order_of_patients():
    x = np.linspace(0.3, 0.5, 5)[:, None] * np.ones((5, 196))
    shifted = scanner_shift(x, side=14, rng=rng())
    assert (np.diff(shifted.mean(axis=1)) > 0).all()
    assert not np.allclose(shifted, x)
    table = np.random.default_rng(1).normal(size=(30, 7))
    moved = scanner_shift(table, side=0, rng=rng())
    assert (np.abs(moved - table).max(axis=0) > 0).sum() == 4
    assert all(np.corrcoef(a, b)[0, 1] == pytest.approx(1) for a, b in zip(table.T, moved.T, strict=True))


def test_a_turned_image_keeps_its_centre_and_moves_its_corner():
    image = np.zeros((1, 14, 14))
    image[0, 6:8, 6:8] = 1.0
    image[0, 0, 0] = 1.0
    seen = turned(image.reshape(1, -1), side=14).reshape(14, 14)
    assert seen[6:8, 6:8].min() > 0.4
    assert seen[0, 0] < 0.5


def test_a_near_copy_is_near_and_no_exact_copy():
    x = np.random.default_rng(2).uniform(size=(40, 196))
    again = near_copy(x, side=14, rng=rng())
    assert 0 < np.abs(again - x).max() < 0.2
    assert again.max() <= 1
