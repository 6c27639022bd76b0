"""Before a service begins: a store that is whole, a host that answers or is away, members known without asking."""

import asyncio

import numpy as np
import pytest

from cohortium.errors import CohortiumError, LedgerUnreachable, PeerError
from cohortium.ledger.memory import MemoryLedger
from cohortium.node.membership import MemberDirectory
from cohortium.node.opening import address_of, asking, open_store
from cohortium.transport.memory import MemoryNetwork
from cohortium.transport.switchboard import Switchboard


def test_a_damaged_store_is_refused_with_the_command_that_mends_it(world):
    home = world("bonn").homes["bonn"]
    open_store(home).close()
    home.store.write_bytes(b"no database at all, but long enough to look like a file of one" * 100)
    with pytest.raises(CohortiumError, match="are damaged") as caught:
        open_store(home)
    assert caught.value.hint.startswith(f"mv {home.store} ")


def test_the_host_is_asked_from_a_worker_thread_and_its_silence_is_an_away_ledger():
    async def main():
        loop, network = asyncio.get_running_loop(), MemoryNetwork(rng=np.random.default_rng(0))
        here, there = (Switchboard(network.join(site)) for site in ("bonn", "lund"))
        boards = [loop.create_task(board.run()) for board in (here, there)]

        async def answer(peer, request):
            if request == b"refuse":
                raise PeerError("not now")
            return request + b"!"

        there.answer("ledger", answer)
        ask = asking(loop, here, "lund")
        assert await asyncio.to_thread(ask, b"blocks") == b"blocks!"
        with pytest.raises(LedgerUnreachable, match="'lund', does not answer"):
            await asyncio.to_thread(ask, b"refuse")
        await here.close()
        await there.close()
        await asyncio.gather(*boards)

    asyncio.run(main())


def test_a_site_is_known_by_the_ledgers_address_of_it(world):
    made = world("bonn", "lund")
    directory = MemberDirectory(made.homes["bonn"], now=0.0)
    founded = MemoryLedger.found(made.genesis, clock=lambda: 0.0)
    directory.follow(founded.events())
    assert address_of(directory, "lund") == made.homes["lund"].keys.ledger.address
    assert address_of(directory, "nobody") == b""
