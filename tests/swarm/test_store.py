import contextlib
import errno
import os
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest

from cohortium.core.frames import pack, parameters_of
from cohortium.core.parameters import Parameters
from cohortium.swarm.actions import Fact
from cohortium.swarm.store import DiskStore, MemoryStore, StoreBroken

ARRAYS = Parameters({"w": np.arange(5.0)})
FACTS = (
    Fact(kind="consent", run=1, digest=b"c" * 32, data=b"n" * 32, number=1),
    Fact(kind="started", run=2),
    Fact(kind="trained", run=1, round=3, digest=b"d" * 32, memory=b"m" * 32, number=77, data=bytes(8)),
    Fact(kind="survivors", run=1, round=3, attempt=2, term=1, step="survivors", data=b"\xff" * 32),
)


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    made = MemoryStore() if request.param == "memory" else DiskStore(tmp_path)
    yield made
    made.close()


def test_facts_come_back_by_run_in_order(store) -> None:
    for fact in FACTS:
        store.add(fact)
    assert store.facts(1) == (FACTS[0], FACTS[2], FACTS[3])
    assert store.facts(2) == (FACTS[1],)
    assert store.facts(3) == ()


def test_payload_comes_back_by_digest_until_it_is_let_go(store) -> None:
    packed = pack(ARRAYS, {"site": "porto"})
    assert store.get(packed.digest) is None
    store.put(packed)
    store.put(packed)
    again = store.get(packed.digest)
    assert again is not None
    assert parameters_of(again) == (ARRAYS, {"site": "porto"})
    store.let_go([packed.digest, b"\0" * 32])
    assert store.get(packed.digest) is None


def test_secrets_come_back_until_their_round_is_burnt(store) -> None:
    secrets = {round: pack(Parameters({"root": np.full(4, round)})) for round in (1, 2, 3)}
    for round, secret in secrets.items():
        store.hide(secret, run=1, round=round)
        store.hide(secret, run=1, round=round)
    assert store.reveal(secrets[2].digest, run=1, round=2).digest == secrets[2].digest
    assert store.reveal(secrets[2].digest, run=1, round=3) is None
    assert store.get(secrets[2].digest) is None
    store.burn(run=2, upto=9)
    store.burn(run=1, upto=2)
    found = [store.reveal(secret.digest, run=1, round=round) for round, secret in secrets.items()]
    assert [one is not None for one in found] == [False, False, True]
    assert store.reveal(b"x" * 32, run=1, round=3) is None


def test_no_byte_of_a_secret_lies_in_any_file_before_or_after_it_is_burnt(tmp_path) -> None:
    def on_disk():
        return b"".join(path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file())

    store, root = DiskStore(tmp_path), os.urandom(32)
    secret = pack(Parameters({"root": np.frombuffer(root, np.uint8)}))
    store.hide(secret, run=1, round=1)
    store.add(Fact(kind="stepped", run=1, round=1, step="keys", memory=secret.digest))
    store.close()
    again = DiskStore(tmp_path)
    assert again.reveal(secret.digest, run=1, round=1).body == secret.body
    assert root not in on_disk()
    with contextlib.closing(sqlite3.connect(tmp_path / "node.sqlite")) as rows:
        (key,) = rows.execute("SELECT key FROM keys").fetchone()
    assert key in on_disk()
    again.burn(run=1, upto=1)
    assert key not in on_disk()
    assert root not in on_disk()
    assert again.facts(1)[0].memory == secret.digest
    again.put(pack(Parameters({"root": np.frombuffer(root, np.uint8)})))  # the other side: what `put` writes is found
    assert root in on_disk()
    again.close()


def test_everything_is_there_for_the_next_process(tmp_path) -> None:
    first = DiskStore(tmp_path)
    for fact in FACTS:
        first.add(fact)
    first.put(pack(ARRAYS))
    second = DiskStore(tmp_path)  # the first was killed: never closed
    assert second.facts(1) == first.facts(1)
    assert second.get(ARRAYS.digest) is not None
    for one in (first, second):
        one.close()


def test_blob_that_no_longer_hashes_to_its_name_counts_as_lost(tmp_path) -> None:
    store = DiskStore(tmp_path)
    store.put(pack(ARRAYS))
    (path,) = [p for p in (tmp_path / "blobs").rglob("*") if p.is_file()]
    assert path.parent.name + path.name == ARRAYS.digest.hex()
    spoilt = bytearray(path.read_bytes())
    spoilt[-1] ^= 1
    path.write_bytes(bytes(spoilt))
    assert store.get(ARRAYS.digest) is None
    path.write_bytes(bytes(spoilt[:10]))
    assert store.get(ARRAYS.digest) is None
    store.close()


def test_half_written_blob_is_never_seen_and_files_are_private(tmp_path, monkeypatch) -> None:
    store = DiskStore(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "disk full")))
        with pytest.raises(StoreBroken, match="disk full") as raised:
            store.put(pack(ARRAYS))
    assert raised.value.code == "disk"
    assert store.get(ARRAYS.digest) is None
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == [], "no draft takes the room"
    store.put(pack(ARRAYS))
    for path in [tmp_path / "node.sqlite", *(p for p in (tmp_path / "blobs").rglob("*") if p.is_file())]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
    store.close()


def test_a_payload_in_a_new_folder_is_found_after_a_power_cut(tmp_path, monkeypatch) -> None:
    """The folder's own name must be on disk, too, before a fact is told that rests on the payload in it."""
    synced, sync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(str(Path(f"/proc/self/fd/{handle}").readlink())), sync(handle))
    )
    store, payload = DiskStore(tmp_path), pack(Parameters({"w": np.ones(2)}))
    store.put(payload)
    assert str(tmp_path / "blobs") in synced
    store.close()


def test_facts_are_synced_in_a_write_ahead_log(tmp_path) -> None:
    store = DiskStore(tmp_path)
    assert store._rows.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._rows.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "disk"), (errno.EROFS, "path_readonly"), (errno.EACCES, "path_readonly"), (errno.EIO, "error")],
)
def test_what_the_system_refuses_is_said_with_path_fix_and_a_code_for_the_peers(number, code) -> None:
    broken = StoreBroken(OSError(number, os.strerror(number), "/srv/node/blobs"))
    assert broken.code == code
    assert str(broken) == f"'/srv/node/blobs' cannot be written: {os.strerror(number)}"
    assert broken.hint.endswith("the node goes on by itself")


def test_facts_that_sqlite_cannot_write_are_told_as_a_broken_store_and_come_again(tmp_path) -> None:
    store = DiskStore(tmp_path)
    store._rows.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreBroken) as raised:
        store.add(Fact(kind="started", run=1, data=bytes(100_000)))
    assert raised.value.code == "disk"
    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
    store._rows.execute("PRAGMA max_page_count = 100000")
    store.add(FACTS[1])
    assert store.facts(2) == (FACTS[1],)
    store._rows.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreBroken) as raised:
        store.add(FACTS[1])
    assert raised.value.code == "path_readonly"
    store.close()
