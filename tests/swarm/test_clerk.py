import asyncio
from types import SimpleNamespace
from typing import ClassVar

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
        self.nonce, self.taken, self.answers, self.sent = 0, [], list(answers), []

    def submit(self, signed):
        answer = self.answers.pop(0) if self.answers else Receipt(1, True)
        if isinstance(answer, Exception):
            raise answer
        nonce, function = signed.decode().split()
        if int(nonce) != self.nonce:
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
            sign_call=lambda nonce, function, args: f"{nonce} {function}".encode(), egress=ledger.sent.append,
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


def test_unreachable_ledger_is_tried_again() -> None:
    ledger = Counter([LedgerUnreachable("down"), LedgerUnreachable("down")])
    _, _, denied = work(ledger, "commit")
    assert ledger.taken == ["commit"]
    assert denied == []


def test_call_that_got_through_unanswered_is_not_made_twice() -> None:
    """The ledger knows the same bytes; signed anew with the next number, the call would count again."""

    class Silent(Counter):
        receipts: ClassVar[dict] = {}

        def submit(self, signed):
            if signed in self.receipts:
                return self.receipts[signed]
            self.receipts[signed] = super().submit(signed)
            if len(self.receipts) == 1:
                raise LedgerUnreachable("no answer")
            return self.receipts[signed]

    ledger = Silent()
    _, _, denied = work(ledger, "spend", "commit")
    assert ledger.taken == ["spend", "commit"]
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


def test_every_transaction_is_logged_before_it_leaves_also_when_it_is_sent_again() -> None:
    ledger = Counter([LedgerUnreachable("no answer")])
    work(ledger, "approve", "commit")
    assert [(one.what, one.receiver, one.n_bytes) for one in ledger.sent] == [
        ("approve", "ledger", 9), ("approve", "ledger", 9), ("commit", "ledger", 8),
    ]  # fmt: skip
    assert [one.round for one in ledger.sent] == [0, 0, 1]


def test_draining_waits_for_the_line_and_gives_up_in_time() -> None:
    async def main(answers):
        async def blocking(call):
            return await in_line(call)

        ledger = Counter(answers)
        ports = SimpleNamespace(
            ledger=ledger, bell=Bell(), blocking=blocking, next_nonce=lambda: ledger.nonce, egress=lambda sent: None,
            sign_call=lambda nonce, function, args: f"{nonce} {function}".encode(),
        )  # fmt: skip
        clerk = Clerk(ports, retry_s=15.0, denied=lambda denied: None)
        clerk.submit(Submit("record_audit", (), (0,)))
        running = asyncio.ensure_future(clerk.run())
        await clerk.drain(timeout_s=20.0)
        running.cancel()
        await asyncio.wait([running])
        return ledger.taken, asyncio.get_running_loop().time()

    assert run_virtual(main([])) == (["record_audit"], 0.0)
    assert run_virtual(main([LedgerUnreachable("")])) == (["record_audit"], 15.0)
    assert run_virtual(main([LedgerUnreachable("")] * 9)) == ([], 20.0)
