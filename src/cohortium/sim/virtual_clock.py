"""An event loop whose time jumps: many nodes live through hours in milliseconds, always in the same order.

When nothing is ready, the loop does not sleep but moves its clock to the next timer. Time therefore passes
only between steps, and two runs with the same seeds make the same steps. Code under it must not wait
for threads or sockets: blocking work is called inline (`Ports.run_blocking` in `swarm.node`).
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualLoop", "run_virtual"]

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    """A selector that turns every wait into a jump of the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("virtual time stands still: every task waits and no timer is set")
        if timeout > 0:
            self.now_s += timeout
            return []
        return super().select(0) if len(self.get_map()) > 1 else []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector loop in virtual time; `time()` starts at 0 seconds."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9  # timers within a nanosecond fire together; rounding never spins the loop

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now_s


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """What `main` returns, run to its end on a fresh virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
