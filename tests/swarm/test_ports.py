import asyncio
from dataclasses import replace

from cohortium.core.seams import LedgerEvent
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.ports import Charter, Ports, Proposal, in_line


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


def test_a_proposal_is_ours_only_on_our_terms() -> None:
    terms = Proposal(min_sites=3, n_rounds=5, drawn=True)
    assert terms.spoken(masked=True) == (3, 5, 86_400, 120, 0, 3)
    names = ("min_sites", "n_rounds", "answer_timeout_s", "leader_timeout_s", "budget", "flags")
    said = dict(zip(names, terms.spoken(masked=False), strict=True))
    charter = Charter(consortium=bytes(32), contract=bytes(20), chain_id=1, study=b"s" * 32, terms=terms)
    ours = LedgerEvent(1, 0, "Proposed", {"spec": b"s" * 32, **said})
    assert charter.is_ours(ours, masked=False)
    assert not charter.is_ours(ours, masked=True)
    assert not charter.is_ours(LedgerEvent(1, 0, "Proposed", {**ours.args, "min_sites": 2}), masked=False)
    assert not charter.is_ours(LedgerEvent(1, 0, "Proposed", {**ours.args, "spec": b"t" * 32}), masked=False)
    again = LedgerEvent(1, 0, "Proposed", {**ours.args, "run": 4})
    assert [replace(charter, run=run).is_ours(again, masked=False) for run in (None, 4, 3)] == [True, True, False]
