"""Headers of both forms: what they bind, against py-evm's own."""

import pytest
from eth.db.trie import make_trie_root_and_nodes
from hypothesis import given
from hypothesis import strategies as st

from cohortium.core.identity import keccak
from cohortium.errors import FrameError
from cohortium.ledger import rlp
from cohortium.ledger.blocks import Block, Happening, binding, event_values, memory_header, read_header

RESULT = [True, "", [["Heartbeat", {"site": "bonn"}]]]


def test_a_memory_header_says_its_place_and_binds_its_transaction_and_result():
    facts = {
        "parent": b"\1" * 32,
        "height": 3,
        "time": 77,
        "raw": b"raw",
        "result": RESULT,
        "state_root": b"\5" * 32,
    }
    header = memory_header(**facts)
    said = read_header(header)
    assert (said.parent, said.height, said.time, said.state_root) == (b"\1" * 32, 3, 77, b"\5" * 32)
    assert said.binds == binding(b"raw", evm=False) == keccak(b"raw")
    changes = (
        ("parent", b"\2" * 32),
        ("height", 4),
        ("time", 78),
        ("raw", b"war"),
        ("result", [False, "", RESULT[2]]),
        ("result", [True, "", []]),
        ("state_root", bytes(32)),
    )
    others = [memory_header(**{**facts, key: value}) for key, value in changes]
    assert len({keccak(h) for h in [header, *others]}) == 8


@given(st.binary(min_size=40, max_size=300))
def test_the_root_of_one_transaction_is_that_of_py_evms_trie(raw):
    class Encoded:
        def encode(self) -> bytes:
            return raw

    root, _ = make_trie_root_and_nodes((Encoded(),))
    assert binding(raw, evm=True) == root


def test_an_ethereum_header_is_read_as_py_evm_wrote_it(local):
    local.put("bonn", "heartbeat")
    (block,) = local.ledger._replica.blocks(2)
    theirs = local.ledger._replica._chain.get_canonical_head()
    said = read_header(block.header)
    assert block.hash == theirs.hash
    assert said == (theirs.parent_hash, theirs.block_number, theirs.timestamp, theirs.state_root, said.binds, True)
    assert said.binds == theirs.transaction_root == binding(block.raw, evm=True)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\x80",
        rlp.encode([b""] * 5),
        rlp.encode([b"other-domain", *[b""] * 6]),
        rlp.encode([b"cohortium-memory-1", bytes(32), b"\0\1", b"\1", b"", b"", b""]),
        rlp.encode([b"cohortium-memory-1", bytes(32), [], b"\1", b"", b"", b""]),
        rlp.encode([b""] * 17),
        rlp.encode([b"cohortium-memory-1", [], b"\1", b"\1", b"", b"", b""]),
    ],
)
def test_other_headers_are_refused(header):
    with pytest.raises(FrameError):
        read_header(header)


def test_events_become_json_values():
    events = (Happening("E", {"run": 3, "digest": b"\xab\xcd", "site": "bonn", "many": (b"\1", 2)}),)
    assert event_values(events) == [["E", {"run": 3, "digest": "0xabcd", "site": "bonn", "many": ["0x01", 2]}]]


def test_a_blocks_hash_is_its_headers():
    assert Block(b"header", b"", True, "", ()).hash == keccak(b"header")
