import msgspec
import pytest

from cohortium.core import messages as m
from cohortium.core.identity import LedgerKey, recover
from cohortium.errors import FrameError, PeerError, SignatureError
from cohortium.ledger.rules import evidence
from cohortium.swarm.gate import CUT_AFTER, Gate, Witness, slot_digest
from cohortium.swarm.membership import Members

KEY = LedgerKey.from_bytes(bytes(31) + b"\x07")
OTHER = LedgerKey.from_bytes(bytes(31) + b"\x08")


def gate() -> Gate:
    members = Members()
    members.admit("porto", KEY.address)
    members.admit("lund", OTHER.address)
    return Gate(consortium=bytes(32), me="lund", members=members, recover=recover)


def frame(sequence: int = 1, *, key: LedgerKey = KEY, kind: str = "bye", body: m.Body | None = None, **fields) -> bytes:
    bare = m.Envelope(
        version=1, consortium=bytes(32), run=1, round=1, term=0, attempt=0, kind=kind, sender="porto", receiver="",
        sequence=sequence, head_height=0, head_hash=b"", body=b"",
    )  # fmt: skip
    return m.encode(m.sealed(msgspec.structs.replace(bare, **fields), body or m.Bye(), key.sign))


def test_good_message_comes_in_once() -> None:
    door = gate()
    envelope, body = door.open("porto", frame())
    assert (envelope.sender, body) == ("porto", m.Bye())
    with pytest.raises(FrameError, match="message 1 of 'porto' came before"):
        door.open("porto", frame())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (frame(consortium=b"\1" * 32), "another consortium"),
        (frame(receiver="rome"), "meant for 'rome'"),
        (frame(key=OTHER), "not signed by 'porto'"),
        (frame(sender="rome"), "came over the stream of"),
        (b"noise", "no envelope"),
    ],
)
def test_what_must_not_come_in_is_refused_and_counted(bad: bytes, message: str) -> None:
    door = gate()
    with pytest.raises(PeerError, match=message):
        door.open("porto", bad)
    assert door.refused["porto"] == 1


def test_excluded_member_and_stranger_speak_for_nobody() -> None:
    door = gate()
    door.members.remove("porto", excluded=True)
    with pytest.raises(SignatureError, match="no active member"):
        door.open("porto", frame())


def test_ten_refusals_in_a_row_cut_the_stream_and_a_good_word_starts_over() -> None:
    door = gate()
    for _ in range(CUT_AFTER - 1):
        with pytest.raises(PeerError):
            door.open("porto", b"noise")
    assert not door.cut("porto")
    door.open("porto", frame(5))
    for _ in range(CUT_AFTER):
        with pytest.raises(PeerError):
            door.open("porto", b"noise")
    assert door.cut("porto")
    assert door.total_refused["porto"] == 2 * CUT_AFTER - 1


def test_order_may_change_within_the_window_and_memory_stays_bounded() -> None:
    door = gate()
    for sequence in (10, 7, 9, 8):
        door.open("porto", frame(sequence))
    for sequence in range(20, 20 + 3 * 4096, 2):
        door._check_sequence("porto", sequence)
    assert len(door._seen["porto"]) <= 2 * 4096 + 1
    with pytest.raises(FrameError, match="message 11 of"):
        door._check_sequence("porto", 11)


def test_chunks_come_unsigned_and_as_often_as_asked_for() -> None:
    door = gate()
    chunk = frame(kind="chunk", body=m.Chunk(digest=bytes(32), index=0, data=b"x"))
    for _ in range(3):
        door.open("porto", chunk)


def test_slot_digest_is_the_contracts() -> None:
    contract = bytes(range(20))
    slot = {"run": 1, "round": 2, "term": 3, "kind": 100}
    ours = slot_digest(contract=contract, chain_id=7, **slot, digest=b"\2" * 32)
    assert ours == evidence.slot_digest(contract, 7, 1, 2, 3, 100, b"\2" * 32)


def test_witness_gives_proof_only_for_two_digests_of_one_slot() -> None:
    witness, slot = Witness(), (1, 2, 0, 100)
    assert witness.note("porto", slot, b"h1", b"s1") is None
    assert witness.note("porto", slot, b"h1", b"s1") is None
    assert witness.note("lund", slot, b"h2", b"s2") is None
    assert witness.note("porto", (1, 3, 0, 100), b"h2", b"s2") is None
    assert witness.note("porto", slot, b"h2", b"s2") == (b"h1", b"s1", b"h2", b"s2")
    witness.forget_before(3)
    assert witness.note("porto", slot, b"h2", b"s2") is None


def test_chunk_with_a_signature_nobody_checks_is_refused() -> None:
    """Its sender's head would have counted as signed: one byte, and every node stopped for a forked ledger."""
    door = gate()
    body = m.Chunk(digest=bytes(32), index=0, data=b"x")
    door.open("porto", frame(kind="chunk", body=body))
    sealed = m.decode(frame(kind="chunk", body=body))
    with pytest.raises(SignatureError, match="chunk of 'porto' carries a signature"):
        door.open("porto", m.encode(msgspec.structs.replace(sealed, signature=b"x")))


def test_statements_of_one_site_in_one_round_are_bounded() -> None:
    witness = Witness()
    for term in range(64):
        assert witness.note("porto", (1, 1, term, 1), bytes(32), b"") is None
    with pytest.raises(FrameError, match="more than 64 slots of round 1"):
        witness.note("porto", (1, 1, 64, 1), bytes(32), b"")
    assert witness.note("porto", (1, 1, 63, 1), b"\1" * 32, b"") == (bytes(32), b"", b"\1" * 32, b"")
    assert witness.note("lund", (1, 1, 64, 1), bytes(32), b"") is None
    witness.forget_before(2)
    assert witness.note("porto", (1, 1, 64, 1), bytes(32), b"") is None
