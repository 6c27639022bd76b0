"""At a hospital: one purse for all runs on the same patients, attacks on everything that leaves."""

import itertools

import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.study_text import parse_study
from cohortium.errors import TrainingFailed
from cohortium.node.own_protection import Guarding, open_purse
from cohortium.node.work import empty_program, open_ward, ward_work
from cohortium.sim.plain import learn
from cohortium.swarm.book import DiskBook

pytest.importorskip("dp_accounting")

DP = {
    "model": {"name": "logistic"},
    "strategy": {"name": "fedavg", "rounds": 4},
    "cohort": {"scale": "none", "fill": "none"},
    "privacy": {"dp": {"epsilon": 2.0, "sample_rate": 0.2}},
}
ALLOWED = {"total": 10.0, "run": None, "accept_weak_privacy": False, "when_short": "decline"}
SITES = ("bonn", "lund")


@pytest.fixture
def ward(kit):
    lines_of, table_of, pinned_text = kit
    lines = lines_of(1, 120)
    return open_ward(parse_study(pinned_text(lines, **DP)), table_of(lines), site="bonn", secret=bytes(32))


@pytest.fixture
def open_it(ward, tmp_path):
    program = empty_program(ward.study, sites=SITES)
    books = []

    def make(secret=bytes(32), announced=(), **allowed):
        books.append(DiskBook(tmp_path / "budget.sqlite"))
        purse = open_purse(
            ward, program, books[-1], secret=secret, consortium="ab", allowed=ALLOWED | allowed, announced=announced
        )
        return purse, program

    yield make
    for book in books:
        book.close()


def to_the_model(program, ward):
    work = ward_work(ward, sites=SITES)
    state = program.start()
    for turn in itertools.count(1):
        if program.events(state):
            return state
        state = program.merge(state, [work.train(turn, state)])
    return None


def test_the_same_patients_are_known_again_and_pay_from_one_purse(ward, open_it):
    purse, program = open_it()
    state = to_the_model(program, ward)
    assert purse.admit(1) == ""
    (reserved,) = purse.reserve(1, 3, state)
    assert reserved.state == "reserved"
    handle = purse.new_version()
    again, _ = open_it(announced=[handle.hex()])
    assert again.new_version() == b"", "the ledger has heard of it"
    (spent,) = again.settle(1, 3)
    assert (spent.state, spent.dataset) == ("spent", handle.hex())
    assert again.spent_micro(1) > 0


def test_another_site_key_gives_another_handle_that_inherits_all_spending(open_it, ward):
    purse, _ = open_it()
    purse.admit(1)
    other, _ = open_it(secret=b"\x01" * 32, total=2.0)
    assert other.new_version() != purse.new_version()
    assert "budget.max_epsilon_total is 2" in other.admit(2)


def test_the_caps_of_the_site_hold(open_it, ward):
    purse, _ = open_it(run=1.0)
    assert "consent.max_epsilon_per_run is 1" in purse.admit(1)
    stopping, program = open_it(run=1.0, when_short="stop")
    state = to_the_model(program, ward)
    assert stopping.admit(2) == "", "it takes part and stops by itself"
    with pytest.raises(TrainingFailed) as caught:
        _ = [stopping.reserve(2, round, state) for round in range(1, 99)]
    assert caught.value.code == "budget"


def test_without_a_promise_there_is_no_purse_and_the_audit_still_looks(kit, tmp_path):
    lines_of, table_of, pinned_text = kit
    lines = lines_of(2, 120)
    ward = open_ward(parse_study(pinned_text(lines)), table_of(lines), site="bonn", secret=bytes(32))
    program = empty_program(ward.study, sites=["bonn"])
    book = DiskBook(tmp_path / "budget.sqlite")
    assert open_purse(ward, program, book, secret=b"", consortium="", allowed=ALLOWED, announced=()) is None
    book.close()
    guarding = Guarding(ward, program)
    work = ward_work(ward, sites=["bonn"], watch=guarding.watch)
    state = learn(program, [work], engine="sequential")
    said = guarding.audit(state, Parameters())
    assert [one.tier for one in said] == [0, 1]
    assert all(len(one.digest) == 32 for one in said)
    record = guarding.record(tmp_path / "not read without a promise")
    assert (record.method, record.noise, record.promise) == ("none", "operating system", None)
    assert record.audit.attacks
