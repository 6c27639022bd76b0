"""A client of an Ethereum node: seven methods of its JSON-RPC interface, every answer read into a checked type.

    chain = JsonRpc(["http://127.0.0.1:8545"])
    chain.block("latest").hash,  chain.receipt(digest),  chain.send(raw)

Nothing of a header's extra data is looked at: QBFT keeps its seals there. Blocks are fetched with their transactions'
hashes first and as a whole only where there are any, several in one request. An answer of another form is no answer.
Source: Ethereum JSON-RPC specification.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from cohortium.core.identity import keccak
from cohortium.errors import LedgerRefused, LedgerUnreachable
from cohortium.ledger import rlp
from cohortium.ledger.abi import revert_reason
from cohortium.ledger.http_json import ClientTls, HttpJson, printable

__all__ = ["JsonRpc", "RpcBlock", "RpcCall", "RpcLog", "RpcReceipt"]

_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}")
_UNDER_WAY: Final = re.compile(r"already (known|imported|exists)|known transaction", re.IGNORECASE)
_USED: Final = re.compile(r"nonce.{0,20}(too low|below)|old nonce|replacement", re.IGNORECASE)
_REVERTED: Final = re.compile(r"revert", re.IGNORECASE)


_Request: TypeAlias = tuple[str, list[object]]
"""A method and its parameters."""


class RpcCall(NamedTuple):
    """One transaction of a block. to: empty for a deployment. raw: empty unless it is a legacy transaction."""

    hash: bytes
    sender: bytes
    to: bytes
    raw: bytes


class RpcBlock(NamedTuple):
    """A block's header as far as it is looked at; calls: empty where only their number was asked for."""

    height: int
    hash: bytes
    parent: bytes
    time: int
    state_root: bytes
    n_calls: int
    calls: tuple[RpcCall, ...] = ()


class RpcLog(NamedTuple):
    """One event of the contract. block, call: hashes of the block and of the transaction it belongs to."""

    height: int
    block: bytes
    call: bytes
    topics: tuple[bytes, ...]
    data: bytes


class RpcReceipt(NamedTuple):
    """What became of a transaction. contract: the address it deployed, empty for a call."""

    height: int
    block: bytes
    ok: bool
    contract: bytes


class _Said(NamedTuple):
    """One answer: a result, or an error with its text and data."""

    result: Any
    error: str
    data: bytes


