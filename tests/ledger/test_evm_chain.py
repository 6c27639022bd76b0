"""Following one contract on a real chain: its deployment by whoever comes first, links, reorganisations."""

import threading
import time

import pytest

from cohortium.core.identity import keccak
from cohortium.core.seams import Head
from cohortium.errors import LedgerError, LedgerForked, LedgerUnreachable
from cohortium.ledger import evm_chain
from cohortium.ledger.evm_chain import EvmChain
from cohortium.ledger.json_rpc import JsonRpc
from cohortium.ledger.transactions import sign_call


class Bent:
    """A client of a node, some of whose answers a test bends."""

    def __init__(self, rpc, **bent) -> None:
        self._rpc, self._bent = rpc, bent

    def __getattr__(self, name):
        return self._bent.get(name) or getattr(self._rpc, name)


@pytest.fixture
def chain(node, hospitals):
    """A chain on which nothing was deployed yet."""
    node.begin()
    made = EvmChain(JsonRpc([node.url]), hospitals.genesis_of("evm-rpc"), included_s=2)
    made.node = node
    yield made
    made.rpc.close()


def beat(chain, hospitals, nonce=0, site="bonn", *, wait=True):
    genesis = hospitals.genesis_of("evm-rpc")
    raw = sign_call(
        hospitals.key_of(site),
        chain_id=genesis.chain_id,
        nonce=nonce,
        contract=genesis.contract,
        function="heartbeat",
        args=(),
    )
    assert chain.rpc.send(raw) == "sent"
    until = time.monotonic() + 10
    while wait and chain.rpc.receipt(keccak(raw)) is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    return keccak(raw)


def nothing(height):
    return None


def test_who_comes_first_deploys_and_the_others_find_it(chain, node, hospitals):
    genesis = hospitals.genesis_of("evm-rpc")
    first = chain.deployed()
    (founding,) = first.calls
    assert (founding.height, founding.raw, founding.ok) == (1, genesis.deployment, True)
    assert [head.height for head in first.heads] == [1]
    second = EvmChain(JsonRpc([node.url]), genesis)
    assert second.deployed() == first
    second.rpc.close()
    assert chain.rpc.block("latest").height == 1


