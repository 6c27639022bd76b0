"""The exact sum: right to the last bit, whatever the order, the block and the processor."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.exact import BLOCK, divide, dot, norm2, weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import FrameError, InvariantBroken, PeerError

WEIGHTS = {"bonn": 303, "lund": 7, "oslo": 1 << 29, "porto": 199}


def updates(n, *, seed=0, weights=WEIGHTS, positive=True):
    rng = np.random.default_rng(seed)
    made = []
    for site, weight in weights.items():
        values = rng.normal(size=n).astype(np.float32)
        made.append(
            Update(site=site, parameters=Parameters({"w": np.abs(values) if positive else values}), weight=weight)
        )
    return made


def float32_of(exact):
    """The float32 nearest to a fraction, found by comparing the neighbours exactly."""
    near = np.float32(float(exact))
    around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    return min(around, key=lambda v: (abs(Fraction(float(v)) - exact), int(v.view(np.int32)) & 1))


def test_mean_is_within_one_unit_of_rational_arithmetic_and_nearly_always_equal():
    n, weights = 10_000, {"bonn": 303, "lund": 7, "oslo": 1_999, "porto": 200}
    made = updates(n, weights=weights)
    whole = weighted_sum(made)
    found = divide(whole.total, whole.weight, made[0].parameters)["w"]
    exact = [
        sum(u.weight * Fraction(float(u.parameters["w"][i])) for u in made) / sum(weights.values()) for i in range(n)
    ]
    wanted = np.array([float32_of(one) for one in exact], dtype=np.float32)
    assert np.all(np.abs(found.view(np.int32).astype(np.int64) - wanted.view(np.int32)) <= 1)
    assert np.mean(found == wanted) >= 0.9999


def test_a_fused_float32_form_would_not_pass():
    """What `torch.add_(alpha=)` computes where the processor fuses: one rounding per site, to float32."""
    made = updates(10_000, weights={"bonn": 303, "lund": 7, "oslo": 1_999, "porto": 200})
    total = np.float32(sum(u.weight for u in made))
    fused = np.zeros(10_000, dtype=np.float32)
    for u in made:
        fused = (u.parameters["w"].astype(np.float64) * np.float64(u.weight / total) + fused).astype(np.float32)
    whole = weighted_sum(made)
    found = divide(whole.total, whole.weight, made[0].parameters)["w"]
    assert np.mean(fused != found) > 0.1


def test_every_order_of_arrival_gives_the_same_bits():
    made = updates(1_000, positive=False)
    digests = {weighted_sum(order).total.digest for order in permutations(made)}
    assert len(digests) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 300), st.integers(1, 64), st.integers(0, 1000))
def test_every_block_size_gives_the_same_bits(n, block, seed):
    made = updates(n, seed=seed, positive=False)
    assert weighted_sum(made, block=block).total == weighted_sum(made).total


def test_sum_equals_a_hand_calculation():
    a = Update(site="b", parameters=Parameters({"w": np.float32([1, -2]), "n": np.int64([3])}), weight=2)
    b = Update(site="a", parameters=Parameters({"w": np.float32([0.5, 4]), "n": np.int64([-1])}), weight=10)
    whole = weighted_sum([a, b])
    assert whole.total["w"].tolist() == [7.0, 36.0]
    assert whole.total["w"].dtype == np.float64
    assert whole.total["n"].tolist() == [-4]
    assert whole.total["n"].dtype == np.int64
    assert whole.contributors == ("a", "b")
    assert whole.weight == 12
    assert [u.site for u in whole.updates] == ["a", "b"]


def test_a_float32_times_the_largest_weight_is_exact_in_float64():
    value = np.float32(1 + 2**-23)
    whole = weighted_sum([Update(site="a", parameters=Parameters({"w": value}), weight=1 << 29)])
    assert Fraction(float(whole.total["w"])) == Fraction(float(value)) * (1 << 29)


@pytest.mark.parametrize("weight", [0, -1, (1 << 29) + 1])
def test_a_weight_outside_one_to_two_to_the_29_is_refused(weight):
    with pytest.raises(ValueError, match="weight of 'a' must be 1 to 2"):
        Update(site="a", parameters=Parameters(), weight=weight)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_naming_site_and_array(bad):
    made = updates(5)
    values = np.array(made[2].parameters["w"])
    values[3] = bad
    made[2] = Update(site="oslo", parameters=Parameters({"w": values}), weight=1)
    with pytest.raises(PeerError, match="'oslo': array 'w' has 1 values that are not finite"):
        weighted_sum(made)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"w": np.zeros(4, np.float32)}, r"'w' F32 \[4\] where site 'a' has 'w' F32 \[3\]"),
        ({"w": np.zeros(3)}, r"'w' F64 \[3\]"),
        ({"v": np.zeros(3, np.float32)}, "'v'"),
        ({"w": np.zeros(3, np.float32), "v": np.zeros(1)}, "2 arrays where site 'a' has 1"),
    ],
)
def test_updates_of_another_layout_are_refused(other, said):
    first = Update(site="a", parameters=Parameters({"w": np.zeros(3, np.float32)}), weight=1)
    with pytest.raises(FrameError, match=f"site 'b'.*{said}"):
        weighted_sum([first, Update(site="b", parameters=Parameters(other), weight=1)])


def test_integers_that_could_leave_int64_are_refused_and_those_below_are_not():
    half = np.int64([1 << 62])
    one = [Update(site=s, parameters=Parameters({"n": half - 1}), weight=1) for s in "ab"]
    assert weighted_sum(one).total["n"].tolist() == [(1 << 63) - 2]
    two = [Update(site=s, parameters=Parameters({"n": half}), weight=1) for s in "ab"]
    with pytest.raises(PeerError, match="array 'n' may take the sum beyond int64"):
        weighted_sum(two)


@pytest.mark.parametrize(("dtype", "huge", "said"), [(np.int64, 1 << 62, "int64"), (np.float64, 1e308, "float64")])
@pytest.mark.parametrize("liar", ["a", "b", "c"])
def test_sum_that_leaves_its_range_is_laid_to_the_site_that_drives_it_there(dtype, huge, said, liar):
    """Not to whoever comes last in the order of names: that site would be voted out for its neighbour's values."""
    made = [
        Update(site=s, parameters=Parameters({"n": dtype([-huge if s == liar else 7])}), weight=3 if s == liar else 1)
        for s in "abc"
    ]
    with pytest.raises(PeerError, match=f"site '{liar}': array 'n' .*beyond {said}") as refused:
        weighted_sum(made)
    assert refused.value.site == liar


