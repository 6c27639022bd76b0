"""Only what a scenario names goes wrong. Whole scenarios are in test_scenarios.py."""

import asyncio

import numpy as np
import pytest

from cohortium.core.identity import LedgerKey
from cohortium.core.parameters import Parameters
from cohortium.errors import TrainingFailed
from cohortium.sim.faults import Arrives, Crash, Failing, NoResult, NotReady, Scenario, Shunned, Slow
from cohortium.sim.faulty_ports import Killed
from cohortium.sim.mishaps import Ground, Mishaps
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.bell import Bell
from cohortium.swarm.node import Ports
from cohortium.swarm.store import MemoryStore
from cohortium.transport.memory import MemoryNetwork

SITES = ("a", "b", "c")
STATE = Parameters({"w": np.zeros(1)})


class Nothing:
    contract, chain_id = bytes(20), 1

    def events(self, from_height=0):
        return []


class Work:
    def train(self, turn, state):
        return f"update {turn}"


def mishaps_of(*faults):
    network = MemoryNetwork(rng=np.random.default_rng(0))
    ground = Ground(ledger=Nothing(), network=network, bell=Bell(), keys={})
    return Mishaps(Scenario(name="x", sites=SITES, faults=faults, train_s=60.0), ground)


def ports_of(mishaps, site="a"):
    key = LedgerKey.from_bytes(bytes(31) + b"\x01")
    ports = Ports(
        ledger=mishaps.ground.ledger, transport=mishaps.ground.network.join(site), store=MemoryStore(), work=Work(),
        key=key, sign_call=None, next_nonce=None, entropy=None, share=dict,
    )  # fmt: skip
    return mishaps.ports(site, ports)


async def trained(ports, turn):
    began = asyncio.get_running_loop().time()
    update = await ports.trainer(turn, STATE)
    return update, asyncio.get_running_loop().time() - began


def test_training_takes_the_scenarios_time_and_longer_where_it_is_slow() -> None:
    async def main():
        ports = ports_of(mishaps_of(Slow(site="a", round=2, for_s=500.0)))
        return [await trained(ports, turn) for turn in (1, 2, 3)]

    assert run_virtual(main()) == [("update 1", 60.0), ("update 2", 500.0), ("update 3", 60.0)]


def test_training_fails_from_its_merge_on_until_it_is_mended() -> None:
    async def main():
        ports = ports_of(mishaps_of(Failing(site="a", round=2, code="memory", back_s=150.0)))
        await trained(ports, 1)
        with pytest.raises(TrainingFailed) as raised:
            await trained(ports, 2)
        assert raised.value.code == "memory"
        return await trained(ports, 2)

    assert run_virtual(main()) == ("update 2", 60.0)


def test_preparing_fails_while_not_ready_or_shunned_and_only_there() -> None:
    async def main():
        mishaps = mishaps_of(NotReady(site="a", for_s=10.0, code="data"), Shunned(site="b", until_s=10.0))
        for site, stage, code in (("a", "load", "data"), ("b", "connect", "certificate")):
            with pytest.raises(TrainingFailed) as raised:
                ports_of(mishaps, site).prepare()
            assert (raised.value.stage, raised.value.code) == (stage, code)
        ports_of(mishaps, "c").prepare()
        await asyncio.sleep(10.0)
        for site in SITES:
            ports_of(mishaps, site).prepare()

    run_virtual(main())


def test_results_are_kept_back_where_the_scenario_says_so() -> None:
    mishaps = mishaps_of(NoResult(site="a"))
    assert ports_of(mishaps, "a").share({"auroc": 0.9}) == {}
    assert ports_of(mishaps, "b").share({"auroc": 0.9}) == {"auroc": 0.9}


class Lived:
    """A node that dies in its first lives."""

    deaths = 1

    async def run(self):
        if Lived.deaths:
            Lived.deaths -= 1
            raise Killed("killed")
        return "outcome"


@pytest.mark.parametrize(("back_after_s", "outcome", "after_s"), [(30.0, "outcome", 130.0), (None, None, 100.0)])
def test_a_killed_node_comes_back_when_its_scenario_says_so(back_after_s, outcome, after_s) -> None:
    async def main():
        Lived.deaths = 1
        crash = Crash(site="a", fact="trained", round=1, back_after_s=back_after_s)
        mishaps = mishaps_of(Arrives(site="a", at_s=100.0), crash)
        found = await mishaps.live("a", Lived)
        return found, asyncio.get_running_loop().time()

    assert run_virtual(main()) == (outcome, after_s)