class JsonRpc:
    """One site's way to the chain; for one thread at a time."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: ClientTls | None = None,
        deadline_s: float = 15.0,
        attempt_s: float = 5.0,
    ) -> None:
        self._http = HttpJson("the chain", endpoints, tls=tls, deadline_s=deadline_s, attempt_s=attempt_s)

    def chain_id(self) -> int:
        """What the node's chain binds transactions to."""
        return _quantity(self._ask("eth_chainId"), "chain id")

    def count(self, address: bytes) -> int:
        """How many transactions an account has sent, those still under way included."""
        return _quantity(self._ask("eth_getTransactionCount", _hex(address), "pending"), "transaction count")

    def send(self, raw: bytes) -> Literal["sent", "used"]:
        """Hand a transaction to the node; `used` when its number is used up already.

        Raises LedgerUnreachable with the node's words for anything else it has against it.
        """
        said = self._say("eth_sendRawTransaction", _hex(raw))
        if not said.error or _UNDER_WAY.search(said.error):
            return "sent"
        if _USED.search(said.error):
            return "used"
        raise LedgerUnreachable(
            f"the chain takes no transaction of this member: {said.error}",
            hint="check gas price, gas limit and account permissions of the chain: docs/how-to/besu.md",
        )

    def receipt(self, digest: bytes) -> RpcReceipt | None:
        """What became of a transaction, None while it is in no block."""
        found = self._ask("eth_getTransactionReceipt", _hex(digest))
        return None if found is None else _receipt(found)

    def receipts(self, digests: Sequence[bytes]) -> list[RpcReceipt]:
        """Of transactions that are in blocks, in the order asked for."""
        asked: list[_Request] = [("eth_getTransactionReceipt", [_hex(digest)]) for digest in digests]
        return [_receipt(found) for found in self._ask_all(asked)]

    def call(self, to: bytes, data: bytes, *, height: int) -> bytes:
        """What a view function returns at a height. Raises LedgerRefused when it reverts."""
        said = self._say("eth_call", {"to": _hex(to), "data": _hex(data)}, hex(height))
        if said.error and (said.data or _REVERTED.search(said.error)):
            raise LedgerRefused(revert_reason(said.data), function="a read")
        return _data(_result("eth_call", said), "result of a read")

    def logs(self, contract: bytes, *, first: int, last: int) -> list[RpcLog]:
        """All events of a contract in a range of blocks, in order."""
        asked = {"address": _hex(contract), "fromBlock": hex(first), "toBlock": hex(last)}
        found = self._ask("eth_getLogs", asked)
        if not isinstance(found, list):
            raise _no("logs", found)
        placed = [
            ((_quantity(_field(one, "blockNumber"), "height"), _quantity(_field(one, "logIndex"), "log index")), one)
            for one in found
        ]
        return [
            RpcLog(
                height=height,
                block=_data(_field(one, "blockHash"), "block hash", n_bytes=32),
                call=_data(_field(one, "transactionHash"), "transaction hash", n_bytes=32),
                topics=tuple(_data(topic, "topic", n_bytes=32) for topic in _list(one, "topics")),
                data=_data(_field(one, "data"), "log data"),
            )
            for (height, _), one in sorted(placed, key=lambda item: item[0])
        ]

    def block(self, height: int | Literal["latest"]) -> RpcBlock | None:
        """A header, None where there is none yet."""
        found = self._ask("eth_getBlockByNumber", height if height == "latest" else hex(height), False)
        return None if found is None else _block(found)

    def blocks(self, first: int, last: int) -> list[RpcBlock]:
        """Headers in order, and the transactions of those that hold any."""
        asked: list[_Request] = [("eth_getBlockByNumber", [hex(height), False]) for height in range(first, last + 1)]
        found = [_block(one) for one in self._ask_all(asked)]
        return [self._whole(block) if block.n_calls else block for block in found]

    def chains(self) -> list[tuple[str, int, str]]:
        """Endpoint, chain id and trouble of every node, one attempt each; the id is 0 where there is trouble."""
        found = []
        for endpoint, answer, trouble in self._http.post_each("/", _request(0, "eth_chainId", [])):
            try:
                chain = 0 if trouble else _quantity(_result("eth_chainId", _said(answer)), "chain id")
            except LedgerUnreachable as error:
                chain, trouble = 0, str(error)
            found.append((endpoint, chain, trouble))
        return found

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()

    def _whole(self, header: RpcBlock) -> RpcBlock:
        found = self._ask("eth_getBlockByNumber", hex(header.height), True)
        block = _block(found)
        if block.hash != header.hash:
            raise LedgerUnreachable(f"block {header.height} changed while it was read")
        return block._replace(calls=tuple(_call(one) for one in _list(found, "transactions")))

    def _say(self, method: str, *params: object) -> _Said:
        return _said(self._http.post("/", _request(0, method, list(params))))

    def _ask(self, method: str, *params: object) -> Any:
        return _result(method, self._say(method, *params))

    def _ask_all(self, asked: Sequence[_Request]) -> list[Any]:
        """Results of several requests sent as one, in the order asked for."""
        if not asked:
            return []
        answers = self._http.post("/", [_request(n, method, params) for n, (method, params) in enumerate(asked)])
        if not isinstance(answers, list) or len(answers) != len(asked):
            raise _no("several answers", answers)
        numbered = {one.get("id"): one for one in answers if isinstance(one, dict)}
        if set(numbered) != set(range(len(asked))):
            raise _no("several answers", answers)
        return [_result(method, _said(numbered[n])) for n, (method, _) in enumerate(asked)]


