"""A replica of the chain at every simulated site, all on one log in memory: engine `replicated` without etcd.

    replicas = Replicas(genesis, keys, clock=lambda site: 1_800_000_000 + now())
    replicas.at("porto")                    # a ReplicatedLedger
    replicas.log.put(b"anything")           # what a broken or hostile member may write

Needs py-evm, as every engine on an EVM; used by the scenarios about what stands in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cohortium.core.identity import LedgerKey
from cohortium.ledger.genesis import Genesis

if TYPE_CHECKING:
    from cohortium.ledger.replicated import ReplicatedLedger

__all__ = ["MemoryLog", "Replicas"]


class MemoryLog:
    """Entries numbered from 1, each written once (`ledger.replicated.Log`)."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []

    def append(self, number: int, entry: bytes) -> bytes | None:
        """Put an entry under a free number. None when it is there now, else what stands there."""
        if number == len(self._entries) + 1:
            self._entries.append(entry)
        there = self._entries[number - 1]
        return None if there == entry else there

    def read(self, number: int, *, n: int) -> list[tuple[int, bytes]]:
        """At most n entries from a number on."""
        first = max(number, 1)
        return list(enumerate(self._entries[first - 1 : first - 1 + n], start=first))

    def put(self, entry: bytes) -> None:
        """Write whatever it is under the next number."""
        self._entries.append(entry)

    def close(self) -> None:
        """Nothing to let go."""


class Replicas:
    """Every site's ledger. clock: what a site's own clock shows."""

    def __init__(self, genesis: Genesis, keys: Mapping[str, LedgerKey], *, clock: Callable[[str], float]) -> None:
        from cohortium.ledger.chain_file import IN_MEMORY
        from cohortium.ledger.replica import Replica
        from cohortium.ledger.replicated import ReplicatedLedger

        self.log = MemoryLog()
        self._ledgers = {
            site: ReplicatedLedger(
                Replica.found(IN_MEMORY, genesis),
                log=self.log,
                clock=lambda site=site: clock(site),  # type: ignore[misc]
                key=key,
            )
            for site, key in keys.items()
        }

    def at(self, site: str) -> ReplicatedLedger:
        """One site's ledger."""
        return self._ledgers[site]

    def close(self) -> None:
        """Let go of all chains."""
        for ledger in self._ledgers.values():
            ledger.close()
