"""One process a hospital: members, keys, forks, stopping; in virtual time, on memory ledger and network."""

import asyncio

import pytest

from cohortium.errors import LedgerForked


@pytest.mark.slow
def test_leaving_the_consortium_in_a_run_leaves_the_run_to_the_others(world):
    world = world()
    pinned = world.study(**world.weights(rounds=8))

    async def main(world):
        world.slow_down(20.0)
        await world.propose("bonn", pinned)
        await world.round_open("bonn", 4)
        answer = await world.services["porto"]._about_members({"do": "leave"})
        assert answer["did"] == "leave"
        endings = await world.ended("bonn", "lund")
        assert endings["bonn"].sentence == "partial (2/3 sites), missing: porto"
        assert endings["bonn"].missing["porto"].startswith("left the run (")

    world.play(main)


@pytest.mark.slow
def test_keys_rotated_in_a_run_are_taken_over_and_the_run_is_complete(world):
    world = world()
    pinned = world.study(**world.weights(rounds=8))

    async def main(world):
        world.slow_down(20.0)
        await world.propose("bonn", pinned)
        await world.round_open("bonn", 4)
        before = world.homes["lund"].keys.certificate
        service = world.services["lund"]
        await service._about_members({"do": "rotate"})
        assert service._network.rekeyed == 1
        assert service.home.keys.certificate != before
        await world.until(lambda: world.services["bonn"]._directory.contacts()["lund"].certificate != before)
        endings = await world.ended()
        assert {ending.status for ending in endings.values()} == {"complete"}

    world.play(main)


@pytest.mark.slow
def test_a_forked_ledger_stops_everything_and_leaves_its_proof(world):
    world = world()

    async def main(world):
        world.slow_down(20.0)
        await world.propose("bonn", world.study(**world.weights(rounds=12)))
        await world.round_open("bonn", 3)
        world.services["lund"].fork(LedgerForked("block 9 is ab for 'porto' and cd here", evidence=(b"one", b"two")))
        await asyncio.sleep(5)
        status = world.services["lund"].status()
        assert not status["healthy"]
        assert status["problems"][0].startswith("the ledger was written twice: block 9")
        assert sorted(path.read_bytes() for path in world.homes["lund"].evidence.iterdir()) == [b"one", b"two"]
        assert status["runs"][0]["sentence"].startswith("stopped here: failed (ledger, forked)")
        assert (await world.ended("bonn", "porto"))["bonn"].exit_code == 3

    world.play(main)


@pytest.mark.slow
def test_a_planned_stop_says_goodbye_and_ends_quickly(world):
    world = world()

    async def main(world):
        world.slow_down(20.0)
        await world.propose("bonn", world.study(**world.weights(rounds=12)))
        await world.round_open("bonn", 3)
        began = asyncio.get_running_loop().time()
        await world.stop("porto")
        assert asyncio.get_running_loop().time() - began <= 10
        await world.start("porto")
        assert (await world.ended())["porto"].status in ("complete", "partial")

    world.play(main)


@pytest.mark.slow
def test_a_node_that_lost_its_facts_leaves_the_run_and_comes_back_with_the_next_round(world):
    world = world()
    pinned = world.study(**world.weights(rounds=10, min_sites=2), privacy={"secure_aggregation": False})

    async def main(world):
        world.slow_down(20.0)
        await world.propose("bonn", pinned)
        await world.round_open("bonn", 4)
        await world.kill("lund")
        for path in world.homes["lund"].path.glob("node.sqlite*"):
            path.unlink()
        await world.start("lund")
        await world.until(lambda: world.run("bonn").view.departures)
        gone = [(one.site, one.reason) for one in world.run("bonn").view.departures]
        assert gone == [("lund", "lost")]
        endings = await world.ended()
        assert "lund" in world.run("bonn").view.finals[-1].contributors
        assert endings["lund"].exit_code in (0, 3)

    world.play(main)
    assert len({world.digest_of(site) for site in world.sites}) == 1
