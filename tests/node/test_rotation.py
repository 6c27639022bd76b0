"""New keys are announced, and used once the peers have read that they count; who is away delays nobody for long."""

import asyncio

import numpy as np

from cohortium.node.replies import ANNOUNCE, HEAD
from cohortium.node.rotation import announce, until_read
from cohortium.sim.virtual_clock import run_virtual
from cohortium.transport.memory import MemoryNetwork
from cohortium.transport.switchboard import Switchboard


def play(script, **handlers):
    """Run `script(board of porto)`; handlers: peer -> {topic: answer}; gives (result, virtual seconds it took)."""

    async def main():
        network = MemoryNetwork(rng=np.random.default_rng(0))
        boards = {site: Switchboard(network.join(site)) for site in ("porto", *handlers)}
        for site, answers in handlers.items():
            for topic, handler in answers.items():
                boards[site].answer(topic, handler)
        async with asyncio.TaskGroup() as tasks:
            for board in boards.values():
                tasks.create_task(board.run())
            began = asyncio.get_running_loop().time()
            result = await script(boards["porto"])
            took = asyncio.get_running_loop().time() - began
            for board in boards.values():
                await board.close()
        return result, took

    return run_virtual(main())


def test_every_peer_hears_of_the_new_card_and_a_silent_one_is_passed_over():
    heard = []

    async def learn(peer, request):
        heard.append(request)
        return b""

    async def silent(peer, request):
        await asyncio.sleep(3600)
        return b""

    _, took = play(
        lambda board: announce(board, ["bonn", "lund", "oslo"], b"card"),
        bonn={ANNOUNCE: learn},
        lund={ANNOUNCE: silent},
        oslo={},
    )
    assert heard == [b"card"]
    assert took <= 5.0


def test_the_keys_wait_until_all_peers_have_read_the_block_and_not_longer():
    def reading(*heights):
        told = iter(heights)

        async def head(peer, request):
            return next(told).to_bytes(8, "big") + bytes(32)

        return {HEAD: head}

    _, took = play(lambda board: until_read(board, ["bonn", "lund"], 7), bonn=reading(7), lund=reading(5, 6, 7))
    assert 0.2 <= took < 1.0


def test_a_peer_that_is_away_is_waited_for_briefly():
    _, took = play(lambda board: until_read(board, ["bonn"], 7), bonn={})
    assert 5.0 <= took <= 7.0
