"""The embedded EVM: each fact that running it taught, and what a kill leaves behind."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from eth_keys import KeyAPI
from eth_keys.backends import CoinCurveECCBackend

from cohortium.errors import LedgerError, LedgerRefused, LedgerUnreachable
from cohortium.ledger import rlp
from cohortium.ledger.blocks import read_header
from cohortium.ledger.chain_file import IN_MEMORY, ChainFile
from cohortium.ledger.local import LocalLedger
from cohortium.ledger.replica import Replica
from cohortium.ledger.transactions import sign_call

GAS_LIMIT, GAS_USED, BASE_FEE, DIFFICULTY, TIME = 9, 10, 15, 7, 11


def header_field(header: bytes, index: int) -> int:
    return rlp.number(rlp.decode(header)[index])


def test_a_second_start_opens_the_stored_head_and_never_the_genesis(local):
    local.put("bonn", "heartbeat")
    head = local.ledger.head()
    local.ledger.close()
    again = LocalLedger.open(local.path, clock=local.clock)
    assert again.head() == head
    assert again.head().height == 2
    local.ledger = again
    assert local.put("graz", "heartbeat").height == 3


def test_founding_over_a_chain_is_refused(local):
    with pytest.raises((LedgerError, LedgerUnreachable)):
        Replica.found(local.path, local.genesis)
    local.ledger.close()
    with pytest.raises(LedgerError, match="exists already"):
        Replica.found(local.path, local.genesis)


def test_signatures_are_checked_by_coincurve_and_not_in_python():
    assert isinstance(KeyAPI().backend, CoinCurveECCBackend)


def test_a_block_is_one_write_transaction(local):
    said = []
    local.ledger._replica._file._db.set_trace_callback(said.append)
    local.put("bonn", "heartbeat")
    local.put("graz", "approve", 7, bytes(32))
    local.ledger._replica._file._db.set_trace_callback(None)
    marks = [text for text in said if text.split()[0] in ("BEGIN", "COMMIT", "ROLLBACK")]
    assert marks == ["BEGIN IMMEDIATE", "COMMIT"] * 2
    writes = [at for at, text in enumerate(said) if text.startswith("INSERT")]
    assert len(writes) > 10
    assert writes[0] > said.index("BEGIN IMMEDIATE")


def test_neither_web3_nor_eth_tester_is_loaded():
    unwanted = {"web3", "eth_tester", "eth_abi", "torch"}
    code = f"import sys, cohortium.ledger.local; print(sorted({unwanted} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_contract_sees_the_time_that_was_set_before_applying(local, hospitals):
    local.clock.now = hospitals.start + 12_345
    local.put("bonn", "heartbeat")
    (block,) = local.ledger._replica.blocks(2)
    assert read_header(block.header).time == hospitals.start + 12_345
    assert local.last_seen("bonn") == hospitals.start + 12_345


def test_time_never_goes_back(local, hospitals):
    raw = local.sign("bonn", "heartbeat")
    with pytest.raises(LedgerError, match="is not later than"):
        local.ledger._replica.apply(raw, time=hospitals.start)
    assert local.ledger.submit(raw).ok


def test_py_evm_takes_transactions_of_other_chains_and_the_engine_does_not(local):
    """Why the engine checks the chain id itself: votes could be replayed from another consortium."""
    foreign = local.sign("bonn", "heartbeat", chain_id=local.ledger.chain_id + 1)
    chain = local.ledger._replica._chain
    transaction = chain.get_vm().get_transaction_builder().decode(foreign)
    transaction.validate()
    _, _, computation = chain.apply_transaction(transaction)
    assert computation.is_success
    chain.header = chain.ensure_header(None)
    with pytest.raises(LedgerRefused, match="chain"):
        local.ledger.submit(foreign)


def test_nobody_pays_and_the_limits_stay_however_long_the_chain(local):
    for _ in range(20):
        local.put("bonn", "heartbeat")
    headers = [block.header for block in local.ledger._replica.blocks()]
    assert {header_field(header, GAS_LIMIT) for header in headers} == {100_000_000}
    assert {header_field(header, BASE_FEE) for header in headers} == {0}
    assert {header_field(header, DIFFICULTY) for header in headers} == {0}


def test_as_many_founders_as_a_consortium_may_have_fit_under_half_a_block(hospitals):
    """Above half the gas limit the base fee would rise, and nobody here has ether."""
    sites = tuple(f"site-{i:03d}" for i in range(128))
    replica = Replica.found(IN_MEMORY, hospitals.genesis_of("local", sites))
    (block,) = replica.blocks()
    assert header_field(block.header, GAS_USED) < 50_000_000
    assert len(block.events) == 128
    key = hospitals.key_of("site-127")
    raw = sign_call(
        key,
        chain_id=hospitals.chain_id,
        nonce=0,
        contract=replica.genesis.contract,
        function="heartbeat",
        args=(),
    )
    assert replica.apply(raw, time=hospitals.start + 1).ok
    replica.close()


def test_reading_needs_no_account_and_leaves_no_trace(local):
    before = local.ledger.head()
    for _ in range(3):
        assert local.ledger.call("n_members") == (5,)
    assert local.ledger.nonce(bytes(20)) == 0
    assert local.ledger.head() == before


def test_the_same_transactions_at_the_same_times_give_the_same_headers(local):
    local.put("bonn", "heartbeat")
    local.put("graz", "approve", 7, bytes(32))
    local.put("lund", "heartbeat")
    other = Replica.found(IN_MEMORY, local.genesis)
    for block in list(local.ledger._replica.blocks(2)):
        other.apply(block.raw, time=read_header(block.header).time)
    assert [b.header for b in other.blocks()] == [b.header for b in local.ledger._replica.blocks()]
    assert other.head() == local.ledger.head()
    other.close()


def test_a_full_disk_stops_a_block_and_not_the_chain(local):
    db = local.ledger._replica._file._db
    head = local.ledger.head()
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    full = None
    while full is None:
        try:
            local.put("bonn", "heartbeat")
            head = local.ledger.head()
        except LedgerUnreachable as error:
            full = str(error)
    assert "full" in full
    assert local.ledger.head() == head
    db.execute("PRAGMA max_page_count = 1000000")
    assert local.put("bonn", "heartbeat").height == head.height + 1


def test_state_and_blocks_that_do_not_belong_together_are_noticed(local):
    local.put("bonn", "heartbeat")
    local.ledger.close()
    file = ChainFile.open(local.path)
    file._db.execute("DELETE FROM blocks WHERE height = 2")
    file.close()
    with pytest.raises(LedgerError, match="do not belong together"):
        Replica.open(local.path)


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM nodes",
        "UPDATE about SET value = '{}' WHERE name = 'genesis'",
        "UPDATE about SET value = 'x' WHERE name = 'genesis'",
        "DROP TABLE blocks",
    ],
)
def test_a_harmed_file_is_refused_and_let_go(local, harm):
    local.ledger.close()
    file = ChainFile.open(local.path)
    file._db.execute(harm)
    file.close()
    with pytest.raises(LedgerError, match="cannot be used"):
        Replica.open(local.path)
    ChainFile.open(local.path).close()


WRITER = """
    import os, signal, sys
    from pathlib import Path
    from cohortium.core.identity import LedgerKey, keccak
    from cohortium.ledger.local import LocalLedger
    from cohortium.ledger.transactions import sign_call

    path, die_at = Path(sys.argv[1]), int(sys.argv[2])
    ledger = LocalLedger.open(path, clock=lambda: 1_800_000_000)
    key = LedgerKey.from_bytes(keccak(b"bonn"))
    file = ledger._replica._file
    writes, write = 0, file.write

    def counting(*args):
        global writes
        writes += 1
        if writes == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        write(*args)

    file.write = counting
    while True:
        raw = sign_call(key, chain_id=ledger.chain_id, nonce=ledger.nonce(key.address),
                        contract=ledger.contract, function="heartbeat", args=())
        print(ledger.submit(raw).height, flush=True)
