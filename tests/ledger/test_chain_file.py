"""The chain's file: whole blocks or nothing, one process at a time."""

import sqlite3
import subprocess
import sys

import pytest

from cohortium.errors import LedgerError, LedgerUnreachable
from cohortium.ledger.chain_file import IN_MEMORY, ChainFile, Row

ROW = Row(b"header", b"raw", True, "", b"\xc0")


@pytest.fixture
def laid(tmp_path):
    path = tmp_path / "chain.sqlite"
    file = ChainFile.create(path)
    with file.block():
        file.lay("genesis text")
    yield file
    file.close()


def test_what_was_written_is_there_after_opening_again(laid):
    with laid.block():
        laid.write(b"k", b"v")
        laid.write(b"gone", b"v")
        laid.delete(b"gone")
        laid.append(1, ROW)
        laid.append(2, ROW._replace(ok=False, reason="phase"))
    laid.close()
    again = ChainFile.open(laid.path)
    assert again.genesis() == "genesis text"
    assert again.read(b"k") == b"v"
    assert again.read(b"gone") is None
    assert again.rows() == [(1, ROW), (2, ROW._replace(ok=False, reason="phase"))]
    assert again.rows(2) == [(2, ROW._replace(ok=False, reason="phase"))]
    again.close()


def test_a_block_that_fails_leaves_nothing(laid):
    def half_a_block():
        with laid.block():
            laid.write(b"k", b"v")
            laid.append(1, ROW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half_a_block()
    assert laid.read(b"k") is None
    assert laid.rows() == []


def test_a_height_is_written_once(laid):
    with laid.block():
        laid.append(1, ROW)
    with pytest.raises(sqlite3.IntegrityError), laid.block():
        laid.append(1, ROW)


def test_the_file_is_set_to_survive_a_power_cut(laid):
    assert laid._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert laid._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_second_process_is_told_who_is_in_the_way(laid):
    code = (
        "import sys; from pathlib import Path\n"
        "from cohortium.ledger.chain_file import ChainFile\n"
        "from cohortium.errors import LedgerUnreachable\n"
        "try: ChainFile.open(Path(sys.argv[1]))\n"
        "except LedgerUnreachable as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code, laid.path], capture_output=True, text=True, check=True).stdout
    assert said.strip() == f"{laid.path} is held by another process"


def test_a_full_disk_is_said_and_the_file_goes_on(laid):
    pages = laid._db.execute("PRAGMA page_count").fetchone()[0]
    laid._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerUnreachable, match="cannot be written: database or disk is full"), laid.block():
        laid.write(b"k", bytes(100_000))
    laid._db.execute("PRAGMA max_page_count = 100000")
    with laid.block():
        laid.write(b"k", bytes(100_000))
    assert laid.read(b"k") == bytes(100_000)


def test_an_existing_chain_is_never_founded_over(laid):
    laid.close()
    with pytest.raises(LedgerError, match="exists already"):
        ChainFile.create(laid.path)


def test_what_a_killed_founding_left_is_used_again(tmp_path):
    path = tmp_path / "chain.sqlite"
    ChainFile.create(path).close()
    with pytest.raises(LedgerError, match="is not a chain file"):
        ChainFile.open(path)
    again = ChainFile.create(path)
    with again.block():
        again.lay("g")
    assert again.genesis() == "g"
    again.close()


@pytest.mark.parametrize("content", [b"not a database at all, but text long enough to look like one" * 20, b""])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "chain.sqlite"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="is not a chain file"):
        ChainFile.open(path)
    assert not content or path.read_bytes() == content


def test_a_missing_file_or_folder_is_named(tmp_path):
    with pytest.raises(LedgerError, match="no such chain file"):
        ChainFile.open(tmp_path / "chain.sqlite")
    with pytest.raises(LedgerUnreachable, match="cannot be opened"):
        ChainFile.create(tmp_path / "nowhere" / "chain.sqlite")


def test_a_chain_can_live_in_memory():
    file = ChainFile.create(IN_MEMORY)
    with file.block():
        file.lay("g")
    assert file.genesis() == "g"
    file.close()
