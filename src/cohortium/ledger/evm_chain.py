"""What of an Ethereum chain concerns one contract: its deployment, then the calls in each stretch of blocks.

Blocks are linked by their parents' hashes, as the node gives them; a header's own hash is not computed, because that
differs from chain to chain. A stretch holds every transaction sent to the contract and every other one that made the
contract log something. Nothing here is stored; `evm_rpc.py` does that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from cohortium.core.identity import keccak
from cohortium.core.seams import Head
from cohortium.errors import LedgerError, LedgerForked, LedgerUnreachable
from cohortium.ledger import rlp
from cohortium.ledger.evm_file import KeptCall
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.json_rpc import JsonRpc, RpcBlock, RpcLog

__all__ = ["EvmChain", "Stretch"]

_STRETCH: Final = 64
_ADVICE: Final = "the chain must take transactions of 60 million gas at price 0: docs/how-to/besu.md"


class Stretch(NamedTuple):
    """Some blocks in order, the calls in them (without reasons), and whether the chain goes on."""

    heads: list[Head]
    calls: list[KeptCall]
    more: bool


class EvmChain:
    """One site's view of the chain. included_s: how long a transaction may take to be in a block."""

    def __init__(self, rpc: JsonRpc, genesis: Genesis, *, included_s: float = 60.0) -> None:
        self.rpc = rpc
        self.included_s = included_s
        self._genesis = genesis

    def deployed(self) -> Stretch:
        """The block in which the contract begins; deploys it when nobody has. Nothing before counts.

        Raises LedgerError for another chain, or one that does not take the contract; LedgerUnreachable.
        """
        genesis = self._genesis
        if (found := self.rpc.chain_id()) != genesis.chain_id:
            raise LedgerError(f"the endpoint serves chain {found}, the consortium is on chain {genesis.chain_id}")
        digest = keccak(genesis.deployment)
        there = self.rpc.receipt(digest) is not None or self.rpc.send(genesis.deployment) == "sent"
        if not there and self.rpc.receipt(digest) is None:
            raise LedgerError("the deployer's number 0 is used up", hint="found anew with another chain id")
        until = time.monotonic() + self.included_s
        while (receipt := self.rpc.receipt(digest)) is None:
            if time.monotonic() >= until:
                raise LedgerUnreachable(f"the contract is in no block after {self.included_s:g} s", hint=_ADVICE)
            time.sleep(0.05)
        if not receipt.ok or receipt.contract != genesis.contract:
            raise LedgerError("the chain did not take the contract", hint=_ADVICE)
        (block,) = self.rpc.blocks(receipt.height, receipt.height)
        calls = self._calls([block])
        at = next((at for at, call in enumerate(calls) if call.digest == digest), None)
        if at is None:
            raise _changed(block.height)
        return Stretch([_head(block)], calls[at:], False)

    def after(self, mine: Head, *, hash_at: Callable[[int], bytes | None]) -> Stretch:
        """The blocks after the last one followed. hash_at: of a lower block that was followed, as far as known.

        Raises LedgerForked when a block that was followed is no longer in the chain. A node that is behind is not.
        """
        top = self.rpc.block("latest")
        if top is None:
            raise LedgerUnreachable("the chain's node has no block")
        if top.height <= mine.height:
            known = hash_at(top.height)
            if known is not None and known != top.hash:
                raise _forked(top.height, known, top)
            return Stretch([], [], False)
        blocks = self.rpc.blocks(mine.height + 1, min(top.height, mine.height + _STRETCH))
        parent = mine.hash
        for height, block in enumerate(blocks, start=mine.height + 1):
            if height == mine.height + 1 and block.parent != parent:
                raise _forked(mine.height, parent, block)
            if block.height != height or block.parent != parent:
                raise _changed(height)
            parent = block.hash
        return Stretch([_head(block) for block in blocks], self._calls(blocks), blocks[-1].height < top.height)

    def _calls(self, blocks: Sequence[RpcBlock]) -> list[KeptCall]:
        """What concerns the contract in some blocks that follow each other."""
        contract = self._genesis.contract
        if not any(block.calls for block in blocks):
            return []
        logs: dict[bytes, list[RpcLog]] = {}
        for log in self.rpc.logs(contract, first=blocks[0].height, last=blocks[-1].height):
            logs.setdefault(log.call, []).append(log)
        ours = [
            (block, position, call)
            for block in blocks
            for position, call in enumerate(block.calls)
            if call.to == contract or call.hash in logs
        ]
        found = []
        receipts = self.rpc.receipts([call.hash for _, _, call in ours])
        for (block, position, call), receipt in zip(ours, receipts, strict=True):
            told = logs.pop(call.hash, [])
            if receipt.block != block.hash or any(log.block != block.hash for log in told):
                raise _changed(block.height)
            packed = rlp.encode([[list(log.topics), log.data] for log in told])
            found.append(
                KeptCall(block.height, position, block.hash, block.time, call.hash, call.raw, receipt.ok, "", packed)
            )
        if logs:
            raise _changed(next(iter(logs.values()))[0].height)
        return found


def _head(block: RpcBlock) -> Head:
    return Head(block.height, block.hash, block.state_root)


def _changed(height: int) -> LedgerUnreachable:
    return LedgerUnreachable(f"the chain changed around block {height} while it was read")


def _forked(height: int, mine: bytes, block: RpcBlock) -> LedgerForked:
    """Evidence: the block that was followed, and the header that took its place or builds on another."""
    theirs = {"height": block.height, "hash": block.hash.hex(), "parent": block.parent.hex(), "time": block.time}
    other = block.hash if block.height == height else block.parent
    return LedgerForked(
        f"block {height} of the ledger is {other.hex()[:16]} for the chain's node and {mine.hex()[:16]} here",
        evidence=(
            json.dumps({"height": height, "hash": mine.hex()}).encode(),
            json.dumps(theirs, sort_keys=True).encode(),
        ),
    )
