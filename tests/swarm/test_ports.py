import asyncio

from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.ports import Ports, in_line


def test_blocking_calls_go_where_the_port_says(swarm) -> None:
    ledger = swarm.RulesLedger(["a", "b"])
    calls = []

    async def elsewhere(work):
        calls.append("worker")
        return work()

    node = swarm.make_node(ledger, None, "a", run_blocking=elsewhere, transport=None)
    assert run_virtual(node._ports.blocking(lambda: 5)) == 5
    assert calls == ["worker"]
    assert asyncio.run(in_line(lambda: 7)) == 7


def test_by_default_nothing_leaves_and_everybody_consents(swarm) -> None:
    fields = {field.name: field.default for field in Ports.__dataclass_fields__.values()}
    assert fields["share"]({"auroc": 0.9}) == {}
    assert fields["consent"](None) is True
