"""The baton: one of {loop, function} speaks, the other waits."""

import threading
from contextvars import copy_context

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted
from cohortium.entry.seat import Final, Left, Pass, Ready, Seat, Shared, Stop, current_seat
from cohortium.errors import DataError, TrainingFailed, UsageError

START = Parameters({"w": np.zeros(1)})


@pytest.fixture
def seat(make_study):
    return Seat("porto", study=make_study(), sites=("bonn", "porto"))


def begin(seat, function):
    return seat.begin(function, copy_context())


def looping(seat, *, fail_at=0, error=None, stop_at=0):
    """A function that shares what it gets plus one; the passes it made."""

    def function():
        made = 0
        answer = seat.say(Ready(START))
        while isinstance(answer, Pass):
            made += 1
            if made == fail_at:
                raise error
            if made == stop_at:
                return made
            done = Fitted(parameters=answer.start.map(lambda array: array + 1), n_samples=3, loss=0.25)
            answer = seat.say(Shared(done))
        if isinstance(answer, Stop):
            raise answer.error
        return made

    return function


def test_a_function_speaks_first_and_is_trained_pass_by_pass(seat):
    assert begin(seat, looping(seat)) == Ready(START)
    once = seat.train(START)
    twice = seat.train(once.parameters)
    seat.end(Final(twice.parameters))
    assert twice.parameters == Parameters({"w": np.array([2.0])})
    assert (seat.left, seat.n_passes, seat.losses) == (Left(value=2), 2, [0.25, 0.25])


def test_nothing_of_the_function_runs_while_the_loop_has_the_baton(seat):
    running = []

    def function():
        running.append(threading.current_thread().name)
        seat.say(Ready(START))
        running.append("after")

    begin(seat, function)
    assert running == ["cohortium-porto"]
    seat.end(Final(START))
    assert running == ["cohortium-porto", "after"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("x"), "error"),
        (MemoryError(), "memory"),
        (DataError("bad"), "data"),
        (TrainingFailed("gone", code="device"), "device"),
        (SystemExit(1), "error"),
    ],
)
def test_an_error_of_the_function_is_a_failed_training_with_a_code(seat, error, code):
    begin(seat, looping(seat, fail_at=2, error=error))
    seat.train(START)
    for _ in range(2):
        with pytest.raises(TrainingFailed) as caught:
            seat.train(START)
        assert caught.value.code == code
    assert seat.left is not None
    assert seat.left.error is error


def test_a_function_that_leaves_early_is_said_to_have_left(seat):
    begin(seat, looping(seat, stop_at=2))
    seat.train(START)
    with pytest.raises(TrainingFailed, match="'porto' ended after pass 2") as caught:
        seat.train(START)
    assert caught.value.code == "left"


def test_stop_ends_a_waiting_function_with_the_error(seat):
    begin(seat, looping(seat))
    error = ValueError("no model")
    seat.end(Stop(error))
    assert seat.left == Left(error=error)


def test_a_seat_is_found_only_from_its_own_function(seat, make_study):
    found = []

    def function():
        found.append(current_seat("co.join", seat.study))
        seat.say(Ready(START))

    begin(seat, function)
    assert found == [seat]
    with pytest.raises(UsageError, match=r"co\.join needs a rehearsal in this release"):
        current_seat("co.join", seat.study)
    seat.end(Final(START))


def test_a_seat_serves_one_study_and_one_run(seat, make_study):
    said = []

    def function():
        for study in (make_study(rounds=5), seat.study):
            try:
                current_seat("co.join", study)
            except UsageError as error:
                said.append(str(error))
        seat.say(Ready(START))

    seat.taken = True
    begin(seat, function)
    seat.end(Final(START))
    assert "is not the one rehearsed" in said[0]
    assert "site 'porto' has had its run already" in said[1]
