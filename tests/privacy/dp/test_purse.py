"""A purse pays each round once, over restarts, other runs and new data versions; what is spent stays spent."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.spending import DataVersion, MechanismEvent
from cohortium.errors import TrainingFailed
from cohortium.privacy.dp.budget import Caps
from cohortium.privacy.dp.purse import Plan, Purse, Terms, recall, version_of
from cohortium.swarm.book import MemoryBook

ONE = MechanismEvent.zcdp(rho=1.0)
STATE = Parameters()
TERMS = Terms(site="porto", run="mds-3", consortium="c0ffee", accountant="by hand", code="sha256:00", clip="1.0")


def root(events, *, delta):
    del delta
    return math.sqrt(sum(float(event.rho) * event.count for event in events))


@pytest.fixture
def book():
    return MemoryBook()


def purse_of(book, *, rounds=4, patients=("ann", "bo"), table=b"table", caps=None, compose=root, free=False, **terms):
    known = None if patients is None else frozenset(p.encode() for p in patients)
    version, is_new = version_of(book, commitment=table, patients=known, entropy=book_entropy(book))
    plan = Plan(whole=() if free else (ONE.times(rounds),), training=lambda state: () if free else (ONE,))
    return Purse(
        book,
        version=version,
        terms=Terms(**{**vars(TERMS), **terms}),
        caps=caps or Caps(total=3.0, run=3.0),
        plan=plan,
        compose=compose,
        is_new=is_new,
    )


def book_entropy(book):
    return lambda n: (len(book.versions()) + 1).to_bytes(n, "big")


def test_a_round_is_reserved_and_spent_with_its_own_totals(book) -> None:
    purse = purse_of(book)
    assert purse.admit(1) == ""
    (reserved,) = purse.reserve(1, 1, STATE)
    (spent,) = purse.settle(1, 1)
    assert (reserved.state, spent.state) == ("reserved", "spent")
    assert spent.events == (ONE,)
    assert (spent.eps_run_micro, spent.eps_total_micro, spent.cap_micro) == (1_000_000, 1_000_000, 3_000_000)
    purse.reserve(1, 2, STATE)
    (second,) = purse.settle(1, 2)
    assert second.eps_run_micro == 1_414_214, "rounded up"
    assert purse.spent_micro(1) == 1_414_214
    assert purse.settle(1, 2) == (), "once"


def test_a_round_asked_for_again_costs_nothing_more(book) -> None:
    purse = purse_of(book)
    assert len(purse.reserve(1, 1, STATE)) == 1
    assert purse.reserve(1, 1, STATE) == ()
    purse.settle(1, 1)
    assert purse.reserve(1, 1, STATE) == (), "killed after training: the first noisy update never left"
    assert purse.give_back(1, 1) == (), "what is spent stays spent"
    assert purse.spent_micro(1) == 1_000_000


def test_the_run_stops_before_the_step_that_would_pass_the_cap(book) -> None:
    purse = purse_of(book, rounds=99, caps=Caps(total=2.0, run=9.0, accept_weak_privacy=True, when_short="stop"))
    assert purse.admit(1) == ""
    for round in range(1, 5):
        purse.reserve(1, round, STATE)
        purse.settle(1, round)
    with pytest.raises(
        TrainingFailed, match=r"^round 5 is not trained: .* cost epsilon 2\.24 .*max_epsilon_total is 2$"
    ) as caught:
        purse.reserve(1, 5, STATE)
    assert caught.value.code == "budget"
    assert purse.spent_micro(1) == 2_000_000, "the refused round has cost nothing"


def test_a_plan_that_does_not_fit_is_declined_before_anything_is_trained(book) -> None:
    purse = purse_of(book, rounds=10)
    assert "epsilon 3.17" in purse.admit(1)
    assert book.entries() == ()


def test_two_runs_at_once_cannot_both_have_the_last_of_the_budget(book) -> None:
    first, second = purse_of(book, rounds=5), purse_of(book, rounds=5)
    assert first.admit(1) == ""
    assert "spent and reserved so far: 2.24" in second.admit(2), "5 + 5 > 9, though nothing is spent yet"
    first.close(1)
    assert second.admit(2) == "", "the first run is over and had not begun"


def test_equal_run_numbers_of_two_consortia_are_two_runs(book) -> None:
    purse_of(book, rounds=5).admit(1)
    assert "so far: 2.24" in purse_of(book, rounds=5, consortium="dead").admit(1)


def test_ten_runs_in_ten_threads_are_admitted_one_after_the_other(book) -> None:
    purses = [purse_of(book, rounds=2) for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda pair: pair[1].admit(pair[0]), enumerate(purses, start=1)))
    assert answers.count("") == 4, "4 x 2 <= 9"


def test_a_crash_between_reservation_and_settlement_is_paid_for(book) -> None:
    purse_of(book).reserve(1, 1, STATE)
    again = purse_of(book)
    records = again.reserve(1, 2, STATE)
    assert [(one.round, one.state) for one in records] == [(1, "spent"), (2, "reserved")]
    assert again.give_back(1, 1) == ()


def test_a_reservation_is_given_back_once_and_can_be_taken_again(book) -> None:
    purse = purse_of(book)
    purse.reserve(1, 1, STATE)
    (back,) = purse.give_back(1, 1)
    assert (back.state, back.eps_run_micro) == ("returned", 0)
    assert purse.give_back(1, 1) == ()
    assert len(purse.reserve(1, 1, STATE)) == 1


def test_a_table_read_again_is_the_same_version_and_a_changed_one_inherits(book) -> None:
    purse = purse_of(book, rounds=9)
    purse.admit(1)
    for round in range(1, 10):
        purse.reserve(1, round, STATE)
        purse.settle(1, round)
    purse.close(1)
    same = purse_of(book, rounds=1)
    renamed = purse_of(book, rounds=1, table=b"exported again", patients=("bo", "cy"))
    unkeyed = purse_of(book, rounds=1, table=b"no patient column", patients=None)
    others = purse_of(book, rounds=1, table=b"another clinic", patients=("di", "eve"))
    assert "so far: 3.00" in same.admit(2)
    assert "so far: 3.00" in renamed.admit(3)
    assert "so far: 3.00" in unkeyed.admit(4)
    assert others.admit(5) == ""
    assert len(book.versions()) == 4


def test_a_new_version_is_announced_once(book) -> None:
    purse = purse_of(book)
    assert purse.new_version() == bytes.fromhex(book.versions()[0].handle)
    assert purse.new_version() == b""
    assert purse_of(book).new_version() == b""


def test_what_costs_nothing_is_not_booked(book) -> None:
    purse = purse_of(book, free=True)
    assert purse.admit(1) == ""
    assert purse.reserve(1, 1, STATE) == ()
    assert purse.settle(1, 1) == ()
    assert purse.spent_micro(1) == 0
    assert book.entries() == ()


def test_void_rounds_cannot_take_a_run_past_what_its_study_promised(book) -> None:
    purse = purse_of(book, rounds=4, caps=Caps(total=9.0, run=9.0, study=2.0, accept_weak_privacy=True))
    assert purse.admit(1) == ""
    for round in range(1, 5):
        purse.reserve(1, round, STATE)
        purse.settle(1, round)
    with pytest.raises(TrainingFailed, match="the study stays within 2"):
        purse.reserve(1, 5, STATE)


def test_a_lost_book_is_written_again_from_the_ledger(book) -> None:
    purse = purse_of(book)
    told = [(1, record) for record in (*purse.reserve(1, 1, STATE), *purse.settle(1, 1), *purse.reserve(1, 2, STATE))]
    fresh = MemoryBook()
    assert recall(fresh, told, consortium="c0ffee") == 2
    assert recall(fresh, told, consortium="c0ffee") == 0, "once"
    assert {(entry.round, entry.state) for entry in fresh.entries()} == {(1, "spent"), (2, "spent")}
    assert fresh.versions() == (DataVersion(handle=book.versions()[0].handle, commitment=b""),)
    again = purse_of(fresh, rounds=8, table=b"the same patients, as nobody can tell")
    assert "so far: 1.42" in again.admit(2)
    assert recall(book, told, consortium="c0ffee") == 0, "the book itself knows better"


def test_a_run_goes_on_counting_when_its_data_change(book) -> None:
    first = purse_of(book)
    first.reserve(1, 1, STATE)
    first.settle(1, 1)
    other = purse_of(book, table=b"other patients", patients=("di",))
    (record,) = other.reserve(1, 2, STATE)
    assert record.eps_run_micro == 1_414_214
    assert record.eps_total_micro == 1_000_000, "of these patients"
