"""The contract on an embedded EVM (py-evm): raw transactions in, blocks in one SQLite file out.

    replica = Replica.found(path, genesis)        or    Replica.open(path)
    replica.apply(raw, time=now) -> Receipt

The same genesis, transactions and times give the same headers at every site, state roots included.
Ordering and time come from the engine around it (`local` here). What running py-evm taught, each a test:

- A second start opens the chain at its stored head, never from the genesis.
- The pending header's time is set before a transaction is applied; a time given to `mine_block` is
  not what the contract sees.
- py-evm accepts transactions signed for another chain or for none; `open_transaction` refuses them.
- Base fee 0 needs blocks at most half full: the gas limit stays at 100 million (py-evm would let it
  sink to 4.7 million) and the deployment has at most 50 million.
- Reads run the code directly on the state of the head: no transaction, so no nonce to match.

Without coincurve py-evm falls back to pure Python signatures, 100 times slower; `checks.py` says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from sqlite3 import DatabaseError
from typing import Any

from cohortium.core.identity import Membership, keccak
from cohortium.core.seams import Head, Receipt
from cohortium.errors import LedgerError, LedgerForked, LedgerRefused, MissingExtra
from cohortium.ledger import rlp
from cohortium.ledger.abi import revert_reason
from cohortium.ledger.blocks import Block, Claim, Happening, read_header
from cohortium.ledger.chain_file import ChainFile, Kept, Row
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.interface import consortium
from cohortium.ledger.roster import Roster
from cohortium.ledger.transactions import check_entry, open_transaction

try:
    import rlp as pyrlp
    from eth.chains.base import MiningChain
    from eth.consensus.noproof import NoProofConsensus
    from eth.db.atomic import AtomicDB
    from eth.db.backends.base import BaseDB
    from eth.exceptions import PyEVMError
    from eth.vm.forks.london import LondonVM
except ImportError:
    raise MissingExtra("a ledger on an embedded EVM", extra="evm") from None

__all__ = ["Replica"]

GAS_LIMIT = 100_000_000
READ_GAS = 50_000_000
NOBODY = bytes(20)


class Replica:
    """One chain and its file. Not for several threads at once; the engine around it holds the lock."""

    def __init__(self, file: ChainFile, genesis: Genesis, chain: Any) -> None:
        self.genesis = genesis
        self._file = file
        self._chain = chain
        self._interface = consortium().interface
        self._reader: Any = None
        self._roster = Roster()
        for block in self.blocks():
            self._roster.tell(block.events)

    @classmethod
    def found(cls, path: Path, genesis: Genesis) -> Replica:
        """A new chain, block 1 of which deploys the contract. Raises LedgerError when the file exists."""
        file = ChainFile.create(path)
        try:
            with file.block():
                file.lay(json.dumps(genesis.facts(), sort_keys=True))
                chain = _chain_class(genesis.chain_id).from_genesis(AtomicDB(_Nodes(file)), _genesis_header(genesis))
                replica = cls(file, genesis, chain)
                row = replica._execute(genesis.deployment, genesis.time)
                if not row.ok:
                    raise LedgerRefused(row.reason, function="the deployment")
            replica._roster.tell(replica._events(row.logs))
        except BaseException:
            file.close()
            raise
        return replica

    @classmethod
    def open(cls, path: Path) -> Replica:
        """The chain in a file, at its stored head. Raises LedgerError or LedgerUnreachable."""
        file = ChainFile.open(path)
        try:
            genesis = Genesis.from_facts(json.loads(file.genesis()))
            replica = cls(file, genesis, _chain_class(genesis.chain_id)(AtomicDB(_Nodes(file))))
            head = replica.head()
            if [keccak(row.header) for _, row in file.rows(head.height)] != [head.hash]:
                raise ValueError(f"its state and its block {head.height} do not belong together")
        except (ValueError, PyEVMError, DatabaseError) as error:
            file.close()
            raise LedgerError(f"{path} cannot be used: {error}", hint="replay an export into a new file") from error
        return replica

    def apply(
        self,
        raw: bytes,
        *,
        time: int,
        signer: bytes | None = None,
        keep: Kept | None = None,
        header: bytes | None = None,
    ) -> Receipt:
        """Put one transaction into a block of its own; `time` must be later than the head's.

        signer: who signed the entry that brought it, where one did. keep: that entry, to be stored with the block.
        header: of this block as another replica has
        it; LedgerForked, with this replica's own header as evidence and nothing kept, when it comes out differently.
        Raises LedgerRefused for what must not become a block (`transactions.check_entry`). A call that
        the contract refuses does: its receipt is not ok and names the reason.
        """
        genesis = self.genesis
        transaction = open_transaction(raw, chain_id=genesis.chain_id)
        sender = transaction.sender
        check_entry(
            transaction,
            contract=genesis.contract,
            active=self.is_active(sender),
            nonce=self.nonce(sender),
            signer=signer,
        )
        try:
            with self._file.block():
                row = self._execute(raw, time)
                if keep is not None:
                    self._file.keep(self.head().height, keep)
                if header is not None and header != row.header:
                    raise LedgerForked(_difference(row.header, header), evidence=(row.header,))
        except BaseException:
            self._chain = _chain_class(genesis.chain_id)(AtomicDB(_Nodes(self._file)))
            raise
        self._roster.tell(self._events(row.logs))
        return Receipt(self.head().height, row.ok, row.reason)

    def receipt_of(self, raw: bytes) -> Receipt | None:
        """What became of a transaction that is in a block already, None for any other."""
        height = self._file.height_of(raw)
        row = None if height is None else self._file.row(height)
        return None if height is None or row is None else Receipt(height, row.ok, row.reason)

    def hash_at(self, height: int) -> bytes | None:
        """The hash of the block at a height, None where the chain is shorter."""
        row = self._file.row(height)
        return None if row is None else keccak(row.header)

    def call(self, function: str, args: Sequence[object] = ()) -> tuple[Any, ...]:
        """What a view function says at the head. Raises LedgerRefused when it refuses, ValueError for bad arguments."""
        if not self._interface.function(function).view:
            raise ValueError(f"{function} changes the ledger; submit a signed transaction instead")
        vm = self._read()
        computation = vm.execute_bytecode(
            origin=NOBODY,
            gas_price=0,
            gas=READ_GAS,
            to=self.genesis.contract,
            sender=NOBODY,
            value=0,
            data=self._interface.encode_call(function, args),
            code=vm.state.get_code(self.genesis.contract),
        )
        if computation.is_error:
            raise LedgerRefused(revert_reason(computation.output), function=function)
        return self._interface.decode_result(function, computation.output)

    def nonce(self, address: bytes) -> int:
        """The number of an account's next transaction."""
        return int(self._read().state.get_nonce(address))

    def is_active(self, address: bytes) -> bool:
        """Whether an address may act now."""
        return self._roster.is_active(address)

    def active(self) -> frozenset[bytes]:
        """The addresses that may act now."""
        return self._roster.active()

    def membership(self) -> Membership:
        """Everybody who ever belonged, as of the head."""
        return self._roster.membership()

    def head(self) -> Head:
        """The newest block."""
        header = self._chain.get_canonical_head()
        return Head(header.block_number, header.hash, header.state_root)

    def time(self) -> int:
        """The newest block's time in seconds."""
        return int(self._chain.get_canonical_head().timestamp)

    def blocks(self, from_height: int = 1, *, n: int | None = None) -> Iterator[Block]:
        """At most n blocks from a height on."""
        kept = self._file.kept(from_height, n=n)
        for height, row in self._file.rows(from_height, n=n):
            entry = kept.get(height)
            claim = None if entry is None else Claim(entry.claimed_s, entry.signature)
            yield Block(row.header, row.raw, row.ok, row.reason, self._events(row.logs), claim)

    def newest_kept(self) -> list[Kept]:
        """Each sender's newest entry that became a block, the newest of all last."""
        return self._file.newest_kept()

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _execute(self, raw: bytes, time: int) -> Row:
        """Run one transaction and store its block; inside the file's `block()`."""
        self._reader = None
        chain = self._chain
        if time <= self.time():
            raise LedgerError(f"block time {time} is not later than {self.time()}")
        chain.set_header_timestamp(time)
        transaction = chain.get_vm().get_transaction_builder().decode(raw)
        _, receipt, computation = chain.apply_transaction(transaction)
        header = chain.mine_block().header
        ok = bool(computation.is_success)
        logs = rlp.encode(
            [[[topic.to_bytes(32, "big") for topic in log.topics], bytes(log.data)] for log in receipt.logs]
        )
        row = Row(pyrlp.encode(header), raw, ok, "" if ok else revert_reason(computation.output), logs)
        self._file.append(header.block_number, row)
        return row

    def _events(self, logs: bytes) -> tuple[Happening, ...]:
        return tuple(Happening(*self._interface.decode_log(topics, data)) for topics, data in rlp.decode(logs))  # type: ignore[misc,arg-type]

    def _read(self) -> Any:
        """A machine on the head's state, kept until the next block; what it runs is never stored."""
        if self._reader is None:
            self._reader = self._chain.get_vm(self._chain.get_canonical_head())
        return self._reader


