"""A thread of its own for an event loop of its own: entry points work where a loop is already running (notebooks)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_own_thread"]

T = TypeVar("T")


def in_own_thread(run: Callable[[], T]) -> T:
    """What `run` returns, or its error, from a thread without an event loop; the caller waits for it."""
    found: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(run())
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, not swallowed
            failed.append(error)

    thread = threading.Thread(target=work, name="cohortium", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
