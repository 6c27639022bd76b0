import asyncio

import numpy as np
import pytest

from cohortium.sim.virtual_clock import run_virtual
from cohortium.transport import TRANSPORTS
from cohortium.transport.memory import Link, MemoryNetwork, MemoryTransport

FRAMES = [bytes([i]) * 10 for i in range(200)]


def network(link: Link | None = None, *, seed: int = 0, **limits: int) -> MemoryNetwork:
    return MemoryNetwork(rng=np.random.default_rng(seed), link=link or Link(), **limits)


async def drain(end: MemoryTransport, *, for_s: float = 100.0) -> list[bytes]:
    got = []
    try:
        async with asyncio.timeout(for_s):
            while True:
                got.append((await end.receive())[1])
    except TimeoutError:
        return got


def sent_over(link: Link, *, seed: int = 0) -> list[bytes]:
    async def main() -> list[bytes]:
        net = network(link, seed=seed)
        a, b = net.join("a"), net.join("b")
        for frame in FRAMES:
            await a.send("b", frame)
        return await drain(b)

    return run_virtual(main())


def test_registry_resolves_memory() -> None:
    assert TRANSPORTS.resolve("memory") is MemoryNetwork


def test_perfect_link_delivers_all_in_order() -> None:
    assert sent_over(Link()) == FRAMES


def test_sender_is_named_with_each_frame() -> None:
    async def main() -> tuple[str, bytes]:
        net = network()
        a, b = net.join("a"), net.join("b")
        await a.send("b", b"hello")
        return await b.receive()

    assert run_virtual(main()) == ("a", b"hello")


def test_delay_is_the_links() -> None:
    async def main() -> float:
        net = network(Link(delay_s=2.5))
        a, b = net.join("a"), net.join("b")
        await a.send("b", b"x")
        await b.receive()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(2.5)


def test_bandwidth_is_shared_by_the_frames_of_one_direction() -> None:
    async def main() -> float:
        net = network(Link(bytes_per_s=100.0))
        a, b = net.join("a"), net.join("b")
        for _ in range(3):
            await a.send("b", bytes(200))
        for _ in range(3):
            await b.receive()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(6.0)


def test_loss_loses_about_its_share() -> None:
    kept = sent_over(Link(loss=0.3))
    assert 110 < len(kept) < 170  # 140 expected, standard deviation 6.5
    assert kept == [frame for frame in FRAMES if frame in kept]


def test_duplication_repeats_and_loses_nothing() -> None:
    got = sent_over(Link(duplicate=0.5))
    assert set(got) == set(FRAMES)
    assert 260 < len(got) < 340


def test_reordering_changes_order_and_loses_nothing() -> None:
    got = sent_over(Link(reorder=0.2))
    assert got != FRAMES
    assert sorted(got) == sorted(FRAMES)


def test_corruption_changes_one_bit_of_a_frame() -> None:
    got = sent_over(Link(corrupt=1.0))
    for sent, received in zip(FRAMES, got, strict=True):
        different = int.from_bytes(sent, "big") ^ int.from_bytes(received, "big")
        assert different.bit_count() == 1


def test_same_seed_same_faults_other_seed_other_faults() -> None:
    faulty = Link(loss=0.2, duplicate=0.2, reorder=0.2, jitter_s=1.0, corrupt=0.1)
    assert sent_over(faulty, seed=3) == sent_over(faulty, seed=3)
    assert sent_over(faulty, seed=3) != sent_over(faulty, seed=4)


def test_partition_cuts_both_ways_until_it_heals() -> None:
    async def main() -> tuple[list[bytes], list[bytes]]:
        net = network()
        a, b, c = net.join("a"), net.join("b"), net.join("c")
        net.partition(["a"])
        assert not net.reachable("a", "b")
        assert net.reachable("b", "c")
        await a.send("b", b"lost")
        await b.send("a", b"lost")
        await c.send("b", b"heard")
        net.heal()
        await a.send("b", b"healed")
        return await drain(a, for_s=1), await drain(b, for_s=1)

    assert run_virtual(main()) == ([], [b"heard", b"healed"])


def test_bytes_are_counted_by_pair() -> None:
    async def main() -> MemoryNetwork:
        net = network()
        a, _ = net.join("a"), net.join("b")
        await a.send("b", bytes(300))
        await a.send("nobody", bytes(5))
        return net

    net = run_virtual(main())
    assert net.sent_bytes == {("a", "b"): 300, ("a", "nobody"): 5}
    assert net.received_bytes == {("a", "b"): 300}
    assert net.lost == {("a", "nobody"): 1}


@pytest.mark.parametrize("limits", [{"queue_frames": 10}, {"queue_bytes": 100}])
def test_full_queue_loses_and_counts_instead_of_growing(limits: dict[str, int]) -> None:
    async def main() -> tuple[list[bytes], int]:
        net = network(**limits)
        a, b = net.join("a"), net.join("b")
        for frame in FRAMES:
            await a.send("b", frame)
        return await drain(b, for_s=1), net.lost["a", "b"]

    assert run_virtual(main()) == (FRAMES[:10], 190)


def test_restart_gets_a_fresh_queue_and_cuts_the_old_one_off() -> None:
    async def main() -> tuple[list[bytes], list[bytes]]:
        net = network()
        a, old = net.join("a"), net.join("b")
        await a.send("b", b"before")
        new = net.join("b")
        await a.send("b", b"after")
        await old.send("a", b"ghost")
        return await drain(old, for_s=1) + await drain(a, for_s=1), await drain(new, for_s=1)

    assert run_virtual(main()) == ([], [b"after"])


def test_closed_transport_takes_nothing() -> None:
    async def main() -> int:
        net = network()
        a, b = net.join("a"), net.join("b")
        await b.close()
        await a.send("b", b"x")
        return net.lost["a", "b"]

    assert run_virtual(main()) == 1


@pytest.mark.parametrize(
    "wrong", [{"loss": 1.5}, {"corrupt": -0.1}, {"delay_s": -1.0}, {"bytes_per_s": 0.0}, {"held_s": -1.0}]
)
def test_impossible_links_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Link(**wrong)
