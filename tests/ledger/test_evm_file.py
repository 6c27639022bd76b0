"""What a site keeps of an outside chain: whole stretches, the newest hashes, every call by its transaction."""

import sqlite3

import pytest

from cohortium.core.seams import Head
from cohortium.errors import LedgerError, LedgerUnreachable
from cohortium.ledger import evm_file
from cohortium.ledger.evm_file import EvmFile, KeptCall


def call(height, position=0, **changed):
    given = KeptCall(height, position, bytes([height]) * 32, 1000 + height, b"", b"raw", True, "", b"\xc0")
    return given._replace(digest=bytes([height, position]) * 16, **changed)


def head(height):
    return Head(height, bytes([height]) * 32, b"\5" * 32)


@pytest.fixture
def file(tmp_path):
    made = EvmFile.create(tmp_path / "chain.sqlite", "genesis", [call(3)], head(3))
    yield made
    made.close()


def test_what_was_kept_is_there_after_opening_again(file):
    file.append([call(5), call(5, 2, ok=False, reason="phase")], [head(4), head(5), head(6)])
    file.close()
    again = EvmFile.open(file.path)
    assert again.genesis() == "genesis"
    assert again.head() == head(6)
    assert again.calls() == [call(3), call(5), call(5, 2, ok=False, reason="phase")]
    assert again.calls(4) == again.calls()[1:]
    assert again.call_of(call(5, 2).digest).reason == "phase"
    assert again.call_of(bytes(32)) is None
    again.close()


def test_a_stretch_is_kept_as_a_whole_or_not_at_all(file):
    with pytest.raises(sqlite3.IntegrityError):
        file.append([call(5), call(5)], [head(4), head(5)])
    assert file.head() == head(3)
    assert file.calls() == [call(3)]


def test_old_hashes_are_forgotten_but_those_of_calls(file, monkeypatch):
    monkeypatch.setattr(evm_file, "_RECENT", 2)
    file.append([call(4)], [head(4)])
    file.append([], [head(5), head(6), head(7)])
    assert [file.hash_at(height) is not None for height in range(3, 9)] == [True, True, False, True, True, False]


def test_a_full_disk_stops_a_stretch_and_not_the_file(file):
    db = file._db
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(LedgerUnreachable, match="full"):
        file.append([call(5, raw=bytes(100_000))], [head(4), head(5)])
    assert file.head() == head(3)
    db.execute("PRAGMA max_page_count = 1000000")
    file.append([call(5)], [head(4), head(5)])


def test_a_file_is_begun_once_and_by_one_process(file, tmp_path):
    with pytest.raises(LedgerUnreachable, match="held by another process"):
        EvmFile.open(file.path)
    file.close()
    with pytest.raises(LedgerError, match="exists already"):
        EvmFile.create(file.path, "genesis", [call(3)], head(3))
    with pytest.raises(LedgerError, match="no such chain file"):
        EvmFile.open(tmp_path / "nowhere")
    (tmp_path / "other").write_bytes(b"")
    with pytest.raises(LedgerError, match="not a chain file of the form cohortium-evm-1"):
        EvmFile.open(tmp_path / "other")