def test_two_who_come_at_once_deploy_it_once(node, hospitals):
    node.begin()
    genesis, found = hospitals.genesis_of("evm-rpc"), []

    def found_it():
        one = EvmChain(JsonRpc([node.url]), genesis)
        found.append(one.deployed())
        one.rpc.close()

    threads = [threading.Thread(target=found_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 4
    assert all(one == found[0] for one in found)


def test_another_chain_is_refused(chain, hospitals):
    chain.rpc = Bent(chain.rpc, chain_id=lambda: 1)
    with pytest.raises(LedgerError, match="serves chain 1, the consortium is on chain 7001"):
        chain.deployed()


def test_a_chain_that_does_not_take_the_contract_is_refused_with_advice(chain, hospitals):
    receipt = chain.rpc.receipt

    def failed(digest):
        found = receipt(digest)
        return None if found is None else found._replace(ok=False)

    chain.rpc = Bent(chain.rpc, receipt=failed)
    with pytest.raises(LedgerError, match="did not take the contract") as error:
        chain.deployed()
    assert "60 million gas" in error.value.hint


def test_a_chain_without_new_blocks_is_unreachable(chain, node):
    node.rpc("evm_setAutomine", False)
    chain.included_s = 0.3
    with pytest.raises(LedgerUnreachable, match=r"in no block after 0\.3 s"):
        chain.deployed()


def test_a_deployers_number_used_for_something_else_is_said(chain):
    chain.rpc = Bent(chain.rpc, send=lambda raw: "used")
    with pytest.raises(LedgerError, match="number 0 is used up"):
        chain.deployed()


def test_calls_of_the_deployments_own_block_count_and_what_was_before_does_not(chain, node, hospitals):
    node.rpc("evm_setAutomine", False)
    beat(chain, hospitals, site="graz", wait=False)  # to an address where nothing is yet
    node.rpc("evm_mine")
    assert chain.rpc.send(hospitals.genesis_of("evm-rpc").deployment) == "sent"
    beat(chain, hospitals, wait=False)
    node.rpc("evm_mine")
    begun = chain.deployed()
    assert [call.height for call in begun.calls] == [2] * len(begun.calls)
    assert begun.calls[0].raw == hospitals.genesis_of("evm-rpc").deployment
    assert keccak(begun.calls[-1].raw) == begun.calls[-1].digest


def test_stretches_hold_our_calls_in_order_and_end_with_the_chain(chain, node, hospitals, monkeypatch):
    monkeypatch.setattr(evm_chain, "_STRETCH", 3)
    begun = chain.deployed()
    digests = [beat(chain, hospitals, nonce) for nonce in range(2)]
    node.rpc("anvil_mine", "0x4")  # blocks that hold nothing of ours
    digests.append(beat(chain, hospitals, 2))
    mine, found = begun.heads[-1], []
    lengths = []
    while (stretch := chain.after(mine, hash_at=nothing)).heads:
        found += stretch.calls
        lengths.append(len(stretch.heads))
        mine = stretch.heads[-1]
        if not stretch.more:
            break
    assert lengths == [3, 3, 1]
    assert [call.digest for call in found] == digests
    assert [call.height for call in found] == [2, 3, 8]
    assert chain.after(mine, hash_at=nothing) == ([], [], False)


def test_several_calls_in_one_block_have_their_positions(chain, node, hospitals):
    begun = chain.deployed()
    node.rpc("evm_setAutomine", False)
    for site in ("bonn", "graz", "lund"):
        beat(chain, hospitals, site=site, wait=False)
    node.rpc("evm_mine")
    stretch = chain.after(begun.heads[-1], hash_at=nothing)
    assert [(call.height, call.position) for call in stretch.calls] == [(2, 0), (2, 1), (2, 2)]
    assert len({call.block for call in stretch.calls}) == 1


def test_a_replaced_block_is_a_fork_and_a_node_behind_is_not(chain, node, hospitals):
    chain.deployed()
    node.next_time(hospitals.start + 10)
    beat(chain, hospitals)
    (two,) = chain.after(chain.deployed().heads[-1], hash_at=nothing).heads
    behind = Head(9, b"\1" * 32, bytes(32))
    assert chain.after(behind, hash_at=nothing) == ([], [], False)
    assert chain.after(behind, hash_at={2: two.hash}.get) == ([], [], False)
    with pytest.raises(LedgerForked, match="block 2 of the ledger is"):
        chain.after(behind, hash_at={2: b"\2" * 32}.get)
    with pytest.raises(LedgerForked, match="block 1 of the ledger is") as forked:
        chain.after(Head(1, b"\3" * 32, bytes(32)), hash_at=nothing)
    mine, theirs = forked.value.evidence
    assert ("03" * 32).encode() in mine
    assert two.hash.hex().encode() in theirs


def test_a_reorganised_chain_is_seen_at_once(chain, node, hospitals):
    begun = chain.deployed()
    for nonce in range(3):
        beat(chain, hospitals, nonce)
    stretch = chain.after(begun.heads[-1], hash_at=nothing)
    known = {head.height: head.hash for head in stretch.heads}
    node.rpc("anvil_reorg", 2, [])
    node.rpc("anvil_mine", "0x1")
    with pytest.raises(LedgerForked):
        chain.after(stretch.heads[-1], hash_at=known.get)


@pytest.mark.parametrize("what", ["height", "parent in between", "receipt", "log", "foreign log"])
def test_a_chain_that_changes_while_it_is_read_is_read_again(chain, hospitals, what):
    begun = chain.deployed()
    for nonce in range(2):
        beat(chain, hospitals, nonce)
    rpc = chain.rpc

    def bend(blocks):
        if what == "height":
            return [blocks[0]._replace(height=7), *blocks[1:]]
        return [blocks[0], blocks[1]._replace(parent=bytes(32))]

    bent = {
        "height": {"blocks": lambda first, last: bend(rpc.blocks(first, last))},
        "parent in between": {"blocks": lambda first, last: bend(rpc.blocks(first, last))},
        "receipt": {"receipts": lambda d: [one._replace(block=bytes(32)) for one in rpc.receipts(d)]},
        "log": {"logs": lambda c, **at: [one._replace(block=bytes(32)) for one in rpc.logs(c, **at)]},
        "foreign log": {"logs": lambda c, **at: [one._replace(call=bytes(32)) for one in rpc.logs(c, **at)]},
    }[what]
    chain.rpc = Bent(rpc, **bent)
    with pytest.raises(LedgerUnreachable, match="while it was read"):
        chain.after(begun.heads[-1], hash_at=nothing)
    chain.rpc = rpc
    assert len(chain.after(begun.heads[-1], hash_at=nothing).calls) == 2
