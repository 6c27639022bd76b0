"""Totals rebuilt from a ledger: honest accounts agree, every kind of lie is named."""

import math
from dataclasses import replace

import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.spending import Booked, MechanismEvent
from cohortium.privacy.dp.budget import Caps
from cohortium.privacy.dp.purse import Plan, Purse, Terms, version_of
from cohortium.privacy.dp.statement import statements
from cohortium.swarm.book import MemoryBook

ONE = MechanismEvent.zcdp(rho=1.0)


def root(events, *, delta):
    del delta
    return math.sqrt(sum(float(event.rho) * event.count for event in events))


def purse(book, *, site="porto", run="mds-3", table=b"table", patients=(b"ann",), cap=10.0):
    version, _ = version_of(
        book,
        commitment=table,
        patients=frozenset(patients),
        entropy=lambda n: (len(book.versions()) + 1).to_bytes(n, "big"),
    )
    return Purse(
        book,
        version=version,
        terms=Terms(site=site, run=run, consortium="c0ffee", accountant="by hand", code="", clip="1.0"),
        caps=Caps(total=cap, run=9.0, accept_weak_privacy=True),
        plan=Plan(whole=(ONE,), training=lambda state: (ONE,)),
        compose=root,
    )


def book_of(made, run, rounds, *, fail=()):
    """What a purse tells a ledger over these rounds."""
    told = []
    for round in rounds:
        records = [*made.reserve(run, round, Parameters())]
        records += made.give_back(run, round) if round in fail else made.settle(run, round)
        told += [
            Booked(
                run=run, round=r.round, site=r.site, dataset=r.dataset, record=r.canonical(), eps_micro=r.eps_run_micro
            )
            for r in records
        ]
    return told


def audit(booked, committed=None, promised=None):
    return statements(
        booked, committed=committed or {}, promised=promised or dict.fromkeys((1, 2, 3), 9_000_000), compose=root
    )


def lied(booked: Booked, **changed) -> Booked:
    """The same entry with a record that says something else."""
    from cohortium.core.spending import BudgetRecord

    record = replace(BudgetRecord.read(booked.record), **changed)
    return replace(booked, record=record.canonical(), eps_micro=record.eps_run_micro)


def test_an_honest_account_over_two_runs_is_rebuilt_to_the_last_digit() -> None:
    book = MemoryBook()
    booked = book_of(purse(book), 1, range(1, 4)) + book_of(purse(book, run="aml-1"), 2, range(1, 7), fail=(2,))
    (found,) = audit(booked, committed={(1, 3, "porto"): 1_732_051})
    assert found.faults == ()
    assert found.remarks == ()
    assert [(run.name, run.n_rounds, run.epsilon) for run in found.runs] == [
        ("mds-3", 3, math.sqrt(3)),
        ("aml-1", 5, math.sqrt(5)),
    ]
    assert found.total == math.sqrt(8), "composed, not 1.73 + 2.24"
    assert (found.cap, found.delta, len(found.versions)) == (10.0, 1e-5, 1)
    assert max(found.history) == found.total


def test_a_new_data_version_inherits_and_a_proven_new_one_is_remarked() -> None:
    book = MemoryBook()
    booked = book_of(purse(book), 1, [1, 2]) + book_of(purse(book, table=b"again", patients=(b"ann", b"bo")), 2, [1])
    (found,) = audit(booked)
    assert (found.faults, found.remarks, found.total) == ((), (), math.sqrt(3))
    others = book_of(purse(book, table=b"others", patients=(b"cy",)), 3, [1])
    (found,) = audit(booked + others)
    assert found.faults == ()
    assert len(found.remarks) == 1
    assert "only the site can prove" in found.remarks[0]


def test_a_site_may_have_spent_more_elsewhere() -> None:
    book = MemoryBook()
    elsewhere = purse(book, run="another consortium")
    elsewhere._terms = replace(elsewhere._terms, consortium="dead")
    book_of(elsewhere, 1, [1, 2, 3])
    (found,) = audit(book_of(purse(book), 1, [1]))
    assert found.faults == ()
    assert found.total == 1.0


FIRST = book_of(purse(MemoryBook()), 1, [1, 2])


@pytest.mark.parametrize(
    ("booked", "fault"),
    [
        ([replace(FIRST[0], record=b"{}")], "run 1, round 1: not the fields of a budget record"),
        ([replace(FIRST[0], site="bonn")], "the record is not about the site, data, round or epsilon"),
        ([replace(FIRST[0], eps_micro=1)], "the record is not about the site, data, round or epsilon"),
        ([lied(FIRST[0], eps_run_micro=500_000)], "the run's epsilon is 1.0000, the record says 0.5000"),
        ([lied(FIRST[0], eps_total_micro=500_000)], "the total is 1.0000, the record says 0.5000"),
        ([*FIRST[:2], lied(FIRST[0], state="returned", eps_run_micro=0)], "returned after spent; what is spent stays"),
        ([lied(FIRST[0], state="returned", eps_run_micro=0)], "returned, but it was never reserved"),
        ([FIRST[0], lied(FIRST[1], events=(MechanismEvent.zcdp(rho=0.25),), eps_run_micro=500_000)],
         "spent other events than were reserved"),
        ([lied(FIRST[0], cap_micro=900_000)], "reserved up to 1.0000, above the site's cap 0.9000"),
    ],
)  # fmt: skip
def test_every_lie_is_named_with_its_place(booked, fault: str) -> None:
    found = audit(booked)
    assert any(fault in one for statement in found for one in statement.faults), [s.faults for s in found]


def test_commitments_below_the_records_and_runs_above_their_promise_are_named() -> None:
    (found,) = audit(FIRST, committed={(1, 1, "porto"): 1_000_000, (1, 2, "porto"): 1_000_000})
    assert found.faults == ("run 1, round 2: epsilon 1.0000 is committed, the records come to 1.4142",)
    (found,) = audit(FIRST, promised={1: 1_200_000})
    assert found.faults == ("run 1: epsilon 1.4142, the study promised 1.2000",)
    found = audit([], committed={(1, 2, "bonn"): 5, (1, 2, "porto"): 0})
    assert [one.faults for one in found] == [("run 1, round 2: epsilon 0.0000 is committed, but nothing is booked",)]


def test_sites_are_kept_apart_and_nothing_booked_is_no_statement() -> None:
    booked = FIRST + book_of(purse(MemoryBook(), site="bonn"), 1, [1])
    assert [(one.site, one.total) for one in audit(booked)] == [("bonn", 1.0), ("porto", math.sqrt(2))]
    assert audit([], committed={(1, 1, "porto"): 0}) == ()
