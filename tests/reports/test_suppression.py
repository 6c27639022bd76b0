import itertools

import pytest

from cohortium.reports.suppression import complement, tell, too_small, withhold_sum


@pytest.mark.parametrize(("count", "told"), [(0, 0), (1, None), (4, None), (5, 5), (None, None)])
def test_counts_of_one_to_four_are_not_told(count, told):
    assert tell(count) == told
    assert too_small(count) == (count is not None and told is None)


def test_no_withheld_part_can_be_computed_from_what_is_told():
    """Every table of three parts up to 6: each withheld part has at least two values that fit all that was told."""
    for counts in itertools.product(range(7), repeat=3):
        parts = dict(zip("abc", counts, strict=True))
        total, told = withhold_sum(sum(counts), parts)
        hidden = [name for name in parts if told[name] is None]
        for name in hidden:
            fits = {
                dict(zip(hidden, guess, strict=True))[name]
                for guess in itertools.product(range(1, 5), repeat=len(hidden))
                if total is None or sum(guess) + sum(n for n in told.values() if n is not None) == total
            }
            assert len(fits) > 1, counts


def test_nothing_is_withheld_without_need():
    assert withhold_sum(20, {"a": 5, "b": 15, "c": 0}) == (20, {"a": 5, "b": 15, "c": 0})


def test_a_single_hidden_group_is_joined_by_the_next_smallest():
    sizes = {"a": 3, "b": 80, "c": 40, "d": None}
    assert complement({"a"}, {k: sizes[k] for k in "abc"}) == {"a", "c"}
    assert complement({"a", "b"}, sizes) == {"a", "b"}
    assert complement(set(), sizes) == set()
    assert complement({"a"}, {"a": 3}) == {"a"}
