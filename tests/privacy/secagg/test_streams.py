import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB

from cohortium.privacy.secagg.scratch import PIECE_BYTES, Scratch
from cohortium.privacy.secagg.streams import Streams, derive, key_stream

KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")


def stream(key, n_words, *, dtype, start=0):
    words = np.zeros(n_words, dtype)
    Streams([(key, 1)], words.dtype, Scratch(), start=start).apply(words)
    return words


def test_hkdf_agrees_with_rfc_5869_test_case_1() -> None:
    found = derive(b"\x0b" * 22, salt=bytes(range(13)), info=bytes(range(0xF0, 0xFA)), length=42)
    expected = (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )  # fmt: skip
    assert found.hex() == expected


def test_stream_is_aes_128_in_counter_mode_from_two_though_another_mode_computes_it() -> None:
    ecb = Cipher(AES(KEY), ECB()).encryptor()
    blocks = ecb.update(bytes(15) + b"\2" + bytes(15) + b"\3")
    assert stream(KEY, 8, dtype="<u4").tobytes() == blocks
    assert stream(KEY, 4, dtype="<u8").tobytes() == blocks
    assert key_stream(KEY, 32) == blocks
    long = 3 * PIECE_BYTES + 48
    counter = Cipher(AES(KEY), CTR(bytes(15) + b"\2")).encryptor()
    assert stream(KEY, long // 8, dtype="<u8").tobytes() == counter.update(bytes(long))


def test_aes_agrees_with_sp_800_38a() -> None:
    # NIST SP 800-38A, F.5.1: counter f0f1..ff gives this key stream in its first block
    counter = int.from_bytes(bytes(range(0xF0, 0x100)), "big")
    found = stream(KEY, 2, dtype="<u8", start=(counter - 2) * 2)
    assert found.tobytes().hex() == "ec8cdf7398607cb0f2d21675ea9ea1e4"


@pytest.mark.parametrize("dtype", ["<u2", "<u4", "<u8"])
def test_adding_and_taking_away_leaves_nothing_in_any_width_and_length(privacy, dtype) -> None:
    for length in (1, 7, PIECE_BYTES // 8, 3 * PIECE_BYTES // 2 + 5):
        before = np.arange(length).astype(dtype)
        words = before.copy()
        privacy.apply_streams(words, [(KEY, 1), (bytes(16), -1)])
        assert length < 7 or not np.array_equal(words, before)
        privacy.apply_streams(words, [(bytes(16), 1), (KEY, -1)])
        assert np.array_equal(words, before)


def test_any_slice_can_be_computed_alone() -> None:
    whole = stream(KEY, PIECE_BYTES, dtype="<u4")
    for start, length in ((0, 9), (4, 100), (PIECE_BYTES // 4 - 4, 8)):
        assert np.array_equal(stream(KEY, length, dtype="<u4", start=start), whole[start : start + length])
    with pytest.raises(ValueError, match="multiple of 4 words, got 3"):
        stream(KEY, 4, dtype="<u4", start=3)


def test_streams_go_on_where_the_last_piece_ended() -> None:
    whole = stream(KEY, 1000, dtype="<u2")
    words = np.zeros(1000, "<u2")
    streams = Streams([(KEY, 1)], words.dtype, Scratch())
    for at, length in ((0, 7), (7, 500), (507, 493)):
        streams.apply(words[at : at + length])
    assert np.array_equal(words, whole)


def test_pieces_do_not_repeat_the_stream() -> None:
    whole = stream(KEY, 4 * PIECE_BYTES // 8, dtype="<u8")
    assert len(np.unique(whole)) == len(whole)
