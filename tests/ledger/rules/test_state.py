"""The tables: what is absent is zero, what is refused is undone, what is changed changes the root."""

import pytest

from cohortium.errors import LedgerRefused
from cohortium.ledger import rules
from cohortium.ledger.rules import Call, state_root
from cohortium.ledger.rules.state import Round, Run, zero


@pytest.fixture
def engine(harness):
    return harness.OnRules(tuple(harness.founder_named(site) for site in harness.SITES[:3]))


def test_what_was_never_written_is_zero(engine):
    assert engine.state.get("runs", 7) == Run()
    assert engine.state.get("finals", (1, 1)) == bytes(32)
    assert engine.state.get("ballots", bytes(32)) == 0
    assert rules.read(engine.state, "rounds", (3,)) == (tuple(Round()),)


@pytest.mark.parametrize(("table", "key"), [("ballots", b"k"), ("finals", (1, 1)), ("runs", 1)])
def test_writing_zero_is_the_same_as_never_having_written(engine, table, key):
    before = state_root(engine.state)
    value = {"ballots": 5, "finals": b"\1" * 32, "runs": Run(state=1)}[table]
    engine.state.put(table, key, value)
    assert state_root(engine.state) != before
    engine.state.put(table, key, zero(table))
    assert key not in engine.state.tables[table]
    assert state_root(engine.state) == before


def test_a_refused_call_leaves_nothing_behind(engine, harness):
    """`approve` has noted the answer before it finds that the commitment is empty."""
    sender = harness.key_named("bonn").address
    engine.call(sender, "propose", (b"\1" * 32, 2, 1, 60, 60, 0, 0), 1)
    before, root = {name: dict(t) for name, t in engine.state.tables.items()}, state_root(engine.state)
    with pytest.raises(LedgerRefused, match=r"ledger refused approve: value"):
        engine.call(sender, "approve", (1, bytes(32)), 2)
    assert engine.state.tables == before
    assert state_root(engine.state) == root


def test_every_allowed_call_changes_the_root_but_a_getter_does_not(engine, harness):
    sender = harness.key_named("bonn").address
    root = state_root(engine.state)
    assert rules.apply(engine.state, Call(sender, "n_runs", (), 5)) == []
    assert state_root(engine.state) == root
    rules.apply(engine.state, Call(sender, "heartbeat", (), harness.START + 5))
    assert state_root(engine.state) != root


def test_two_states_with_the_same_calls_have_the_same_root(harness):
    made = [harness.OnRules(tuple(harness.founder_named(s) for s in harness.SITES[:3])) for _ in range(2)]
    for engine in made:
        engine.call(harness.key_named("graz").address, "leave", (), 9)
    assert state_root(made[0].state) == state_root(made[1].state)


@pytest.mark.parametrize(
    ("function", "args"),
    [
        ("vanish", ()),
        ("heartbeat", (1,)),
        ("decline", (True,)),
        ("decline", (-1,)),
        ("decline", (2**256,)),
        ("rotate", (b"short", bytes(32))),
        ("vote_exclude", (b"bonn",)),
        ("names", (7,)),
    ],
)
def test_a_call_that_cannot_be_written_down_is_a_mistake_of_the_caller(engine, harness, function, args):
    with pytest.raises(ValueError, match=function):
        rules.apply(engine.state, Call(harness.key_named("bonn").address, function, args, 1))


def test_only_getters_are_read(engine):
    with pytest.raises(ValueError, match="heartbeat"):
        rules.read(engine.state, "heartbeat", ())
    with pytest.raises(ValueError, match="takes 1 argument"):
        rules.read(engine.state, "runs", ())
    with pytest.raises(LedgerRefused, match="reverted"):
        rules.read(engine.state, "names", ("x" * 33,))


def test_functions_and_getters_are_those_of_the_contract(harness):
    abi = [entry for entry in harness.artefact().abi if entry["type"] == "function"]
    for entry in abi:
        table = rules.READS if entry["stateMutability"] == "view" else rules.FUNCTIONS
        short = {"string32": "string", "bytes65": "bytes", "bytes1024": "bytes"}
        types = [short.get(kind, kind) for kind in table[entry["name"]].types]
        assert types == [part["type"] for part in entry["inputs"]], entry["name"]
    assert len(abi) == len(rules.READS) + len(rules.FUNCTIONS)


def test_records_have_the_fields_of_the_contracts_structs(harness):
    zeros = {"members": "", "standings": 0, "plans": bytes(32), "runs": 0, "rounds": 0}
    outputs = {e["name"]: e["outputs"] for e in harness.artefact().abi if e.get("stateMutability") == "view"}
    for table, first in zeros.items():
        record = zero(table)
        assert record[0] == first
        assert list(record._fields) == [part["name"] for part in outputs[table][0]["components"]]
