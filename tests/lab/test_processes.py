import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cohortium.errors import CohortiumError
from cohortium.lab.processes import children_of, spawn

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]

HEADLESS = [
    sys.executable,
    "-c",
    "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); print('up', flush=True); "
    "ctypes.CDLL(None).pthread_exit(None)",
]


@pytest.fixture
def start(tmp_path):
    started = []

    def one(command, name="porto"):
        started.append(spawn("site", name, command, log=tmp_path / f"{name}.log", cwd=tmp_path))
        return started[-1]

    yield one
    for proc in started:
        proc.send(signal.SIGKILL)
        proc.wait(timeout_s=5)


def until_up(proc, log):
    while log.read_text() != "up\n":
        assert proc.is_alive


def test_a_process_is_alive_until_it_is_ended_and_its_log_is_private(start, tmp_path):
    proc = start(SLEEP)
    until_up(proc, tmp_path / "porto.log")
    assert proc.is_alive
    proc.end()
    assert not proc.is_alive
    assert not proc.send(signal.SIGTERM)
    assert (tmp_path / "porto.log").stat().st_mode & 0o077 == 0


def test_one_that_does_not_stop_when_asked_is_made_to(start, tmp_path):
    proc = start(STUBBORN)
    until_up(proc, tmp_path / "porto.log")
    proc.end(patience_s=0.2)
    assert not proc.is_alive


def test_one_whose_first_thread_has_ended_still_holds_its_sockets_and_is_alive(start, tmp_path):
    proc = start(HEADLESS)
    until_up(proc, tmp_path / "porto.log")
    state = Path(f"/proc/{proc.pid}/stat")
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        assert proc.is_alive
    assert proc.is_alive
    assert proc.send(signal.SIGKILL)
    assert proc.wait(timeout_s=5)


def test_one_that_is_frozen_is_alive_and_can_be_ended(start, tmp_path):
    proc = start(STUBBORN)
    until_up(proc, tmp_path / "porto.log")
    proc.send(signal.SIGSTOP)
    assert proc.is_alive
    assert not proc.wait(timeout_s=0.1)
    proc.end(patience_s=0.2)
    assert not proc.is_alive


def test_another_process_with_the_same_number_is_left_alone(start, tmp_path):
    proc = start(SLEEP)
    until_up(proc, tmp_path / "porto.log")
    former = msgspec.structs.replace(proc, birth="1@0")
    assert not former.is_alive
    assert not former.send(signal.SIGKILL)
    former.end()
    assert proc.is_alive


def test_what_cannot_be_started_is_said_with_its_command(tmp_path):
    with pytest.raises(CohortiumError, match="cannot start etcd 'n1': No such file"):
        spawn("etcd", "n1", ["/no/such/etcd"], log=tmp_path / "log", cwd=tmp_path)


def test_children_are_found_by_a_word_of_their_command():
    with subprocess.Popen([sys.executable, "-c", "input()", "word-of-the-test"], stdin=subprocess.PIPE) as child:
        assert children_of(os.getpid(), word="word-of-the-test") == [child.pid]
        assert children_of(child.pid, word="word-of-the-test") == []
        assert children_of(os.getpid(), word="another-word-of-the-test") == []
        child.communicate(b"\n")
