"""A lost book of privacy spending is written anew from what the ledger remembers, before anything more is spent."""

import pytest

from cohortium.core.seams import LedgerEvent
from cohortium.core.spending import BudgetRecord, Entry, MechanismEvent
from cohortium.node.spending import recall_spending
from cohortium.swarm.book import DiskBook

HANDLE = "ab" * 32
EVENTS = (MechanismEvent.gaussian(sigma=4.0),)


def record(state="spent", *, site="bonn", round=1):
    return BudgetRecord(
        site=site, dataset=HANDLE, run="little", round=round, state=state, events=EVENTS, delta="1e-05", clip="1",
        accountant="PLD", code="", eps_run_micro=0, eps_total_micro=0, cap_micro=3_000_000,
    )  # fmt: skip


def told(raw, *, site="bonn", run=1, round=1):
    args = {"run": run, "round": round, "site": site, "dataset": bytes.fromhex(HANDLE), "record": raw, "eps_micro": 0}
    return LedgerEvent(1, 0, "Spent", args)


def entries(path):
    book = DiskBook(path)
    try:
        return book.entries()
    finally:
        book.close()


def test_what_the_ledger_remembers_counts_when_the_book_is_gone(tmp_path):
    path = tmp_path / "budget.sqlite"
    said = [told(record("reserved").canonical()), told(record().canonical()), told(b"{}"),
            told(record("reserved", round=2).canonical(), round=2),
            told(record(site="lund").canonical(), site="lund")]  # fmt: skip
    assert recall_spending(path, said, site="bonn", consortium="c0ffee") == 2
    kept = [Entry(dataset=HANDLE, run="c0ffee/1", round=n, state="spent", events=EVENTS, name="little") for n in (1, 2)]
    assert entries(path) == tuple(kept)
    assert recall_spending(path, said, site="bonn", consortium="c0ffee") == 0, "once is enough"


def test_a_site_that_never_spent_has_no_book(tmp_path):
    said = [told(record(site="lund").canonical(), site="lund")]
    assert recall_spending(tmp_path / "budget.sqlite", said, site="bonn", consortium="c0ffee") == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_node_reads_the_ledger_before_it_takes_part_in_another_run(world):
    world = world()
    path = world.homes["bonn"].path / "budget.sqlite"

    async def main(world):
        await world.propose("bonn", world.study())
        await world.round_open("bonn", 1)
        await world.services["bonn"].runs.call("spend", 1, 1, bytes.fromhex(HANDLE), record().canonical(), 0)
        await world.ended()
        assert not path.exists(), "a run that promises nothing keeps no book"
        await world.propose("lund", world.study(study={"name": "another"}))
        await world.ended(number=2)

    world.play(main)
    assert [(one.run.split("/")[1], one.round, one.state) for one in entries(path)] == [("1", 1, "spent")]
