import asyncio
from types import SimpleNamespace

import pytest

from cohortium.core.seams import Receipt
from cohortium.errors import LedgerRefused, LedgerUnreachable
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.actions import Submit
from cohortium.swarm.bell import Bell
from cohortium.swarm.clerk import Clerk
from cohortium.swarm.ports import in_line


class Counter:
    """A ledger that takes calls in order of nonces and answers as told."""

    def __init__(self, answers=()) -> None:
        self.nonce, self.taken, self.answers = 0, [], list(answers)

    def submit(self, signed):
        answer = self.answers.pop(0) if self.answers else Receipt(1, True)
        if isinstance(answer, Exception):
            raise answer
        nonce, function = signed
        if nonce != self.nonce:
            raise LedgerRefused("nonce")
        self.nonce += 1
        self.taken.append(function)
        return answer


def work(ledger: Counter, *functions: str, steal_at: int | None = None):
    denied = []

    async def main():
        async def blocking(call):
            return await in_line(call)

        bell = Bell()
        ports = SimpleNamespace(
            ledger=ledger, bell=bell, blocking=blocking, next_nonce=lambda: ledger.nonce,
            sign_call=lambda nonce, function, args: (nonce, function),
        )  # fmt: skip
        clerk = Clerk(ports, retry_s=15.0, denied=denied.append)
        for number, function in enumerate(functions):
            clerk.submit(Submit(function, (), (number,)))
        running = asyncio.ensure_future(clerk.run())
        if steal_at is not None:
            ledger.nonce += steal_at
        await asyncio.sleep(100)
        running.cancel()
        await asyncio.wait([running])
        return bell.rings, asyncio.get_running_loop().time()

    return *run_virtual(main()), denied


def test_calls_go_out_in_order_and_each_rings_the_bell() -> None:
    ledger = Counter()
    rings, _, denied = work(ledger, "approve", "ready", "commit")
    assert ledger.taken == ["approve", "ready", "commit"]
    assert rings == 3
    assert denied == []


def test_revert_and_refusal_are_told_and_the_line_goes_on() -> None:
    ledger = Counter([Receipt(1, False, "phase"), LedgerRefused("stranger")])
    _, _, denied = work(ledger, "commit", "join", "attest")
    assert [(d.key, d.reason) for d in denied] == [((0,), "phase"), ((1,), "stranger")]
    assert ledger.taken == ["commit", "attest"]


def test_unreachable_ledger_is_tried_again_with_a_fresh_nonce() -> None:
    ledger = Counter([LedgerUnreachable("down"), LedgerUnreachable("down")])
    _, _, denied = work(ledger, "commit")
    assert ledger.taken == ["commit"]
    assert denied == []


@pytest.mark.parametrize("lost", [1, 5])
def test_nonce_used_by_somebody_else_with_this_key_is_read_again(lost: int) -> None:
    ledger = Counter()
    ledger.nonce = lost
    first = Counter.submit
    stale = iter([0])
    _, _, denied = work(ledger, "commit")
    assert ledger.taken == ["commit"]
    assert denied == []
    assert first is Counter.submit
    assert next(stale) == 0
