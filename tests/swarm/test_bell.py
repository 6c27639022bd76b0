import asyncio

from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.bell import Bell


def test_ring_wakes_all_who_wait_in_the_order_they_came() -> None:
    async def main() -> list[int]:
        bell, woken = Bell(), []

        async def wait(number: int) -> None:
            await bell.wait(bell.rings, timeout_s=100)
            woken.append(number)

        async with asyncio.TaskGroup() as tasks:
            for number in range(5):
                tasks.create_task(wait(number))
            await asyncio.sleep(1)
            bell.ring()
        assert asyncio.get_running_loop().time() < 2
        return woken

    assert run_virtual(main()) == [0, 1, 2, 3, 4]


def test_ring_between_looking_and_waiting_is_not_missed() -> None:
    async def main() -> float:
        bell = Bell()
        seen = bell.rings
        bell.ring()
        await bell.wait(seen, timeout_s=100)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 0


def test_silence_ends_with_the_timeout_and_leaves_nothing_behind() -> None:
    async def main() -> tuple[float, int]:
        bell = Bell()
        await bell.wait(bell.rings, timeout_s=7)
        waiting = asyncio.ensure_future(bell.wait(bell.rings, timeout_s=100))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        return asyncio.get_running_loop().time(), len(bell._waiting)

    assert run_virtual(main()) == (7, 0)
