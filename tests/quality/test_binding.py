"""A root over salted scores: what was committed can be proved, and nothing else."""

import hashlib
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cohortium.quality.binding import ROOT_WORDS, leaves, path_of, root_of, root_words, salts, verify_path


def made(n, secret=b"k" * 32):
    z, y = np.linspace(-2, 2, n), np.arange(n) % 2
    return leaves(z, y.astype(float), salts(secret, b"audit 1", n))


def test_the_root_of_three_leaves_is_that_of_the_formula():
    a, b, c = made(3)
    ab = hashlib.sha256(b"\1" + a + b).digest()
    assert root_of([a, b, c]) == hashlib.sha256(b"\1" + ab + c).digest()
    salt = salts(b"k" * 32, b"audit 1", 1)[0]
    assert made(3)[0] == hashlib.sha256(b"\0" + salt + struct.pack("<IBd", 0, 0, -2.0)).digest()


@given(st.integers(1, 40), st.data())
def test_every_leaf_is_proved_at_its_place_and_at_no_other(n, data):
    digests = made(n)
    at = data.draw(st.integers(0, n - 1))
    path, root = path_of(digests, at), root_of(digests)
    assert verify_path(digests[at], at, path, root)
    assert not verify_path(bytes(32), at, path, root)
    if n > 1:
        other = (at + 1) % n
        assert not verify_path(digests[other], at, path, root)


def test_another_score_label_key_or_audit_gives_another_root():
    z, y = np.zeros(4), np.zeros(4)
    plain = root_of(leaves(z, y, salts(b"k", b"1", 4)))
    others = [
        root_of(leaves(z + 1e-12, y, salts(b"k", b"1", 4))),
        root_of(leaves(z, np.array([0, 0, 0, 1]), salts(b"k", b"1", 4))),
        root_of(leaves(z, y, salts(b"x", b"1", 4))),
        root_of(leaves(z, y, salts(b"k", b"2", 4))),
    ]
    assert len({plain, *others}) == 5


def test_a_root_travels_as_eight_numbers_below_two_to_the_32():
    words = root_words(root_of(made(5)))
    assert words.shape == (ROOT_WORDS,)
    assert words.min() >= 0
    assert words.max() < 1 << 32
    assert words.astype("<u4").tobytes() == root_of(made(5))
    assert root_of([]) == bytes(32)
