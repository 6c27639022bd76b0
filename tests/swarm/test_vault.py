import sqlite3

import pytest

from cohortium.swarm.vault import Vault


@pytest.fixture
def rows(tmp_path):
    connection = sqlite3.connect(tmp_path / "node.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    yield connection
    connection.close()


def on_disk(folder) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_what_was_sealed_opens_in_its_round_only_and_says_nothing_outside(rows) -> None:
    vault = Vault(rows)
    sealed = vault.seal(b"root" * 8, run=1, round=3)
    assert b"root" not in sealed
    assert vault.open(sealed, run=1, round=3) == b"root" * 8
    vault.seal(b"", run=1, round=4)
    for run, round in ((1, 4), (2, 3), (1, 9)):
        assert vault.open(sealed, run=run, round=round) is None
    assert vault.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), run=1, round=3) is None
    assert vault.open(b"", run=1, round=3) is None


def test_a_key_serves_its_round_across_restarts_and_every_seal_differs(rows) -> None:
    first, second = Vault(rows).seal(b"a", run=1, round=1), Vault(rows).seal(b"a", run=1, round=1)
    assert first != second
    assert Vault(rows).open(first, run=1, round=1) == Vault(rows).open(second, run=1, round=1) == b"a"


def test_burnt_keys_are_on_no_page_and_in_no_log_and_later_rounds_stay(rows, tmp_path) -> None:
    vault = Vault(rows)
    sealed = {round: vault.seal(b"secret", run=1, round=round) for round in (1, 2, 3)}
    other = vault.seal(b"secret", run=2, round=1)
    keys = dict(rows.execute("SELECT round, key FROM keys WHERE run = 1"))
    assert all(key in on_disk(tmp_path) for key in keys.values())
    vault.burn(run=1, upto=2)
    assert [keys[round] in on_disk(tmp_path) for round in (1, 2, 3)] == [False, False, True]
    assert [vault.open(sealed[round], run=1, round=round) for round in (1, 2, 3)] == [None, None, b"secret"]
    assert vault.open(other, run=2, round=1) == b"secret"
    vault.burn(run=1, upto=2)


def test_without_secure_delete_the_key_would_still_be_found(rows, tmp_path) -> None:
    """The other side: what the pragma and the emptied log are for."""
    vault = Vault(rows)
    vault.seal(b"secret", run=1, round=1)
    (key,) = rows.execute("SELECT key FROM keys").fetchone()
    rows.execute("DELETE FROM keys")
    assert key in on_disk(tmp_path)
