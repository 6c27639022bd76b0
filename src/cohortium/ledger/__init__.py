"""The record all members check: rules, contract, engines and offline verification."""

from __future__ import annotations

from typing import Final

from cohortium.core.registry import Registry

__all__ = ["ENGINES", "SERVED"]

ENGINES: Final = Registry(
    "ledger engine",
    {
        "evm-rpc": "cohortium.ledger.evm_rpc:EvmRpcLedger",
        "local": "cohortium.ledger.local:LocalLedger",
        "memory": "cohortium.ledger.memory:MemoryLedger",
        "replicated": "cohortium.ledger.replicated:ReplicatedLedger",
    },
    group="cohortium.ledger",
)
"""Each is founded by `found(genesis, clock=..., path=..., ...)` and then offers `core.seams.Ledger`.

What else an engine needs (a key, endpoints) is said by its class; a node goes through `opening.open_ledger`.
"""

SERVED: Final = ("evm-rpc", "replicated")
"""The engines that need servers of their own: a consortium of nodes is founded on one, no simulation is."""
