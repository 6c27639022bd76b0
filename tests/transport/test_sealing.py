"""Sealed frames: only the named receiver opens them, only once, only from who signed."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cohortium.core.identity import LedgerKey
from cohortium.errors import FrameError, PeerError, SignatureError
from cohortium.transport import sealing
from cohortium.transport.directory import Contact
from cohortium.transport.sealing import SEALED_MORE_BYTES, Opener, Sealer, seal_public

FRAME = b"weights of the third layer"
LEDGER = {site: LedgerKey.from_bytes(bytes(31) + bytes([i])) for i, site in enumerate(("bonn", "lund", "porto"), 1)}
SEAL = {site: bytes([i]) * 32 for i, site in enumerate(LEDGER, 1)}


def contact(site: str) -> Contact:
    return Contact(name=site, certificate=b"der", seal=seal_public(SEAL[site]))


def sealer(site: str, **options) -> Sealer:
    return Sealer(site, sign=LEDGER[site].sign, **options)


def opener(site: str) -> Opener:
    return Opener(site, SEAL[site], address_of=lambda name: LEDGER[name].address)


@pytest.mark.parametrize("frame", [b"", FRAME, os.urandom(1 << 20)])
def test_the_receiver_opens_what_was_sealed_for_it(frame: bytes) -> None:
    sealed = sealer("porto").seal(contact("bonn"), frame)
    assert len(sealed) == len(frame) + SEALED_MORE_BYTES
    assert opener("bonn").open("porto", sealed) == frame


def test_nobody_else_opens_it() -> None:
    sealed = sealer("porto").seal(contact("bonn"), FRAME)
    assert FRAME not in sealed
    with pytest.raises(SignatureError, match="not signed by 'porto' for this site's seal key"):
        opener("lund").open("porto", sealed)
    thief = Opener("bonn", SEAL["lund"], address_of=lambda name: LEDGER[name].address)
    with pytest.raises(SignatureError):
        thief.open("porto", sealed)


def test_nobody_seals_in_anothers_name() -> None:
    forged = Sealer("porto", sign=LEDGER["lund"].sign).seal(contact("bonn"), FRAME)
    with pytest.raises(SignatureError, match="not signed by 'porto'"):
        opener("bonn").open("porto", forged)
    honest = sealer("lund").seal(contact("bonn"), FRAME)
    with pytest.raises(SignatureError, match="not signed by 'porto'"):
        opener("bonn").open("porto", honest)


@pytest.mark.parametrize("at", [0, 40, 100, 104, 105, -1])
def test_one_changed_bit_anywhere_is_refused(at: int) -> None:
    sealed = bytearray(sealer("porto").seal(contact("bonn"), FRAME))
    sealed[at] ^= 1
    with pytest.raises(PeerError):
        opener("bonn").open("porto", bytes(sealed))


@pytest.mark.parametrize("length", [0, 50, SEALED_MORE_BYTES - 1])
def test_a_truncated_frame_is_refused(length: int) -> None:
    with pytest.raises(FrameError, match="fewer than"):
        opener("bonn").open("porto", sealer("porto").seal(contact("bonn"), FRAME)[:length])


def test_frames_arrive_in_any_order_and_each_counts_once() -> None:
    here, there = sealer("porto"), opener("bonn")
    frames = [here.seal(contact("bonn"), bytes([i])) for i in range(50)]
    for i in (3, 0, 49, 1, *range(10, 20)):
        assert there.open("porto", frames[i]) == bytes([i])
    for i in (0, 3, 49, 15):
        with pytest.raises(FrameError, match="came before"):
            there.open("porto", frames[i])
    assert there.open("porto", frames[2]) == b"\2"


def test_a_frame_far_behind_the_newest_is_taken_for_a_repetition(monkeypatch) -> None:
    monkeypatch.setattr(sealing, "_WINDOW", 16)
    here, there = sealer("porto"), opener("bonn")
    frames = [here.seal(contact("bonn"), bytes([i])) for i in range(40)]
    there.open("porto", frames[39])
    assert there.open("porto", frames[24]) == bytes([24])
    with pytest.raises(FrameError, match="came before"):
        there.open("porto", frames[23])


def test_no_key_and_nonce_is_ever_used_twice() -> None:
    here = sealer("porto")
    heads = {here.seal(contact("bonn"), FRAME)[:105] for _ in range(100)}
    heads |= {sealer("porto").seal(contact("bonn"), FRAME)[:105] for _ in range(100)}
    assert len(heads) == 200
    assert len({head[:97] for head in heads}) == 101  # one session of the first, one for each life after it


@pytest.mark.parametrize("limit", ["frames", "age", "key"])
def test_a_session_ends_and_the_next_has_another_key(monkeypatch, limit: str) -> None:
    monkeypatch.setattr(sealing, "_MAX_FRAMES", 10)
    now = [0.0]
    here, there = sealer("porto", clock=lambda: now[0]), opener("bonn")
    first = here.seal(contact("bonn"), b"1")
    if limit == "frames":
        for _ in range(9):
            assert here.seal(contact("bonn"), b"x")[:97] == first[:97]
    elif limit == "age":
        now[0] = 3599.0
        assert here.seal(contact("bonn"), b"x")[:97] == first[:97]
        now[0] = 3600.0
    receiver = contact("bonn") if limit != "key" else contact("lund")
    second = here.seal(Contact(name="bonn", certificate=b"der", seal=receiver.seal), b"2")
    assert second[:32] != first[:32]
    if limit != "key":
        assert [there.open("porto", sealed) for sealed in (second, first)] == [b"2", b"1"]


def test_a_session_that_was_let_go_never_opens_again() -> None:
    there = opener("bonn")
    lives = [sealer("porto") for _ in range(6)]
    first = [life.seal(contact("bonn"), b"1") for life in lives]
    later = [life.seal(contact("bonn"), b"2") for life in lives]
    for sealed in first:
        there.open("porto", sealed)
    with pytest.raises(FrameError, match="session that has ended"):
        there.open("porto", later[0])
    assert there.open("porto", later[5]) == b"2"


def test_a_key_that_agrees_on_nothing_is_refused() -> None:
    """A point of small order would make the shared secret zero for everybody."""
    signature = LEDGER["porto"].sign(
        sealing._signed(bytes(32), seal=seal_public(SEAL["bonn"]), names=sealing._names("porto", "bonn"))
    )
    with pytest.raises(SignatureError, match="no one may use"):
        opener("bonn").open("porto", bytes(32) + signature + bytes(8 + 16))


def test_public_half_is_that_of_x25519() -> None:
    key = X25519PrivateKey.generate()
    assert seal_public(key.private_bytes_raw()) == key.public_key().public_bytes_raw()
