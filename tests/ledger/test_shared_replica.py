"""One replica for several threads: readers wait for a writer, and see whole blocks."""

import threading

import pytest

from cohortium.ledger.chain_file import IN_MEMORY
from cohortium.ledger.replica import Replica
from cohortium.ledger.shared_replica import SharedReplica


@pytest.fixture
def shared(hospitals):
    made = SharedReplica(Replica.found(IN_MEMORY, hospitals.genesis_of("local")))
    yield made
    made.close()


def test_it_reads_what_the_replica_holds(shared, hospitals):
    assert shared.head() == shared.replica.head()
    assert shared.hash_at(1) == shared.head().hash
    assert shared.hash_at(0) is shared.hash_at(2) is None
    assert shared.call("n_members", ()) == (5,)
    assert shared.nonce(hospitals.key_of("bonn").address) == 0
    assert [event.height for event in shared.events(0)] == [1] * 5
    assert len(shared.blocks(0, n=9)) == len(shared.blocks(1)) == 1
    assert shared.blocks(1, n=0) == shared.blocks(2) == []


def test_a_reader_waits_until_the_writer_is_done(shared):
    read = []
    reader = threading.Thread(target=lambda: read.append(shared.head().height))
    with shared.lock:
        reader.start()
        assert shared.head().height == 1  # the writer itself may read
        assert read == []
    reader.join(10)
    assert read == [1]
