"""Repairs: each undone by its inverse whatever the records, the library by hand, and what is offered when."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.examples import Examples, Layout
from cohortium.core.verdicts import Repair
from cohortium.quality.repairs import (
    FACTORS,
    KINDS,
    Axes,
    CodeMap,
    ColumnSwap,
    Intensity,
    LabelPolarity,
    UnitFactor,
    find_repair,
    library,
    offered,
)

TABLE = Layout(
    features=("age", "crea", "stage=1", "stage=2", "stage=3", "sex=f", "sex=m"), outcome="binary", classes=("0", "1")
)
IMAGES = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 4, 4))
WIDE = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 3, 5))


def table(n=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 7))
    x[:, 2:5] = np.eye(3)[rng.integers(0, 3, n)]
    x[:, 5:] = np.eye(2)[rng.integers(0, 2, n)]
    x[0, 1] = np.nan
    return Examples(layout=TABLE, x=x, y=rng.integers(0, 2, n).astype(float))


def images(n=6, seed=0, layout=IMAGES):
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(n, *layout.image)).astype(np.float32)
    return Examples(layout=layout, x=x, y=rng.integers(0, 2, n).astype(float))


def same(a, b):
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12 if a.x.dtype == np.float64 else 0, atol=1e-6)
    assert np.array_equal(a.y, b.y)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 20))
def test_every_repair_is_undone_by_its_inverse(seed, n):
    for examples in (table(n, seed), images(n, seed), images(n, seed, WIDE)):
        for repair in library(examples.layout, KINDS):
            assert isinstance(repair, Repair)
            same(repair.inverse.apply(repair.apply(examples)), examples)
            same(repair.apply(repair.inverse.apply(examples)), examples)


def test_no_repair_writes_into_the_records():
    for examples in (table(), images()):
        kept = (np.array(examples.x), np.array(examples.y))
        for repair in library(examples.layout, KINDS):
            repair.apply(examples)
        np.testing.assert_array_equal(examples.x, kept[0])
        np.testing.assert_array_equal(examples.y, kept[1])


def test_the_library_of_images_has_nine_repairs():
    names = [one.name for one in library(IMAGES)]
    assert names == [
        "label-polarity", "intensity", "flip-horizontal", "flip-vertical", "rotate-90", "rotate-180", "rotate-270",
        "transpose", "anti-transpose",
    ]  # fmt: skip
    assert [one.name for one in library(WIDE)][2:] == ["flip-horizontal", "flip-vertical", "rotate-180"]


def test_the_seven_turns_of_a_square_are_all_different():
    corner = images(1)
    looks = {Axes(name).apply(corner).x.tobytes() for name in (one.name for one in library(IMAGES, ["axes"]))}
    assert len(looks | {corner.x.tobytes()}) == 8


def test_the_library_of_a_table_by_hand():
    names = [one.name for one in library(TABLE, KINDS)]
    assert len(names) == len(set(names)) == 1 + 1 + 2 * 2 * len(FACTORS) + (6 - 1) + (2 - 1) + 1
    assert "units:crea:/88.4" in names
    assert "units:crea:x88.4" in names
    assert "code-map:sex:2.1" in names
    assert "columns:age:crea" in names
    assert not any(name.startswith("columns") for name in (one.name for one in library(TABLE)))


def test_each_repair_by_hand():
    records = Examples(layout=TABLE, x=np.array([[60.0, 2.0, 1.0, 0.0, 0.0, 0.0, 1.0]]), y=np.array([1.0]))
    assert LabelPolarity().apply(records).y.tolist() == [0.0]
    assert UnitFactor("crea", 88.4).apply(records).x[0, 1] == pytest.approx(176.8)
    assert CodeMap("sex", (1, 0)).apply(records).x[0, 5:].tolist() == [1.0, 0.0]
    assert CodeMap("stage", (1, 2, 0)).apply(records).x[0, 2:5].tolist() == [0.0, 1.0, 0.0]
    assert ColumnSwap("age", "crea").apply(records).x[0, :2].tolist() == [2.0, 60.0]
    pixels = Examples(layout=IMAGES, x=np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4) / 16, y=np.array([0.0]))
    assert Intensity().apply(pixels).x[0, 0, 0, 0] == 1.0
    assert Axes("flip-horizontal").apply(pixels).x[0, 0, 0].tolist() == [3 / 16, 2 / 16, 1 / 16, 0]
    assert Axes("rotate-90").apply(pixels).x[0, 0, 0].tolist() == [3 / 16, 7 / 16, 11 / 16, 15 / 16]


def test_what_does_not_fit_is_refused():
    number = Examples(layout=Layout(features=("a",), outcome="number"), x=np.zeros((2, 1)), y=np.zeros(2))
    with pytest.raises(ValueError, match="repair 'label-polarity' needs a binary outcome"):
        LabelPolarity().apply(number)
    with pytest.raises(ValueError, match="repair 'rotate-90' needs images"):
        Axes("rotate-90").apply(table())
    with pytest.raises(ValueError, match="repair 'transpose' needs square images, these are 3 x 5"):
        Axes("transpose").apply(images(layout=WIDE))
    with pytest.raises(ValueError, match="needs a column 'hb'"):
        UnitFactor("hb", 10.0).apply(table())
    with pytest.raises(ValueError, match="needs a category 'stage' of 2 codes"):
        CodeMap("stage", (1, 0)).apply(table())
    with pytest.raises(ValueError, match="unknown repair 'magic'; available: label-polarity, intensity"):
        library(TABLE, ["magic"])
    with pytest.raises(ValueError, match="no repair 'rotate-90' fits these records"):
        find_repair("rotate-90", TABLE)


def test_every_repair_is_found_by_its_name():
    for layout in (TABLE, IMAGES):
        assert [find_repair(one.name, layout) for one in library(layout, KINDS)] == list(library(layout, KINDS))


def gain(amounts, *, n=6):
    """What is offered where each repair gains so many nats."""
    records = images(n)
    looks = {records.x.tobytes() + records.y.tobytes(): 0.0}
    for repair in library(IMAGES):
        made = repair.apply(records)
        looks[made.x.tobytes() + made.y.tobytes()] = amounts.get(repair.name, -1.0)
    return offered(records, library(IMAGES), lambda one: looks[one.x.tobytes() + one.y.tobytes()])


def test_a_repair_is_offered_above_eight_nats_and_its_gain_in_classes():
    least = math.log(9 / 0.06) + math.log(19)
    assert least == pytest.approx(7.955, abs=1e-3)
    assert gain({"intensity": least - 0.01}) == ("", 0)
    assert gain({"intensity": least + 0.1}) == ("intensity", 8)
    assert gain({"intensity": 15.9}) == ("intensity", 8)
    assert gain({"label-polarity": 33.0, "rotate-90": 20.0}) == ("label-polarity", 32)
    assert gain({"rotate-90": 1000.0}) == ("rotate-90", 64)


def test_of_equal_repairs_the_first_is_offered():
    assert gain({"rotate-90": 20.0, "rotate-180": 20.0}) == ("rotate-90", 16)


def test_fewer_than_five_records_are_offered_nothing():
    assert gain({"intensity": 100.0}, n=4) == ("", 0)
    assert gain({"intensity": 100.0}, n=5) == ("intensity", 64)


def test_a_worse_repair_is_never_offered():
    assert gain({}) == ("", 0)
