import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.errors import DataError, TrainingFailed
from cohortium.models import row_sums as rs


def test_features_are_rounded_to_2_to_the_minus_16_and_ones_come_first(kit):
    examples = kit.table(np.array([[0.5, -1.25], [2.0**-17, 3 * 2.0**-17]]), np.zeros(2), "binary")
    assert rs.fixed_features(examples).tolist() == [[65536, 32768, -81920], [65536, 0, 2]]
    assert rs.fixed_features(examples, intercept=False).shape == (2, 2)


def test_predictor_is_exact_and_blind_to_neighbours(kit):
    x, rng = kit.patients(50)
    fixed = rs.fixed_features(kit.table(x, np.zeros(50), "binary"))
    b = rs.on_grid(rng.normal(size=5))
    whole = rs.predictor(fixed, b)
    exact = [sum(int(v) * int(c * 2**24) for v, c in zip(row, b, strict=True)) / 2**40 for row in fixed.tolist()]
    assert whole.tolist() == exact
    assert rs.predictor(fixed[7:9], b).tolist() == whole[7:9].tolist()
    assert rs.predictor(fixed, np.zeros(5)).tolist() == [0.0] * 50


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 200), bits=st.sampled_from([3, 20, 24, 28]))
def test_summed_products_equal_python_integers(seed, n, bits):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-(2**bits), 2**bits, (n, 3)), rng.integers(-(2**18), 2**18, (n, 2))
    expected = [
        [sum(int(u) * int(v) for u, v in zip(a[:, i], b[:, j], strict=True)) for j in range(2)] for i in range(3)
    ]
    assert rs.summed_products(a, b, what="x").tolist() == expected


def test_gram_is_packed_and_unpacked():
    x = np.array([[1, 2, 3], [4, 5, 6]])
    packed = rs.summed_gram(x, np.array([1, 10]))
    assert packed.tolist() == [161, 202, 243, 254, 306, 369]
    assert rs.unpacked(packed, 3).tolist() == [[161, 202, 243], [202, 254, 306], [243, 306, 369]]
    assert rs.unpacked(rs.summed_gram(x), 3).tolist() == (x.T @ x).tolist()


def test_coarser_goes_to_the_nearest_multiple_of_2_to_the_minus_10():
    assert rs.coarser(np.array([0, 31, 32, 64, -33, -31])).tolist() == [0, 0, 1, 1, -1, 0]


def test_a_site_total_near_the_limit_is_refused_by_name():
    rs.bound_site_total(np.array([2**55 - 1]), what="gradient")
    with pytest.raises(TrainingFailed, match=r"gradient: a site's sum reaches 2\^55") as caught:
        rs.bound_site_total(np.array([0, -(2**55)]), what="gradient")
    assert caught.value.code == "overflow"
    assert "scale" in caught.value.hint


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 4097.0])
def test_values_beyond_any_sd_are_refused_by_column(kit, bad):
    x = np.zeros((3, 2))
    x[1, 1] = bad
    with pytest.raises(DataError, match=r"column 'x1': 1 values are infinite or beyond 4096"):
        rs.refuse_unusable(kit.table(x, np.zeros(3), "binary"))


def test_many_bad_columns_are_shortened(kit):
    with pytest.raises(DataError, match="column 'x0', 'x1', 'x2', 'x3', 'x4' and 2 more: 14 missing values"):
        rs.refuse_unusable(kit.table(np.full((2, 7), np.nan), np.zeros(2), "binary"))


def test_images_and_unnamed_columns_are_refused(kit):
    image = kit.Examples(layout=kit.layout(0, "binary", image=(1, 2, 2)), x=np.zeros((3, 1, 2, 2), np.float32))
    with pytest.raises(DataError, match="a model of table columns got images"):
        rs.refuse_unusable(image)
    with pytest.raises(DataError, match="examples have 3 columns, the layout names 2"):
        rs.refuse_unusable(kit.Examples(layout=kit.layout(2, "binary"), x=np.zeros((1, 3))))


def test_prediction_uses_full_precision_and_the_same_bits_for_a_row_in_any_company(kit):
    x, rng = kit.patients(100, 7)
    examples = kit.table(x, np.zeros(100), "binary")
    b = rng.normal(size=7)
    b[2] = 0.0
    found = rs.linear_predictor(examples, b)
    assert np.allclose(found, x @ b, rtol=0, atol=1e-14)
    assert rs.linear_predictor(examples.take([41, 3]), b).tolist() == found[[41, 3]].tolist()
    assert rs.linear_predictor(examples, np.column_stack([b, -b]))[:, 1].tolist() == (-found).tolist()