def _request(number: int, method: str, params: list[object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def _said(answer: object) -> _Said:
    if not isinstance(answer, dict):
        raise _no("an answer", answer)
    error = answer.get("error")
    if error is None:
        return _Said(answer.get("result"), "", b"")
    if not isinstance(error, dict):
        raise _no("an error", error)
    data = error.get("data")
    reverted = _data(data, "error data") if isinstance(data, str) and _is_hex(data) else b""
    return _Said(None, printable(error.get("message", "")) or "an error without words", reverted)


def _result(method: str, said: _Said) -> Any:
    if said.error:
        raise LedgerUnreachable(f"the chain's node refuses {method}: {said.error}")
    return said.result


def _block(found: object) -> RpcBlock:
    return RpcBlock(
        height=_quantity(_field(found, "number"), "height"),
        hash=_data(_field(found, "hash"), "block hash", n_bytes=32),
        parent=_data(_field(found, "parentHash"), "parent hash", n_bytes=32),
        time=_quantity(_field(found, "timestamp"), "timestamp"),
        state_root=_data(_field(found, "stateRoot"), "state root", n_bytes=32),
        n_calls=len(_list(found, "transactions")),
    )


def _call(found: object) -> RpcCall:
    """A transaction; a legacy one is spelled out again, and must then have the hash that the node says."""
    digest = _data(_field(found, "hash"), "transaction hash", n_bytes=32)
    to = _field(found, "to")
    receiver = b"" if to is None else _data(to, "receiver", n_bytes=20)
    raw = b""
    if isinstance(found, dict) and found.get("type", "0x0") == "0x0":
        numbers = [rlp.to_bytes(_quantity(_field(found, name), name)) for name in ("nonce", "gasPrice", "gas")]
        value = rlp.to_bytes(_quantity(_field(found, "value"), "value"))
        signature = [rlp.to_bytes(_quantity(_field(found, name), name)) for name in ("v", "r", "s")]
        raw = rlp.encode([*numbers, receiver, value, _data(_field(found, "input"), "input"), *signature])
        if keccak(raw) != digest:
            raise LedgerUnreachable(f"the chain's node spells transaction 0x{digest.hex()} wrongly")
    return RpcCall(digest, _data(_field(found, "from"), "sender", n_bytes=20), receiver, raw)


def _receipt(found: object) -> RpcReceipt:
    contract = _field(found, "contractAddress")
    return RpcReceipt(
        height=_quantity(_field(found, "blockNumber"), "height"),
        block=_data(_field(found, "blockHash"), "block hash", n_bytes=32),
        ok=_quantity(_field(found, "status"), "status") == 1,
        contract=b"" if contract is None else _data(contract, "contract address", n_bytes=20),
    )


def _field(found: object, name: str) -> object:
    if not isinstance(found, Mapping):
        raise _no(name, found)
    return found.get(name)


def _list(found: object, name: str) -> list[object]:
    value = _field(found, name)
    if not isinstance(value, list):
        raise _no(name, value)
    return value


def _quantity(value: object, what: str) -> int:
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise _no(what, value)
    return int(value, 16)


def _data(value: object, what: str, *, n_bytes: int | None = None) -> bytes:
    if not isinstance(value, str) or not _is_hex(value):
        raise _no(what, value)
    data = bytes.fromhex(value[2:])
    if n_bytes is not None and len(data) != n_bytes:
        raise _no(what, value)
    return data


def _is_hex(value: str) -> bool:
    return len(value) % 2 == 0 and re.fullmatch(r"0x[0-9a-fA-F]*", value) is not None


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _no(what: str, found: object) -> LedgerUnreachable:
    return LedgerUnreachable(f"the chain's node answers {type(found).__name__} {printable(found)[:40]!r} as {what}")
