"""A worker in a process of its own: the bits of the work done here, and an end of it that is a code, not a crash."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError, TrainingFailed
from cohortium.node.foreman import Foreman, WorkerPlan
from cohortium.node.work import open_ward, ward_work
from cohortium.sim.inputs import read_study

SITES = ("bonn", "lund")


@pytest.fixture
def plan(home_of_bonn):
    return WorkerPlan(
        study=home_of_bonn / "study.toml",
        site="bonn",
        table=home_of_bonn / "bonn.csv",
        mapping="",
        secret=bytes(32),
    )


@pytest.fixture
def hire(plan, tmp_path):
    hired = []

    def make(**options):
        hired.append(Foreman(options.pop("plan", plan), sites=lambda: SITES, log=tmp_path / "worker.log", **options))
        return hired[-1]

    yield make
    for one in hired:
        one.close()


@pytest.fixture
def here(plan):
    """The same work in this process."""
    from cohortium.data.readers import read

    ward = open_ward(read_study(plan.study), read(plan.table), site="bonn", secret=bytes(32))
    return ward_work(ward, sites=SITES)


def process_of(foreman):
    return foreman._worker.process


def test_a_worker_computes_the_bits_that_this_process_would(hire, here):
    foreman = hire()
    foreman.prepare()
    assert {one["id"] for one in foreman.findings["checks"]} >= {"L1", "L2"}
    state, own = foreman.start(), here.start()
    assert state.digest == own.digest
    for turn in range(1, 4):
        update, expected = foreman.train(turn, state), here.train(turn, own)
        assert update.parameters.digest == expected.parameters.digest
        assert update.weight == expected.weight
        other = type(update)(site="lund", parameters=update.parameters, weight=update.weight)
        state, own = foreman.merge(state, [update, other]), here.merge(own, [expected, other])
        assert state.digest == own.digest
        assert foreman.adopt(turn, state, update) == pytest.approx(dict(here.adopt(turn, own, expected)))
        assert foreman.memory().digest == here.memory().digest
        assert foreman.finished(state) == here.finished(own)
    total = weighted_sum([foreman.train(4, state)])
    assert foreman.merge(state, total).digest == here.merge(own, total).digest
    assert list(foreman.stages) == [1, 2, 3]
    assert foreman.stages[1] == "presence"


@pytest.mark.slow
def test_a_worker_killed_in_training_costs_that_training_only(hire, slow_study):
    foreman = hire(plan=slow_study)
    state = foreman.start()
    heard = []

    def kill():
        while foreman._worker.process.poll() is None and not heard:
            time.sleep(0.02)
        os.kill(process_of(foreman).pid, signal.SIGKILL)

    foreman._told = heard.append
    state = to_the_model(foreman, state)
    heard.clear()
    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(TrainingFailed) as caught:
        foreman.train(9, state)
    killer.join()
    assert caught.value.code == "memory"
    assert foreman.merge(state, [foreman.train(9, state)])


def to_the_model(foreman, state):
    """Merge what bonn alone says until the model's turn has come."""
    turn = 1
    while "coefficients" not in " ".join(state):
        state = foreman.merge(state, [foreman.train(turn, state)])
        turn += 1
    return state


@pytest.mark.slow
def test_progress_is_told_in_coarse_steps(hire, slow_study):
    heard = []
    foreman = hire(plan=slow_study, told=heard.append)
    foreman.train(9, to_the_model(foreman, foreman.start()))
    told = [fraction for fraction in heard if fraction]
    assert told == sorted(told)
    assert len(told) >= 2
    assert all(round(fraction / 0.05, 6) == round(fraction / 0.05) for fraction in told)


@pytest.mark.slow
def test_a_pure_call_is_asked_again_of_a_new_worker(hire):
    foreman = hire()
    state = foreman.start()
    first = process_of(foreman).pid
    os.kill(first, signal.SIGKILL)
    assert foreman.finished(state) is False
    assert process_of(foreman).pid != first


@pytest.mark.slow
def test_wrong_data_and_wrong_code_are_told_by_code_and_the_sentence_stays_here(hire, plan, home_of_bonn):
    (home_of_bonn / "bonn.csv").write_text("a,b,sex\n1,2,f\n")
    with pytest.raises(TrainingFailed, match="label") as caught:
        hire().prepare()
    assert (caught.value.code, caught.value.stage) == ("data", "load")
    (home_of_bonn / "bonn.csv").unlink()
    with pytest.raises(TrainingFailed, match="no such file"):
        hire().prepare()


def test_a_payload_that_cannot_be_merged_names_its_sender_through_the_pipe(hire):
    foreman = hire()
    state = foreman.start()
    update = foreman.train(1, state)
    heavy = type(update)(site="lund", parameters=update.parameters, weight=2)
    with pytest.raises(PeerError) as caught:
        foreman.merge(state, [update, heavy])
    assert caught.value.site == "lund"
    with pytest.raises((PeerError, ArithmeticError)):
        foreman.merge(state, [type(update)(site="lund", parameters=Parameters({"x": np.ones(1)}), weight=1), update])


def test_a_merge_that_fails_in_any_way_stops_no_node(hire):
    """What peers sent fails at every honest site alike; were it an error of the node, one member could stop all."""
    foreman = hire()
    with pytest.raises(ArithmeticError, match="Error"):
        foreman.merge(Parameters({"clock": np.array([99, 0])}), [foreman.train(1, foreman.start())])
    with pytest.raises(ArithmeticError, match="Error"):
        foreman.refuse(Parameters({"clock": np.array([99, 0])}), [foreman.train(1, foreman.start())])


def test_closing_ends_a_training_at_once(hire, slow_study):
    foreman = hire(plan=slow_study)
    state = to_the_model(foreman, foreman.start())
    caught = []

    def train():
        try:
            foreman.train(9, state)
        except TrainingFailed as failed:
            caught.append(failed.code)

    training = threading.Thread(target=train)
    training.start()
    while not foreman._worker.waiting:
        time.sleep(0.01)
    foreman.close()
    training.join(10)
    assert caught == ["stopped"]
    assert process_of(foreman).poll() is not None


@pytest.mark.slow
def test_a_training_that_takes_longer_than_a_round_may_is_ended(hire, slow_study):
    from dataclasses import replace

    foreman = hire(plan=slow_study)
    state = to_the_model(foreman, foreman.start())
    foreman._plan = replace(slow_study, max_s=0.5)
    with pytest.raises(TrainingFailed) as caught:
        foreman.train(9, state)
    assert caught.value.code == "stuck"
