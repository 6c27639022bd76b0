"""Attack 20, part of the shared suite of attacks: budgets that are forgotten, renamed, doubled or lowered.

A node is killed in mid-round, a table imported again under a new name, two runs are started at once, q is lowered in
the report. The weak purse keeps its spending in memory, by table name, and checks without reserving; ours does not.
"""

import math
from dataclasses import replace

import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.spending import Booked, BudgetRecord, MechanismEvent
from cohortium.errors import TrainingFailed
from cohortium.privacy.dp.accounting import epsilon
from cohortium.privacy.dp.budget import Caps
from cohortium.privacy.dp.purse import Plan, Purse, Terms, version_of
from cohortium.privacy.dp.statement import statements
from cohortium.swarm.book import DiskBook

ONE = MechanismEvent.poisson_gaussian(q=0.1, sigma=2.0, count=30)
CAP = 5.0
STATE = Parameters()


class WeakPurse:
    """What a first draft does: a number in memory for each table name, asked before the run, raised after it."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def may(self, table: str, cost: float) -> bool:
        return self.spent.get(table, 0.0) + cost <= CAP

    def pay(self, table: str, cost: float) -> None:
        self.spent[table] = self.spent.get(table, 0.0) + cost


def purse(path, *, table=b"table", patients=(b"ann", b"bo"), rounds=10, run="mds-3"):
    """Our purse on the site's own disk, as a node opens it after every start."""
    pytest.importorskip("dp_accounting", reason="needs the extra 'dp'")
    book = DiskBook(path)
    version, _ = version_of(
        book,
        commitment=table,
        patients=frozenset(patients),
        entropy=lambda n: (len(book.versions()) + 1).to_bytes(n, "big"),
    )
    terms = Terms(site="porto", run=run, consortium="c0ffee", accountant="PLD", code="", clip="1.0")
    plan = Plan(whole=(ONE.times(rounds),), training=lambda state: (ONE,))
    caps = Caps(total=CAP, run=99.0, accept_weak_privacy=True)
    return Purse(book, version=version, terms=terms, caps=caps, plan=plan, compose=epsilon)


def rounds_paid(mine, run, *, most=99):
    """Trains until the purse refuses."""
    for round in range(1, most + 1):
        try:
            mine.reserve(run, round, STATE)
        except TrainingFailed:
            return round - 1
        mine.settle(run, round)
    return most


def test_the_weak_purse_pays_twice_for_every_trick():
    cost = 3.0
    weak = WeakPurse()
    assert weak.may("table", cost)
    weak.pay("table", cost)
    assert not weak.may("table", cost), "as meant"
    assert WeakPurse().may("table", cost), "killed and started again: forgotten"
    assert weak.may("table, exported again", cost), "a new name: forgotten"
    both = WeakPurse()
    assert [both.may("table", cost) for _ in range(2)] == [True, True], "two at once: both may, 6 of 5 are spent"


@pytest.mark.slow
def test_a_killed_node_remembers_and_pays_for_the_round_it_cannot_account_for(tmp_path):
    path = tmp_path / "budget.sqlite"
    first = purse(path, rounds=2)
    first.reserve(1, 1, STATE)  # killed here: nobody knows whether anything left
    spent = purse(path, rounds=2)
    assert spent.spent_micro(1) == first.spent_micro(1) > 0
    whole = rounds_paid(purse(tmp_path / "fresh.sqlite"), 1)
    assert rounds_paid(spent, 2) < whole, "the reserved round counts against every later run"


def test_the_same_table_under_a_new_name_and_a_longer_one_inherit_what_was_spent(tmp_path):
    path = tmp_path / "budget.sqlite"
    paid = rounds_paid(purse(path), 1)
    assert paid > 0
    assert rounds_paid(purse(path), 2) == 0, "the same table, whatever its file is called"
    assert rounds_paid(purse(path, table=b"exported again", patients=(b"bo", b"cy")), 3) == 0
    assert rounds_paid(purse(path, table=b"another ward", patients=(b"di", b"eve")), 4) == paid


def test_two_runs_at_once_cannot_both_reserve(tmp_path):
    most = rounds_paid(purse(tmp_path / "alone.sqlite"), 1)
    path = tmp_path / "budget.sqlite"
    one, other = purse(path, rounds=most), purse(path, rounds=most, run="aml-1")
    assert one.admit(1) == ""
    assert "budget.max_epsilon_total is 5" in other.admit(2)


def test_a_lowered_q_does_not_survive_the_auditor(tmp_path):
    mine = purse(tmp_path / "budget.sqlite")
    booked = [
        Booked(run=1, round=r.round, site=r.site, dataset=r.dataset, record=r.canonical(), eps_micro=r.eps_run_micro)
        for round in (1, 2)
        for r in (*mine.reserve(1, round, STATE), *mine.settle(1, round))
    ]
    honest = statements(booked, committed={}, promised={1: 9_000_000}, compose=epsilon)
    assert honest[0].faults == ()
    record = BudgetRecord.read(booked[-1].record)
    lowered = replace(record, events=(replace(ONE, q="0.01"),))
    forged = [*booked[:-1], replace(booked[-1], record=lowered.canonical())]
    (found,) = statements(forged, committed={}, promised={1: 9_000_000}, compose=epsilon)
    assert "spent other events than were reserved" in found.faults[0]
    cheaper = replace(lowered, eps_run_micro=math.ceil(1e6 * epsilon(lowered.events, delta=1e-5)))
    forged[-1] = replace(forged[-1], record=cheaper.canonical(), eps_micro=cheaper.eps_run_micro)
    (found,) = statements(
        forged, committed={(1, 2, "porto"): record.eps_run_micro}, promised={1: 9_000_000}, compose=epsilon
    )
    assert found.faults
