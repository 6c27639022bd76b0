"""Rows as the audit sees them: scaled alike everywhere, refused where no probe can score them."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.errors import DataError
from cohortium.quality.pool import as_examples, pool_of, scale_of, scale_sums
from cohortium.quality.slots import X_BITS

X = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, 2.0], [5.0, 5.0, 4.0], [7.0, 5.0, 1e9]])
Y = np.array([0.0, 1.0, 1.0, 0.0])


def test_the_scale_is_that_of_known_values_and_a_constant_column_is_left_alone():
    scale = scale_of(Parameters(scale_sums(X[:3])))
    assert scale.mean.tolist() == [3.0, 5.0, 3.0]
    assert scale.sd == pytest.approx([np.sqrt(8 / 3), 1.0, 1.0])


def test_missing_values_are_the_mean_and_far_ones_are_cut_at_five():
    fixed = scale_of(Parameters(scale_sums(X[:3]))).fixed(X)
    assert fixed[0, 2] == 0
    assert fixed[3, 2] == 5 << X_BITS


def test_sums_of_the_scale_are_the_same_for_any_partition():
    whole, first, rest = (scale_sums(part) for part in (X, X[:1], X[1:]))
    for name, total in whole.items():
        assert (total == first[name] + rest[name]).all()


def test_rows_know_their_site_and_images_are_flattened():
    pool = pool_of({2: as_examples((np.zeros((3, 1, 2, 2)), Y[:3])), 0: as_examples((np.zeros((1, 1, 2, 2)), Y[:1]))})
    assert pool.site.tolist() == [0, 2, 2, 2]
    assert pool.x.shape == (4, 4)
    assert pool.rows(2).tolist() == [1, 2, 3]
    assert pool.examples[2].layout.image == (1, 2, 2)


def test_what_no_probe_can_score_is_refused():
    with pytest.raises(DataError, match="4 rows of features and 3 labels"):
        as_examples((X, Y[:3]))
    with pytest.raises(DataError, match="outcome of 0 and 1 in every row"):
        pool_of({0: as_examples((X, Y * 2))})
    number = Examples(layout=Layout(features=("a",), outcome="number"), x=np.zeros((4, 1)), y=Y)
    with pytest.raises(DataError, match="outcome of 0 and 1 in every row"):
        pool_of({0: number})
    with pytest.raises(DataError, match="takes up to 256 columns, got 257"):
        pool_of({0: as_examples((np.zeros((4, 257)), Y))})
    with pytest.raises(DataError, match="differ in their number of columns"):
        pool_of({0: as_examples((X, Y)), 1: as_examples((X[:, :2], Y))})


def test_several_rows_of_a_patient_are_no_independent_evidence():
    twice = Examples(
        layout=Layout(features=("a",), outcome="binary"), x=np.zeros((4, 1)), y=Y, patient=np.array([0, 0, 1, 2])
    )
    with pytest.raises(DataError, match="4 rows of 3 patients: an audit counts every patient once"):
        pool_of({0: twice})
