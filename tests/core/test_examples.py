"""Rows stay together."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout, concatenate

LAYOUT = Layout(features=("a", "b"), outcome="binary", classes=("0", "1"))


def examples():
    return Examples(
        layout=LAYOUT,
        x=np.arange(8.0).reshape(4, 2),
        y=np.array([0.0, 1, 0, 1]),
        subgroups={"sex": np.array([0, 1, 1, -1], dtype=np.int8)},
    )


def test_taking_rows_takes_every_column_along():
    some = examples().take(np.array([3, 1]))
    assert some.x.tolist() == [[6, 7], [2, 3]]
    assert some.y.tolist() == [1, 1]
    assert some.patient.tolist() == [3, 1]
    assert some.subgroups["sex"].tolist() == [-1, 1]


def test_a_mask_works_as_well_as_indices():
    assert len(examples().take(np.array([True, False, True, False]))) == 2


def test_every_row_is_its_own_patient_unless_told_otherwise():
    assert examples().patient.tolist() == [0, 1, 2, 3]


def test_columns_of_unequal_length_are_refused_by_name():
    with pytest.raises(ValueError, match="y has 1 rows, x has 2"):
        Examples(layout=LAYOUT, x=np.zeros((2, 2)), y=np.zeros(1))


def test_an_image_counts_its_pixels_as_features():
    assert Layout(features=(), outcome="binary", image=(1, 28, 28)).n_features == 784
    assert LAYOUT.n_features == 2


def test_joining_parts_keeps_patients_of_different_sites_apart():
    both = concatenate([examples(), examples().take(np.array([0, 2]))])
    assert len(both) == 6
    assert both.patient.tolist() == [0, 1, 2, 3, 4, 6]
    assert both.y.tolist() == [0, 1, 0, 1, 0, 0]
    assert both.time is None
    assert both.subgroups["sex"].tolist() == [0, 1, 1, -1, 0, 1]
