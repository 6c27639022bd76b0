"""Functions and events by name, on a small ABI and on the shipped contract."""

import pytest

from cohortium.errors import FrameError
from cohortium.ledger.abi import encode, event_topic, selector
from cohortium.ledger.interface import Interface, consortium

ABI = [
    {"type": "constructor", "stateMutability": "nonpayable", "inputs": [{"name": "sites", "type": "string[]"}]},
    {
        "type": "function",
        "name": "commit",
        "stateMutability": "nonpayable",
        "inputs": [{"name": "run", "type": "uint256"}, {"name": "digest", "type": "bytes32"}],
        "outputs": [],
    },
    {
        "type": "function",
        "name": "members",
        "stateMutability": "view",
        "inputs": [{"name": "who", "type": "address"}],
        "outputs": [
            {
                "name": "",
                "type": "tuple",
                "components": [{"name": "name", "type": "string"}, {"name": "status", "type": "uint8"}],
            }
        ],
    },
    {
        "type": "event",
        "name": "Committed",
        "anonymous": False,
        "inputs": [
            {"name": "run", "type": "uint256", "indexed": True},
            {"name": "site", "type": "string", "indexed": False},
            {"name": "digest", "type": "bytes32", "indexed": True},
            {"name": "weight", "type": "uint64", "indexed": False},
        ],
    },
]


def test_interface_reads_and_writes_calls_results_and_logs():
    face = Interface(ABI)
    call = face.encode_call("commit", (3, bytes(32)))
    assert call[:4] == selector("commit(uint256,bytes32)")
    assert face.decode_call(call) == ("commit", (3, bytes(32)))
    assert face.constructor == ("string[]",)
    assert face.function("members").view
    assert not face.function("commit").view
    assert face.decode_result("members", encode(["(string,uint8)"], [("porto", 1)])) == (("porto", 1),)
    topics = [event_topic("Committed(uint256,string,bytes32,uint64)"), encode(["uint256"], [9]), b"\7" * 32]
    assert face.decode_log(topics, encode(["string", "uint64"], ["porto", 5])) == (
        "Committed",
        {"run": 9, "site": "porto", "digest": b"\7" * 32, "weight": 5},
    )


def test_interface_refuses_what_it_does_not_know():
    face = Interface(ABI)
    with pytest.raises(ValueError, match="no function 'comit'"):
        face.encode_call("comit", ())
    with pytest.raises(ValueError, match=r"commit\(uint256,bytes32\): expected 2 values, got 1"):
        face.encode_call("commit", (1,))
    with pytest.raises(FrameError, match="selector 0x01020304"):
        face.decode_call(b"\1\2\3\4")
    with pytest.raises(FrameError, match="no event"):
        face.decode_log([], b"")
    with pytest.raises(FrameError, match="no event"):
        face.decode_log([bytes(32)], b"")
    with pytest.raises(FrameError, match="1 topics, expected 3"):
        face.decode_log([event_topic("Committed(uint256,string,bytes32,uint64)")], b"")


def test_the_shipped_contract_is_served_whole():
    """Every type it uses can be written and read, and no two functions or events share a name."""
    shipped = consortium()
    zeros = {"uint256": 0, "bytes32": bytes(32), "address": bytes(20), "string": "", "bytes": b"", "bool": False}
    for function in shipped.interface.functions.values():
        data = shipped.interface.encode_call(function.name, tuple(zeros[kind] for kind in function.inputs))
        assert shipped.interface.decode_call(data)[0] == function.name
    for event in shipped.interface.events.values():
        data = encode(event.types, tuple(zeros[kind] for kind in event.types))
        assert set(shipped.interface.decode_log([event_topic(event.signature)], data)[1]) == set(event.names)
    assert len(shipped.code_hash) == 32
    assert shipped.runtime in shipped.code
