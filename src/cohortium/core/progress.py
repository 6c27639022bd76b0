"""How far a long computation has come, told to whoever listens; nobody needs to.

    with listening(print):              # hears 0.25, 0.5, ...
        with part(0, 2): train()        # train calls tell(0.5): 0.25 is heard
        with part(1, 2): train()

Whoever passes a fraction on to other sites rounds it first: fine steps would count batches, and so patients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["listening", "part", "tell"]

_LISTENER: ContextVar[Callable[[float], None] | None] = ContextVar("cohortium_progress", default=None)


def tell(fraction: float) -> None:
    """Say how much is done, 0 to 1."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(fraction)


@contextmanager
def listening(listener: Callable[[float], None] | None) -> Iterator[None]:
    """Let `listener` hear what is told inside, in this thread."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


@contextmanager
def part(number: int, n_parts: int) -> Iterator[None]:
    """Inside is part `number` (from 0) of `n_parts` equal ones of what the listener hears of."""
    listener = _LISTENER.get()
    with listening(None if listener is None else lambda fraction: listener((number + fraction) / n_parts)):
        yield
