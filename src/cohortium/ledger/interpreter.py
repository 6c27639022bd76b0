"""The contract's rules applied to raw transactions, without an EVM: body of `memory`, second opinion of `archive`.

Entry rules, nonces and the order of things are those of a block on the EVM: a refused call counts its
nonce, an entry that is no block does not. The rules themselves are `rules.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cohortium.core.identity import Membership
from cohortium.errors import LedgerRefused
from cohortium.ledger import rules
from cohortium.ledger.blocks import Happening
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.interface import consortium
from cohortium.ledger.roster import Roster
from cohortium.ledger.transactions import Transaction, check_entry, open_transaction

__all__ = ["Interpreter", "Outcome"]


class Outcome(NamedTuple):
    """What one transaction did. reason: the contract's word where it refused, else empty."""

    ok: bool
    reason: str
    events: tuple[Happening, ...]


class Interpreter:
    """The contract's state after a sequence of transactions. Block 1, the founding, is done on construction.

    founded_s: when the contract was deployed, where that is not the time of the genesis.
    """

    def __init__(self, genesis: Genesis, *, founded_s: int | None = None) -> None:
        self.genesis = genesis
        self._interface = consortium().interface
        self._state, founding = rules.genesis(
            genesis.founders,
            chain_id=genesis.chain_id,
            contract=genesis.contract,
            time=genesis.time if founded_s is None else founded_s,
        )
        self._nonces: dict[bytes, int] = {}
        self.founding = Outcome(True, "", _happenings(founding))
        self._roster = Roster()
        self._roster.tell(self.founding.events)

    def execute(self, raw: bytes, *, time: int, height: int) -> Outcome:
        """Apply one transaction. Raises LedgerRefused, leaving everything as it was, for what is no block."""
        genesis = self.genesis
        transaction = open_transaction(raw, chain_id=genesis.chain_id)
        sender, nonce = transaction.sender, self.nonce(transaction.sender)
        check_entry(transaction, contract=genesis.contract, active=self.is_active(sender), nonce=nonce)
        self._nonces[sender] = nonce + 1
        return self.follow(transaction, time=time, height=height)

    def follow(self, transaction: Transaction, *, time: int, height: int) -> Outcome:
        """Do what the contract does with a call that is in a block, whoever let it in."""
        call = rules.Call(transaction.sender, transaction.function, transaction.args, time, height)
        try:
            events = _happenings(rules.apply(self._state, call))
        except LedgerRefused as refused:
            return Outcome(False, refused.reason, ())
        self._roster.tell(events)
        return Outcome(True, "", events)

    def call(self, function: str, args: Sequence[object] = ()) -> tuple[Any, ...]:
        """What a view function says now. Raises LedgerRefused when it refuses, ValueError for bad arguments."""
        if not self._interface.function(function).view:
            raise ValueError(f"{function} changes the ledger; submit a signed transaction instead")
        self._interface.encode_call(function, args)  # the same complaints about arguments as an EVM engine has
        return rules.read(self._state, function, tuple(args))

    def nonce(self, address: bytes) -> int:
        """The number of an account's next transaction."""
        return self._nonces.get(address, 0)

    def is_active(self, address: bytes) -> bool:
        """Whether an address may act now."""
        return self._roster.is_active(address)

    def active(self) -> frozenset[bytes]:
        """The addresses that may act now."""
        return self._roster.active()

    def membership(self) -> Membership:
        """Everybody who ever belonged, as of now."""
        return self._roster.membership()

    def state_root(self) -> bytes:
        """The digest of the contract's whole state (32 bytes)."""
        return rules.state_root(self._state)


def _happenings(events: Sequence[rules.Event]) -> tuple[Happening, ...]:
    return tuple(Happening(event.name, dict(event.args)) for event in events)
