"""The client of an Ethereum node: against a real one, and against answers of every wrong form."""

import time

import pytest

from cohortium.core.identity import LedgerKey, keccak
from cohortium.errors import LedgerRefused, LedgerUnreachable
from cohortium.ledger.abi import encode
from cohortium.ledger.interface import consortium as contract_of
from cohortium.ledger.json_rpc import JsonRpc
from cohortium.ledger.transactions import sign_call

KEY = LedgerKey.from_bytes(b"\x05" * 32)


@pytest.fixture
def chain(node, hospitals):
    """A client of a node on which the contract of the usual five hospitals was deployed."""
    node.begin()
    client = JsonRpc([node.url])
    client.genesis = hospitals.genesis_of("evm-rpc")
    assert client.send(client.genesis.deployment) == "sent"
    until = time.monotonic() + 10
    while client.receipt(keccak(client.genesis.deployment)) is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    yield client
    client.close()


def test_it_reads_what_a_node_says(chain, node, hospitals):
    genesis = chain.genesis
    assert chain.chain_id() == hospitals.chain_id
    assert chain.chains() == [(node.url, hospitals.chain_id, "")]
    receipt = chain.receipt(keccak(genesis.deployment))
    assert (receipt.height, receipt.ok, receipt.contract) == (1, True, genesis.contract)
    (zero, one) = chain.blocks(0, 1)
    assert (zero.n_calls, zero.calls) == (0, ())
    assert (one.height, one.parent, one.hash) == (1, zero.hash, receipt.block)
    assert one.calls[0].raw == genesis.deployment
    assert (one.calls[0].to, one.calls[0].hash) == (b"", keccak(genesis.deployment))
    assert chain.block("latest") == one._replace(calls=())
    assert chain.block(2) is None
    logs = chain.logs(genesis.contract, first=0, last=1)
    assert [contract_of().interface.decode_log(log.topics, log.data)[1]["site"] for log in logs] == list(
        hospitals.sites
    )
    assert {(log.height, log.block, log.call) for log in logs} == {(1, one.hash, keccak(genesis.deployment))}
    assert chain.logs(genesis.contract, first=0, last=0) == []


def test_calls_return_or_revert_with_the_contracts_word(chain):
    interface = contract_of().interface
    found = chain.call(chain.genesis.contract, interface.encode_call("n_members", ()), height=1)
    assert interface.decode_result("n_members", found) == (5,)
    with pytest.raises(LedgerRefused) as refused:
        chain.call(chain.genesis.contract, interface.encode_call("approve", (9, bytes(32))), height=1)
    assert refused.value.reason == "member"
    assert chain.call(chain.genesis.contract, interface.encode_call("n_members", ()), height=0) == b""


def test_transactions_under_way_count_and_are_sent_once(chain, node, hospitals):
    bonn = hospitals.key_of("bonn")
    node.rpc("evm_setAutomine", False)
    place = {"chain_id": hospitals.chain_id, "contract": chain.genesis.contract, "function": "heartbeat", "args": ()}
    raws = [sign_call(bonn, nonce=nonce, **place) for nonce in (0, 1)]
    for raw in raws:
        assert chain.send(raw) == "sent"
        assert chain.send(raw) == "sent"
    assert chain.count(bonn.address) == 2
    assert chain.receipt(keccak(raws[0])) is None
    node.rpc("evm_mine")
    assert [one.height for one in chain.receipts([keccak(raw) for raw in raws])] == [2, 2]
    assert chain.send(sign_call(bonn, nonce=0, **{**place, "function": "leave"})) == "used"


class Saying:
    """A node that gives one answer to everything."""

    def __init__(self, answer) -> None:
        self.answer = answer

    def post(self, path, body):
        return self.answer(body) if callable(self.answer) else self.answer

    def post_each(self, path, body):
        return [("http://x:1", self.answer, "")]


def client(answer) -> JsonRpc:
    made = JsonRpc(["http://x:1"])
    made._http = Saying(answer)
    return made


HASH = "0x" + "11" * 32
BLOCK = {"number": "0x1", "hash": HASH, "parentHash": HASH, "timestamp": "0x5", "stateRoot": HASH, "transactions": []}


