"""How frames get from one node to another."""

from __future__ import annotations

from cohortium.core.registry import Registry

__all__ = ["TRANSPORTS"]

TRANSPORTS = Registry(
    "transport",
    {"grpc": "cohortium.transport.grpc:GrpcTransport", "memory": "cohortium.transport.memory:MemoryNetwork"},
    group="cohortium.transports",
)
