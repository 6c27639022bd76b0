"""The worker's end of the pipe, in this process: errors are told by kind, progress in coarse steps."""

import socket
import threading

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.node.pipe import Word, read_word, write_word
from cohortium.node.worker import FRACTION_STEP, Bench, serve


@pytest.fixture
def plan(home_of_bonn):
    return {
        "study": str(home_of_bonn / "study.toml"),
        "site": "bonn",
        "table": str(home_of_bonn / "bonn.csv"),
        "mapping": "",
        "secret": bytes(32).hex(),
    }


@pytest.fixture
def worker(plan):
    """Say one word to a worker in a thread, hear its answer."""
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(theirs,))
    thread.start()
    stream = ours.makefile("rwb")
    write_word(stream, Word(0, "plan", plan))

    def ask(word, text=None, arrays=()):
        write_word(stream, Word(5, word, {"sites": ["bonn", "lund"], **(text or {})}, arrays))
        while (said := read_word(stream)).word == "fraction":
            assert round(said.text["fraction"] / FRACTION_STEP) >= 1
        assert said.number == 5
        return said

    yield ask
    stream.close()
    ours.close()
    thread.join(10)
    theirs.close()
    assert not thread.is_alive(), "the end of the socket is the end of the worker"


def test_the_terms_of_a_study_need_no_patient(worker, home_of_bonn):
    (home_of_bonn / "bonn.csv").unlink()
    terms = worker("look", {"n_sites": 3}).text["terms"]
    assert terms["min_sites"] == 3  # masked, as three sites are by default
    assert terms["n_rounds"] > 1


def test_a_study_that_so_few_sites_cannot_run_is_told_as_its_own_fault(worker):
    told = worker("look", {"n_sites": 1})
    assert (told.word, told.text["code"]) == ("failed", "code")
    assert "at least 2 sites" in told.text["sentence"]


def test_own_data_are_counted_for_the_site_itself(worker):
    found = worker("prepare").text
    assert found["n_patients"] == 60
    assert {check["level"] for check in found["checks"]} <= {"ok", "warn", "skipped"}


def test_what_a_worker_does_not_do_is_refused_and_it_goes_on(worker):
    assert worker("export").text["sentence"] == "a worker does not 'export'"
    assert worker("start").word == "done"


def test_an_error_is_told_by_its_kind_and_place_never_by_its_text(worker, capfd):
    told = worker("train", {"round": 1}, (Parameters({"clock": np.array([9, 9])}), Parameters()))
    assert told.word == "failed"
    assert told.text["kind"] == "error"
    assert told.text["sentence"] in ("IndexError", "KeyError")
    assert told.text["where"].startswith(("IndexError/", "KeyError/"))
    capfd.readouterr()


def test_a_bench_reads_the_table_only_when_it_is_needed(plan):
    bench = Bench({**plan, "table": "/nowhere.csv"})
    assert bench.program(("bonn", "lund")).max_rounds > 1
    assert bench.study.name == "little"
