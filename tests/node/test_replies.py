"""What peers ask is answered within limits, and a stranger's card is not kept."""

import asyncio

import pytest

from cohortium.errors import PeerError
from cohortium.node.replies import ANNOUNCE, CARD, HEAD
from cohortium.node.studies import TOPIC as STUDY


def test_heads_cards_and_refusals_travel(world, tmp_path):
    world = world("bonn", "lund")

    async def main(world):
        await asyncio.sleep(1)
        board = world.services["bonn"]._board

        async def ask(topic, request):
            return await board.ask("lund", topic, request, timeout_s=5)

        answer = await ask(HEAD, b"")
        assert (int.from_bytes(answer[:8], "big"), answer[8:]) == (1, world.ledger.head().hash)
        assert await ask(CARD, b"bonn") == world.services["lund"]._directory.card_of("bonn")
        card = world.homes["bonn"].card(world.clock() + 5).to_bytes()
        assert await ask(ANNOUNCE, card) == b""
        assert world.services["lund"]._directory.card_of("bonn") == card
        stranger = type(world)(tmp_path / "elsewhere", ("bonn",)).homes["bonn"].card(world.clock() + 9).to_bytes()
        for topic, request, sentence in [
            (CARD, b"nobody", "no such card is known here"),
            (STUDY, bytes(3), "holds its digest and an offset"),
            (ANNOUNCE, b"x" * 5000, "at most 4096 bytes"),
            (ANNOUNCE, stranger, "not signed by the ledger's address"),
            ("figures", bytes(8), "is not measured here yet"),
            ("ledger", b"", "nothing is answered about"),
        ]:
            with pytest.raises(PeerError, match=sentence):
                await ask(topic, request)

    world.play(main)


def test_every_node_learns_by_itself_that_a_peer_has_the_same_chain(world):
    world = world("bonn", "lund")

    async def main(world):
        await asyncio.sleep(20)
        status = world.services["bonn"].status()
        assert status["problems"] == []
        assert status["peers"]["lund"]["same_chain"] is True

    world.play(main)
