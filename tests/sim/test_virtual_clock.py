import asyncio

import pytest

from cohortium.sim.virtual_clock import VirtualLoop, run_virtual


def test_hours_pass_without_waiting() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(3 * 3600)
        return loop.time()

    assert run_virtual(main()) == pytest.approx(10_800)


def test_timers_fire_in_order_of_time() -> None:
    async def main() -> list[str]:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        for delay, name in ((2.0, "c"), (1.0, "a"), (1.5, "b"), (0.0, "now")):
            loop.call_later(delay, seen.append, name)
        await asyncio.sleep(3)
        return seen

    assert run_virtual(main()) == ["now", "a", "b", "c"]


def test_timeouts_work_in_virtual_time() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7.5):
                await asyncio.Event().wait()
        return loop.time()

    assert run_virtual(main()) == pytest.approx(7.5)


def test_ten_thousand_rounded_steps_neither_spin_nor_drift() -> None:
    async def main() -> float:
        for _ in range(10_000):
            await asyncio.sleep(0.1)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(1000.0, abs=1e-4)


def test_waiting_for_nothing_is_said_instead_of_hanging() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="virtual time stands still"):
        run_virtual(main())


def test_every_loop_starts_at_zero() -> None:
    for _ in range(2):
        loop = VirtualLoop()
        assert loop.time() == 0.0
        loop.close()