"""


def killed_writer(path: Path, die_at: int, *, after_blocks: int = 0) -> int:
    """Run the writer until it dies in the middle of a block, or kill it from outside; the last height it told."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(die_at)], stdout=subprocess.PIPE, text=True
    )
    told = 1
    for line in process.stdout:
        told = int(line)
        if after_blocks and told > after_blocks:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    return told


def honest(genesis, n_blocks: int, hospitals) -> Replica:
    replica = Replica.found(IN_MEMORY, genesis)
    key = hospitals.key_of("bonn")
    for nonce in range(n_blocks):
        raw = sign_call(
            key,
            chain_id=genesis.chain_id,
            nonce=nonce,
            contract=genesis.contract,
            function="heartbeat",
            args=(),
        )
        replica.apply(raw, time=hospitals.start + 1 + nonce)
    return replica


@pytest.mark.parametrize("die_at", [1, 40])
def test_killed_in_the_middle_of_a_block_the_chain_goes_on_where_it_was(local, hospitals, die_at):
    local.ledger.close()
    told = killed_writer(local.path, die_at)
    local.ledger = LocalLedger.open(local.path, clock=lambda: hospitals.start)
    assert local.ledger.head().height == told  # what was told is there, what was not is not
    local.put("bonn", "heartbeat")
    assert local.ledger.head() == honest(local.genesis, told, hospitals).head()


def test_killed_from_outside_at_any_moment_whole_blocks_are_left(local, hospitals):
    local.ledger.close()
    told = killed_writer(local.path, 0, after_blocks=15)
    local.ledger = LocalLedger.open(local.path, clock=lambda: hospitals.start)
    assert local.ledger.head().height >= told
    local.put("bonn", "heartbeat")
    assert local.ledger.head() == honest(local.genesis, local.ledger.head().height - 1, hospitals).head()
