"""Tasks: what they make of pixels and columns, and what they refuse."""

import numpy as np
import pytest

from cohortium.errors import DataError
from cohortium.reports.discrimination import auroc
from cohortium.sim.harm.tasks import Task, gaussian_task, image_task, table_task


def test_images_are_averaged_by_blocks():
    image = np.zeros((2, 28, 28), dtype=np.uint8)
    image[0, :2, :2] = [[255, 0], [255, 255]]
    task = image_task("t", image, np.array([1, 0]), noise=0.1)
    assert task.x.shape == (2, 196)
    assert task.x[0, 0] == pytest.approx(0.75)
    assert task.x.sum() == pytest.approx(0.75)
    assert task.side == 14


def test_columns_are_filled_with_the_median_and_standardised():
    task = table_task("t", np.array([[1.0, 7.0], [np.nan, 7.0], [3.0, 7.0]]), np.array([0, 1, 1]))
    np.testing.assert_allclose(task.x[:, 0], [-np.sqrt(1.5), 0, np.sqrt(1.5)])
    assert (task.x[:, 1] == 0).all()


@pytest.mark.parametrize("wanted", [0.65, 0.9])
def test_two_clouds_have_the_separability_asked_for(wanted):
    task = gaussian_task(auroc=wanted, n=20_000)
    best = task.x[:, :-1].sum(axis=1)
    assert auroc(task.y.astype(float), best) == pytest.approx(wanted, abs=0.01)
    assert task.rare.mean() == pytest.approx(0.25, abs=0.01)
    assert task.y[task.rare].mean() == pytest.approx(0.5, abs=0.05)  # the minority is no sicker


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: image_task("t", np.zeros((2, 30, 30)), np.zeros(2), noise=0), "h a multiple of 14"),
        (lambda: Task(name="t", x=np.zeros((2, 3)), y=np.array([0, 2], np.int8)), "one outcome of 0 or 1"),
        (lambda: Task(name="t", x=np.full((2, 3), np.nan), y=np.zeros(2, np.int8)), "fill them first"),
        (lambda: Task(name="t", x=np.zeros((2, 3)), y=np.zeros(2, np.int8), side=2), "no square image"),
        (lambda: gaussian_task(auroc=0.4), "auroc must lie between 0.5 and 1"),
    ],
)
def test_what_is_no_task_is_refused(make, sentence):
    with pytest.raises(DataError, match=sentence):
        make()
