from dataclasses import replace

import numpy as np
import pytest

from cohortium.data.images import MAX_SIDE, Image, prepare, table_of_images
from cohortium.data.table import Table
from cohortium.errors import DataError

RAMP = Image(pixels=np.arange(101, dtype=np.uint16).reshape(1, 101).repeat(4, axis=0), bits=12)


def test_the_first_and_last_percent_become_black_and_white():
    pixels = prepare(RAMP)
    assert pixels.shape == (1, 4, 101)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[0, 0, [0, 1, 50, 99, 100]], [0, 0, 0.5, 1, 1], atol=1e-6)


def test_reversed_grey_is_turned_and_slope_and_intercept_do_not_change_the_picture():
    plain = prepare(RAMP)
    np.testing.assert_allclose(prepare(replace(RAMP, photometric="MONOCHROME1")), plain[:, :, ::-1], atol=1e-6)
    np.testing.assert_allclose(prepare(replace(RAMP, slope=2.5, intercept=-1024)), plain, atol=1e-6)
    np.testing.assert_allclose(prepare(replace(RAMP, slope=-1.0)), plain[:, :, ::-1], atol=1e-6)


def test_colour_keeps_its_channels_and_a_flat_image_is_black():
    assert prepare(Image(pixels=np.zeros((3, 5, 6), np.uint8), photometric="RGB")).shape == (3, 5, 6)
    assert prepare(Image(pixels=np.full((5, 6), 9, np.uint8))).max() == 0


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (replace(RAMP, burned_in=True), "text is burned into the pixels; it may name the patient"),
        (replace(RAMP, pixels=np.zeros((1, MAX_SIDE + 1), np.uint8)), "at most 4096 a side"),
        (replace(RAMP, pixels=np.zeros(5)), r"pixels of shape \(5,\); expected \[h, w\]"),
        (replace(RAMP, pixels=np.zeros((0, 5))), r"pixels of shape \(0, 5\)"),
        (replace(RAMP, pixels=np.full((2, 2), np.nan)), "pixels that are not finite"),
    ],
)
def test_images_nobody_should_learn_from_are_refused(image, sentence):
    with pytest.raises(DataError, match=sentence):
        prepare(image)


class Archive:
    """Four references: two good, one with text in it, one of another size."""

    def read(self, reference):
        if reference == "lost":
            raise DataError("not in the archive")
        shape = (3, 3) if reference == "small" else (4, 101)
        return Image(pixels=np.arange(np.prod(shape)).reshape(shape), burned_in=reference == "named")


def test_one_unreadable_image_never_ends_a_run():
    table = Table.from_columns({"scan": ["a", "named", "lost", "b", "small", "named"], "y": [0, 1, 0, 1, 0, 1]})
    read, bad = table_of_images(table, Archive(), column="scan", shape=(1, 4, 101))
    assert read.column("scan").shape == (2, 1, 4, 101)
    assert read.column("y").tolist() == [0, 1]
    assert bad == {
        "text is burned into the pixels; it may name the patient": [2, 6],
        "not in the archive": [3],
        "shape (1, 3, 3); expected (1, 4, 101)": [5],
    }
    none, _ = table_of_images(table.take(np.array([2])), Archive(), column="scan", shape=(1, 4, 101))
    assert none.n_rows == 0
