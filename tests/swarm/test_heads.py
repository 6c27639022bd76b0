"""Heads of the ledger: what is remembered, what waits, what contradicts."""

import msgspec

from cohortium.core.messages import VERSION, Envelope
from cohortium.core.seams import Head
from cohortium.swarm import heads
from cohortium.swarm.heads import Heads


def word(height: int, digest: bytes, sender: str = "a") -> Envelope:
    return Envelope(VERSION, bytes(32), 1, 1, 0, 0, "bye", sender, "", 1, height, digest, b"", b"s")


def test_own_hashes_are_remembered_and_the_oldest_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(heads, "_KEPT", 3)
    seen = Heads()
    for height in range(1, 6):
        seen.see(Head(height, bytes([height]) * 32, bytes(32)))
    assert seen.newest == (5, b"\5" * 32)
    assert [seen.at(height) for height in (2, 3, 5)] == [None, b"\3" * 32, b"\5" * 32]
    assert not seen.is_ahead(5)
    assert seen.is_ahead(6)


def test_a_claim_waits_until_its_height_is_reached_and_is_given_out_once() -> None:
    seen = Heads()
    assert seen.claim(word(3, b"x" * 32)) is None
    assert seen.claim(word(5, b"y" * 32)) is None
    seen.see(Head(4, b"z" * 32, bytes(32)))
    assert [one.head_height for one in seen.due()] == [3]
    assert seen.due() == []
    seen.see(Head(9, b"z" * 32, bytes(32)))
    assert [one.head_height for one in seen.due()] == [5]


def test_two_words_for_one_height_contradict_whoever_says_them() -> None:
    seen = Heads()
    first = word(7, b"x" * 32, "a")
    seen.claim(first)
    assert seen.claim(word(7, b"x" * 32, "b")) is None
    assert seen.claim(word(7, b"y" * 32, "b")) is first
    assert seen.claim(word(8, b"y" * 32, "b")) is None


def test_absurd_heights_push_out_no_others(monkeypatch) -> None:
    monkeypatch.setattr(heads, "_KEPT", 2)
    seen = Heads()
    seen.claim(word(7, b"x" * 32))
    for height in range(10**9, 10**9 + 50):
        seen.claim(word(height, b"y" * 32, "b"))
    assert seen.claim(word(7, b"z" * 32, "c")) is not None


def test_long_messages_are_not_kept() -> None:
    seen = Heads()
    long = msgspec.structs.replace(word(7, b"x" * 32), body=bytes(heads._LONGEST + 1))
    assert seen.claim(long) is None
    assert seen.claim(word(7, b"y" * 32)) is None
