"""Work on a loop of its own, wherever it is asked for."""

import asyncio
import threading

import pytest

from cohortium.entry.own_thread import in_own_thread


def test_the_result_comes_back_from_another_thread():
    assert in_own_thread(threading.get_ident) != threading.get_ident()


def test_an_error_comes_back_as_it_is():
    error = ValueError("wrong")

    def fail():
        raise error

    with pytest.raises(ValueError, match="wrong") as caught:
        in_own_thread(fail)
    assert caught.value is error


def test_a_loop_can_run_inside_a_running_loop():
    async def notebook():
        return in_own_thread(lambda: asyncio.run(asyncio.sleep(0, "done")))

    assert asyncio.run(notebook()) == "done"