class _Nodes(BaseDB):
    """The file's keys as py-evm wants them."""

    def __init__(self, file: ChainFile) -> None:
        self._file = file

    def __getitem__(self, key: bytes) -> bytes:
        value = self._file.read(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._file.write(key, value)

    def __delitem__(self, key: bytes) -> None:
        self._file.delete(key)

    def _exists(self, key: bytes) -> bool:
        return self._file.read(key) is not None


def _difference(mine: bytes, theirs: bytes) -> str:
    return (
        f"block {read_header(mine).height} of the ledger is {keccak(theirs).hex()[:16]} for another"
        f" and {keccak(mine).hex()[:16]} here"
    )


def _header_from_parent(parent: Any, **params: Any) -> Any:
    """London's, but the gas limit stays and no work is asked for, whatever the height."""
    if parent is not None:
        params = {"gas_limit": parent.gas_limit, "difficulty": 0, **params}
    return LondonVM.create_header_from_parent(parent, **params)


class _VM(LondonVM):
    consensus_class = NoProofConsensus
    create_header_from_parent = staticmethod(_header_from_parent)

    @staticmethod
    def get_block_reward() -> int:
        return 0


@lru_cache(maxsize=8)
def _chain_class(chain_id: int) -> Any:
    return MiningChain.configure("CohortiumChain", vm_configuration=((0, _VM),), chain_id=chain_id)


def _genesis_header(genesis: Genesis) -> dict[str, Any]:
    """Nobody pays, nobody mines; one second before the deployment."""
    return {
        "base_fee_per_gas": 0,
        "coinbase": NOBODY,
        "difficulty": 0,
        "extra_data": genesis.consortium,
        "gas_limit": GAS_LIMIT,
        "mix_hash": bytes(32),
        "nonce": bytes(8),
        "timestamp": genesis.time - 1,
    }