def test_no_update_or_two_of_one_site_is_this_nodes_own_fault():
    with pytest.raises(InvariantBroken, match="at least one"):
        weighted_sum([])
    with pytest.raises(InvariantBroken, match="two updates of site 'a'"):
        weighted_sum([Update(site="a", parameters=Parameters(), weight=1)] * 2)


def test_scalars_and_empty_arrays_keep_their_shape():
    one = Update(site="a", parameters=Parameters({"s": np.float32(2), "e": np.zeros((0, 3), np.float32)}), weight=3)
    total = weighted_sum([one]).total
    assert total["s"].shape == ()
    assert float(total["s"]) == 6.0
    assert total["e"].shape == (0, 3)


def test_divide_rounds_once_to_the_dtype_that_goes_on():
    like = Parameters({"w": np.float32([0]), "n": np.int64([0])})
    found = divide(Parameters({"w": np.float64([1]), "n": np.int64([7])}), 3, like)
    assert found["w"].dtype == np.float32
    assert found["w"][0] == np.float32(1 / 3)
    assert found["n"].tolist() == [2]
    with pytest.raises(InvariantBroken, match="positive"):
        divide(like, 0, like)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 200), st.integers(0, 1000))
def test_dot_of_whole_numbers_is_exact(n, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-1000, 1000, size=(2, n)).astype(np.float64)
    assert dot(a, b, block=16) == float(sum(int(x) * int(y) for x, y in zip(a, b, strict=True)))


def test_dot_folds_the_upper_half_onto_the_lower_one():
    a = np.float64([1.0, 1e16, -1e16, 1.0, 0.0])
    assert dot(a, np.ones(5)) == ((1.0 + 1.0) + -1e16) + (1e16 + 0.0)


def test_norm_is_the_length_of_all_elements():
    assert norm2(np.float32([[3, 0], [0, 4]])) == 5.0
    with pytest.raises(ValueError, match="equal size"):
        dot(np.zeros(2), np.zeros(3))


def test_dividing_in_blocks_gives_the_bits_of_dividing_at_once():
    total = Parameters({"w": np.random.default_rng(3).normal(size=(3, BLOCK)), "n": np.arange(2 * BLOCK + 5)})
    like = Parameters({"w": np.zeros((3, BLOCK), np.float32), "n": np.zeros(2 * BLOCK + 5, np.int64)})
    made = divide(total, 7, like)
    assert np.array_equal(made["w"], (total["w"] / 7.0).astype(np.float32))
    assert np.array_equal(made["n"], np.rint(total["n"] / 7.0).astype(np.int64))
