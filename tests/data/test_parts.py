import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.parts import PARTS, PartBook, Split, draw_folds, draw_parts, published_parts
from cohortium.errors import DataError


def keys(n, start=0):
    return [i.to_bytes(16, "big") for i in range(start, start + n)]


def counts(book, chosen):
    return [sum(book.parts[key] == part for key in chosen) for part in range(3)]


def test_ten_patients_give_six_one_and_three():
    book = draw_parts(keys(10), ["a"] * 10, Split(test=0.3, calibration=0.1))
    assert counts(book, keys(10)) == [6, 1, 3]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
    st.sampled_from([(0.3, 0.1), (0.2, 0.0), (0.25, 0.25), (0.5, 0.1)]),
    st.integers(0, 5),
)
def test_shares_hold_overall_and_in_every_stratum_within_one_patient(sizes, shares, seed):
    split = Split(test=shares[0], calibration=shares[1], seed=seed)
    strata = [f"s{i}" for i, n in enumerate(sizes) for _ in range(n)]
    all_keys = keys(len(strata))
    book = draw_parts(all_keys, strata, split)
    total = counts(book, all_keys)
    assert abs(total[2] - shares[0] * len(strata)) <= 0.5
    for i in range(len(sizes)):
        chosen = [key for key, place in zip(all_keys, strata, strict=True) if place == f"s{i}"]
        assert abs(counts(book, chosen)[2] - shares[0] * len(chosen)) <= 1
        assert abs(counts(book, chosen)[1] - shares[1] * len(chosen)) <= 2


@given(st.permutations(list(range(12))))
def test_the_order_of_rows_does_not_matter(order):
    strata = ["a", "b"] * 6
    plain = draw_parts(keys(12), strata, Split())
    shuffled = draw_parts([keys(12)[i] for i in order], [strata[i] for i in order], Split())
    assert plain.parts == shuffled.parts


def test_another_seed_draws_other_patients():
    books = [draw_parts(keys(50), ["a"] * 50, Split(seed=seed)).parts for seed in range(3)]
    assert books[0] != books[1] != books[2]


def test_rows_of_one_patient_stay_together_whatever_their_outcomes():
    twice = [*keys(10), *keys(10)]
    book = draw_parts(twice, ["a"] * 10 + ["b"] * 10, Split())
    assert len(book.parts) == 10
    assert counts(book, keys(10)) == [6, 1, 3]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 3))
def test_a_new_data_version_moves_nobody_and_keeps_the_shares(n_before, n_new, seed):
    split = Split(test=0.3, calibration=0.1, seed=seed)
    before = draw_parts(keys(n_before), ["a"] * n_before, split)
    both = keys(n_before + n_new)
    after = draw_parts(both, ["a"] * len(both), split, earlier=before)
    assert all(after.parts[key] == part for key, part in before.parts.items())
    assert counts(after, both)[2] == int(0.3 * len(both) + 0.5)


def test_patients_who_left_are_remembered():
    before = draw_parts(keys(20), ["a"] * 20, Split())
    without = draw_parts(keys(10), ["a"] * 10, Split(), earlier=before)
    assert without.parts == before.parts


def test_a_book_is_stored_and_read_back():
    book = draw_parts(keys(5), ["a"] * 5, Split())
    assert PartBook.from_json(book.to_json()).parts == book.parts
    for text in ("", "[]", '{"zz": "train"}', '{"00": "exam"}'):
        with pytest.raises(DataError, match="the stored parts are not readable"):
            PartBook.from_json(text)


@pytest.mark.parametrize(
    "shares", [{"test": -0.1}, {"test": 1.0}, {"calibration": 1.2}, {"test": 0.6, "calibration": 0.4}]
)
def test_shares_that_leave_nothing_to_train_on_are_refused(shares):
    with pytest.raises(ValueError, match="must"):
        Split(**shares)


def test_folds_are_even_by_patient_and_stratum():
    folds = draw_folds([*keys(23), *keys(23)], ["a"] * 12 + ["b"] * 11 + ["a"] * 12 + ["b"] * 11, 5, seed=1)
    assert (folds[:23] == folds[23:]).all()
    sizes = np.bincount(folds[:23])
    assert sizes.max() - sizes.min() <= 1
    for chosen in (folds[:12], folds[12:23]):
        assert np.bincount(chosen, minlength=5).min() >= 2
    with pytest.raises(ValueError, match="k must be at least 2"):
        draw_folds(keys(3), "aaa", 1, seed=0)


def test_a_published_split_is_read_in_its_usual_words():
    words = np.array(["Train", "test", "val", "", "calibration"])
    assert [PARTS[part] if part >= 0 else "" for part in published_parts(words, column="fold")] == [
        "train", "test", "calibration", "", "calibration",
    ]  # fmt: skip
    with pytest.raises(DataError, match="column 'fold': 2 unknown words for a part; expected train, calibration, test"):
        published_parts(np.array(["a", "b", "a"]), column="fold")


@given(st.integers(1, 200), st.integers(0, 9))
def test_alone_one_patient_more_moves_nobody_else(n, seed):
    split = Split(test=0.2, calibration=0.1, seed=seed, drawn="alone")
    fewer = draw_parts(keys(n), ["a"] * n, split).parts
    more = draw_parts(keys(n + 1), ["b"] * (n + 1), split).parts
    assert {key: more[key] for key in fewer} == fewer


def test_balanced_one_patient_more_moves_another():
    moved = 0
    for n in range(20, 60):
        fewer, more = (draw_parts(keys(k), ["a"] * k, Split(test=0.2)).parts for k in (n, n + 1))
        moved += any(more[key] != part for key, part in fewer.items())
    assert moved


def test_alone_shares_hold_on_average():
    book = draw_parts(keys(8000), ["a"] * 8000, Split(test=0.2, calibration=0.1, drawn="alone"))
    share = np.array(counts(book, keys(8000))) / 8000
    assert np.abs(share - [0.7, 0.1, 0.2]).max() < 0.02
