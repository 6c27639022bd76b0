"""Calls that a chain of somebody else executed, each checked against the contract's rules.

    rules = Witnessed(genesis, founded_s=time_of_the_deployment)
    rules.tell(raw, ok=True, events=events, time=..., height=...)   ->  "" or the contract's reason

An engine on an outside EVM is told outcomes and events by a node; here they are computed again from the signed
transactions, so that a node may withhold but not invent. On such a chain anybody can send a transaction, in any form
the chain takes. What cohortium itself would not write (another gas price, another type, loosely encoded arguments)
is followed as long as it changes nothing; the first that does ends the checking, and `unfollowed` says which it was.
"""

from __future__ import annotations

from collections.abc import Sequence

from cohortium.core.identity import Membership
from cohortium.errors import LedgerRefused
from cohortium.ledger.blocks import Happening, event_values
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.interpreter import Interpreter, Outcome
from cohortium.ledger.roster import Roster
from cohortium.ledger.transactions import CALL_GAS, Transaction, open_transaction

__all__ = ["Witnessed"]


class Witnessed:
    """The rules' state after a sequence of calls, and who belongs by the events. unfollowed: empty while all fits."""

    def __init__(self, genesis: Genesis, *, founded_s: int) -> None:
        self.unfollowed = ""
        self._genesis = genesis
        self._rules = Interpreter(genesis, founded_s=founded_s)
        self._numbers: dict[bytes, int] = {}
        self._roster = Roster()
        self._roster.tell(self._rules.founding.events)

    @property
    def founding(self) -> tuple[Happening, ...]:
        """The events of the deployment."""
        return self._rules.founding.events

    def tell(self, raw: bytes, *, ok: bool, events: Sequence[Happening], time: int, height: int) -> str:
        """Follow a call of which a node says this; the contract's reason where it refused, else empty.

        raw: empty for a transaction that cannot be spelled out.
        Raises ValueError when the rules come to another result, or a transaction's number was used before.
        """
        outcome = self.follow(raw, ok=ok, time=time, height=height)
        if outcome is None:
            if events and not self.unfollowed:
                self.unfollowed = f"block {height} holds a transaction in a form that cohortium does not write"
            self._roster.tell(events)
            return "" if ok else "reverted"
        if event_values(outcome.events) != event_values(events):
            raise ValueError("a call is said to have had other events than the rules give")
        return outcome.reason

    def follow(self, raw: bytes, *, ok: bool, time: int, height: int) -> Outcome | None:
        """What the rules make of a call that passed or failed; None for one they cannot read, or after such a one.

        Raises ValueError when the rules disagree with `ok`.
        """
        transaction = None if self.unfollowed else self._opened(raw)
        if transaction is None:
            return None
        if transaction.nonce <= self._numbers.get(transaction.sender, -1):
            raise ValueError(f"{transaction.function} has a number that was used before ({transaction.nonce})")
        self._numbers[transaction.sender] = transaction.nonce
        if not ok and transaction.gas < CALL_GAS:
            return Outcome(False, "gas", ())  # it ran out of gas, and whoever sent it knows why
        outcome = self._rules.follow(transaction, time=time, height=height)
        if outcome.ok != ok:
            gave = f"refuse it ({outcome.reason})" if outcome.reason else "accept it"
            said = "passed" if ok else "failed"
            raise ValueError(f"{transaction.function} is said to have {said}, and the rules {gave}")
        self._roster.tell(outcome.events)
        return outcome

    def is_active(self, address: bytes) -> bool:
        """Whether an address may act now."""
        return self._roster.is_active(address)

    def membership(self) -> Membership:
        """Everybody who ever belonged, as of now."""
        return self._roster.membership()

    def _opened(self, raw: bytes) -> Transaction | None:
        try:
            transaction = open_transaction(raw, chain_id=self._genesis.chain_id)
        except LedgerRefused:
            return None
        return transaction if transaction.to == self._genesis.contract else None