@pytest.mark.parametrize("result", [None, 5, "5", "0x", "0xg", "0x" + "1" * 65, {}, []])
def test_numbers_of_another_form_are_no_answer(result):
    with pytest.raises(LedgerUnreachable, match="as chain id"):
        client({"result": result}).chain_id()
    assert client({"result": result}).chains()[0][1] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"hash": None},
        {"hash": "0x11"},
        {"hash": HASH[:-1]},
        {"parentHash": 5},
        {"number": "1"},
        {"timestamp": []},
        {"stateRoot": "0x"},
        {"transactions": None},
    ],
)
def test_blocks_of_another_form_are_no_answer(change):
    assert client({"result": BLOCK}).block(1).height == 1
    with pytest.raises(LedgerUnreachable, match="the chain's node answers"):
        client({"result": {**BLOCK, **change}}).block(1)


@pytest.mark.parametrize("answer", [None, [], "x", {"error": "x"}, {"error": 5}])
def test_answers_that_are_no_answer_are_said(answer):
    with pytest.raises(LedgerUnreachable):
        client(answer).block(1)


@pytest.mark.parametrize(
    "answers",
    [
        lambda asked: asked,
        lambda asked: {"result": []},
        lambda asked: [{"id": 0, "result": BLOCK}],
        lambda asked: [{"id": 0, "result": BLOCK}] * len(asked),
        lambda asked: [{"id": n, "result": 7} for n in range(len(asked))],
        lambda asked: [5] * len(asked),
    ],
)
def test_several_answers_must_be_as_many_and_each_its_own(answers):
    with pytest.raises(LedgerUnreachable):
        client(answers).blocks(1, 3)


def test_several_answers_may_come_in_any_order():
    def answers(asked):
        return [{"id": one["id"], "result": {**BLOCK, "number": one["params"][0]}} for one in reversed(asked)]

    assert [block.height for block in client(answers).blocks(1, 3)] == [1, 2, 3]
    assert client(answers).receipts([]) == []


@pytest.mark.parametrize(
    ("message", "becomes"),
    [
        ("already known", "sent"),
        ("Known transaction", "sent"),
        ("transaction already imported", "sent"),
        ("nonce too low", "used"),
        ("Nonce too low", "used"),
        ("Transaction nonce below next nonce", "used"),
        ("replacement transaction underpriced", "used"),
        ("Replacement transaction underpriced", "used"),
    ],
)
def test_what_nodes_say_of_a_transaction_they_know(message, becomes):
    """Words of geth, Besu and anvil."""
    assert client({"error": {"code": -32000, "message": message}}).send(b"x") == becomes


def test_other_refusals_of_a_transaction_are_passed_on_with_a_hint():
    said = {"error": {"code": -32009, "message": "Gas price below configured minimum gas price"}}
    with pytest.raises(LedgerUnreachable, match="takes no transaction of this member: Gas price below") as error:
        client(said).send(b"x")
    assert "besu.md" in error.value.hint


def revert(word: str) -> str:
    return "0x08c379a0" + encode(["string"], [word]).hex()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"message": "execution reverted: phase", "data": revert("phase")}, "phase"),
        ({"message": "VM execution error", "data": revert("phase")}, "phase"),
        ({"message": "execution reverted", "data": "0x"}, "reverted"),
        ({"message": "Execution reverted", "data": None}, "reverted"),
        ({"message": "execution reverted", "data": "words"}, "reverted"),
    ],
)
def test_reverts_are_refusals_whatever_form_they_come_in(error, reason):
    with pytest.raises(LedgerRefused) as refused:
        client({"error": error}).call(b"\1" * 20, b"", height=1)
    assert refused.value.reason == reason


def test_a_state_that_is_gone_is_unreachable_and_no_refusal():
    with pytest.raises(LedgerUnreachable, match="missing trie node"):
        client({"error": {"message": "missing trie node"}}).call(b"\1" * 20, b"", height=1)


def test_a_transaction_that_is_spelled_wrongly_is_noticed():
    call = {
        "type": "0x0", "hash": HASH, "from": "0x" + "22" * 20, "to": None, "nonce": "0x0", "gasPrice": "0x0",
        "gas": "0x0", "value": "0x0", "input": "0x", "v": "0x1", "r": "0x1", "s": "0x1",
    }  # fmt: skip

    def answers(asked):
        block = {**BLOCK, "transactions": [call]}
        return [{"id": one["id"], "result": block} for one in asked] if isinstance(asked, list) else {"result": block}

    with pytest.raises(LedgerUnreachable, match="spells transaction"):
        client(answers).blocks(1, 1)
    call["type"] = "0x2"  # not spelled out, so not compared
    assert client(answers).blocks(1, 1)[0].calls[0].raw == b""
