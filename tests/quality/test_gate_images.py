"""Images: each fault from both sides."""

import numpy as np
import pytest

from cohortium.quality.gate_images import check_images

SHAPE = (1, 16, 16)


def chests(n=10, *, inverted=0):
    """Bright in the middle, dark at the border; the first ones the other way round."""
    ramp = np.minimum(
        np.minimum.outer(np.arange(16), np.arange(16)), np.minimum.outer(np.arange(16), np.arange(16))[::-1, ::-1]
    )
    images = np.repeat((0.1 + 0.8 * ramp / 7)[None, None], n, axis=0) + np.random.default_rng(0).normal(
        scale=0.02, size=(n, *SHAPE)
    )
    images = np.clip(images, 0.01, 0.99)
    images[:inverted] = 1 - images[:inverted]
    return images


def levels(images, **more):
    return [(check.level, check.fix) for check in check_images(images, shape=SHAPE, **more)]


def test_sound_images_pass():
    assert levels(chests(), bits=[8] * 10, orientations=["PA"] * 10) == [("ok", "")]
    assert levels(chests(inverted=4)) == [("ok", "")]


def test_inverted_images_warn_and_offer_the_repair():
    ((level, fix),) = levels(chests(inverted=6))
    assert level == "warn"
    assert fix == "look at repair 'intensity', after a person has seen some of them"


@pytest.mark.parametrize("value", [0.0, 1.0, 0.4])
def test_blank_and_saturated_images_warn(value):
    images = chests()
    images[:6] = value
    assert "window of the export" in levels(images)[0][1]
    images = chests()
    images[:4] = value
    assert levels(images) == [("ok", "")]


def test_mixed_depths_and_orientations_warn():
    assert "same depth" in levels(chests(), bits=[8, 12])[0][1]
    assert "repairs of 'axes'" in levels(chests(), orientations=["PA", "AP"])[0][1]


def test_another_size_is_a_fail():
    ((level, _),) = [(c.level, c.found) for c in check_images(np.zeros((2, 1, 8, 8)), shape=SHAPE)]
    assert level == "fail"
