"""Free ports on loopback, below the range from which the system gives ports to whoever connects."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

from cohortium.errors import CohortiumError

__all__ = ["free_ports"]

_FIRST, _LAST = 20_000, 31_999
_TRIES = 400


def free_ports(n: int, *, taken: Collection[int] = ()) -> list[int]:
    """So many different ports nobody listens on now. Raises CohortiumError."""
    found: list[int] = []
    chance = random.SystemRandom()
    for _ in range(_TRIES):
        if len(found) == n:
            return found
        port = chance.randint(_FIRST, _LAST)
        if port not in found and port not in taken and _is_free(port):
            found.append(port)
    raise CohortiumError(f"no {n} free ports between {_FIRST} and {_LAST} on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
