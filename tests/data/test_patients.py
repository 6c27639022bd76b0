import hashlib
import hmac

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cohortium.data.patients import content_keys, identifier_keys, patient_index

SECRET = b"a site's own secret"


def ids(*words):
    return np.array(words, dtype=np.str_)


def test_a_key_is_the_hmac_of_the_written_alike_identifier():
    expected = hmac.new(SECRET, b"patient\x00P-17", hashlib.sha256).digest()[:16]
    assert identifier_keys(ids("p-17", " P-17 ", "Ｐ-17"), SECRET) == (expected,) * 3


def test_different_patients_and_different_sites_have_different_keys():
    keys = identifier_keys(ids("1", "2", "01"), SECRET)
    assert len(set(keys)) == 3
    assert identifier_keys(ids("1"), b"another site")[0] not in keys


def test_equal_rows_share_a_key_where_they_are_rare():
    rows = np.arange(100, dtype=np.uint8)[:, None].repeat(4, axis=1)
    rows[50] = rows[3]
    keys = content_keys(rows, SECRET)
    assert keys[50] == keys[3]
    assert len(set(keys)) == 99


def test_equal_rows_are_different_patients_where_they_are_common():
    rows = np.array([[0], [1], [0], [0]], dtype=np.uint8)
    keys = content_keys(rows, SECRET)
    assert len(set(keys)) == 4
    assert keys[0] == content_keys(rows[:2], SECRET)[0]  # the first keeps its key when repeats come


@given(st.lists(st.integers(0, 255), min_size=1, max_size=30, unique=True), st.randoms())
def test_keys_do_not_depend_on_the_order_of_rows(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    first = content_keys(np.array(values, np.uint8)[:, None], SECRET)
    second = content_keys(np.array(shuffled, np.uint8)[:, None], SECRET)
    assert dict(zip(values, first, strict=True)) == dict(zip(shuffled, second, strict=True))


def test_patients_are_numbered_as_they_appear():
    assert patient_index((b"b", b"a", b"b", b"c")).tolist() == [0, 1, 0, 2]
