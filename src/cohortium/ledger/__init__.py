"""The record all members check: rules, contract, engines and offline verification."""

from __future__ import annotations

from typing import Final

from cohortium.core.registry import Registry

__all__ = ["ENGINES"]

ENGINES: Final = Registry(
    "ledger engine",
    {
        "local": "cohortium.ledger.local:LocalLedger",
        "memory": "cohortium.ledger.memory:MemoryLedger",
    },
    group="cohortium.ledger",
)
"""Each is founded by `found(genesis, clock=..., path=...)` and then offers `core.seams.Ledger`."""
