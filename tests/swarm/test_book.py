"""Books of privacy spending: both kinds alike, the one on disk also over processes, kills and full disks."""

import errno
import os
import sqlite3
import stat
import subprocess
import sys

import pytest

from cohortium.core.spending import DataVersion, Entry, MechanismEvent
from cohortium.swarm.book import DiskBook, MemoryBook
from cohortium.swarm.store import StoreBroken


def entry(round=1, state="reserved", **facts) -> Entry:
    events = (MechanismEvent.poisson_gaussian(q=0.1, sigma=2.5, count=30),)
    return Entry(**{"dataset": "ab" * 32, "run": "c/1", "round": round, "state": state, "events": events, **facts})


@pytest.fixture(params=["memory", "disk"])
def book(request, tmp_path):
    made = MemoryBook() if request.param == "memory" else DiskBook(tmp_path / "node" / "budget.sqlite")
    yield made
    made.close()


def test_a_newer_line_takes_precedence_and_the_order_stays(book) -> None:
    for one in (entry(1), entry(2), entry(1, "spent")):
        with book.exclusive():
            book.write(one)
    assert book.entries() == (entry(1, "spent"), entry(2))


def test_versions_come_back_oldest_first_with_their_patients(book) -> None:
    known = DataVersion(handle="ab" * 32, commitment=b"x", patients=frozenset({b"p", b"q"}))
    unknown = DataVersion(handle="cd" * 32, commitment=b"y")
    with book.exclusive():
        book.add_version(known)
        book.add_version(unknown)
    assert book.versions() == (known, unknown)


def test_what_fails_in_the_middle_leaves_nothing(book) -> None:
    def fails():
        with book.exclusive():
            book.write(entry())
            book.add_version(DataVersion(handle="ab" * 32, commitment=b"x"))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert book.entries() == ()
    assert book.versions() == ()
    with book.exclusive():
        book.write(entry())
    assert book.entries() == (entry(),)


def test_a_book_on_disk_is_its_owners_alone_and_survives(tmp_path) -> None:
    path = tmp_path / "budget.sqlite"
    first = DiskBook(path)
    with first.exclusive():
        first.write(entry())
    second = DiskBook(path)
    assert second.entries() == (entry(),)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with second.exclusive():
        second.write(entry(state="spent"))
    assert first.entries() == (entry(state="spent"),)
    assert len(list(sqlite3.connect(path).execute("SELECT 1 FROM entries"))) == 2, "nothing is overwritten"
    first.close()
    second.close()


def test_a_process_killed_inside_a_transaction_has_written_nothing(tmp_path) -> None:
    path = tmp_path / "budget.sqlite"
    program = (
        "import os, sys; from pathlib import Path; from cohortium.swarm.book import DiskBook\n"
        "from cohortium.core.spending import DataVersion\n"
        "book = DiskBook(Path(sys.argv[1]))\n"
        "with book.exclusive():\n"
        "    book.add_version(DataVersion(handle='ab' * 32, commitment=b'kept'))\n"
        "with book.exclusive():\n"
        "    book.add_version(DataVersion(handle='cd' * 32, commitment=b'lost'))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False, env=dict(os.environ))
    assert done.returncode == -9
    book = DiskBook(path)
    assert [version.commitment for version in book.versions()] == [b"kept"]
    book.close()


def test_a_full_disk_is_said_in_words(tmp_path) -> None:
    book = DiskBook(tmp_path / "budget.sqlite")
    with pytest.raises(StoreBroken) as caught, book.exclusive():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.code == "disk"
    book.close()
