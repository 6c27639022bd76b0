"""Signed transactions ordered by somebody else: invalid entries, wrong clocks, lost answers, dead leaders, kills."""

import random
import sqlite3
import threading
import time
from contextlib import closing

import pytest

from cohortium.core.identity import LedgerKey, keccak
from cohortium.errors import LedgerError, LedgerForked, LedgerRefused, LedgerUnreachable
from cohortium.ledger import rlp
from cohortium.ledger import transactions as made
from cohortium.ledger.archive import verify
from cohortium.ledger.blocks import read_header
from cohortium.ledger.entries import Entry, open_entry, pack_entry, sign_entry
from cohortium.ledger.etcd import EtcdClient, EtcdLog
from cohortium.ledger.replica import Replica
from cohortium.ledger.replicated import _PAGE, ReplicatedLedger
from cohortium.ledger.transactions import sign_call

STRANGER = LedgerKey.from_bytes(b"\x07" * 32)


class PlainLog:
    """The log's promise without etcd. lose: appends that are done but never answered; delay: done only later."""

    def __init__(self) -> None:
        self.entries: dict[int, bytes] = {}
        self.lose, self.delay, self.down = 0, 0, False
        self.late: list[tuple[int, bytes]] = []

    def append(self, number, entry):
        if self.down:
            raise LedgerUnreachable("down")
        if self.delay:
            self.delay -= 1
            self.late.append((number, entry))
            raise LedgerUnreachable("no answer")
        there = self.entries.setdefault(number, entry)
        if self.lose:
            self.lose -= 1
            raise LedgerUnreachable("no answer")
        return None if there == entry else there

    def arrive(self):
        """What was under way reaches the log; a number that is taken stays as it is."""
        for number, entry in self.late:
            self.entries.setdefault(number, entry)
        self.late.clear()

    def read(self, number, *, n):
        if self.down:
            raise LedgerUnreachable("down")
        return sorted(item for item in self.entries.items() if item[0] >= number)[:n]

    def close(self):
        """Nothing to let go."""


@pytest.fixture
def kit(hospitals, tmp_path):
    """One log, and a ledger for each site on it, founded when first asked for."""

    class Kit:
        def __init__(self) -> None:
            self.log = PlainLog()
            self.genesis = hospitals.genesis_of("replicated")
            self.now = dict.fromkeys(hospitals.sites, hospitals.start)
            self.ledgers = {}

        def at(self, site) -> ReplicatedLedger:
            if site not in self.ledgers:
                path = tmp_path / f"{site}.sqlite"
                replica = Replica.open(path) if path.exists() else hospitals.replica_of(self.genesis, path)
                self.ledgers[site] = ReplicatedLedger(
                    replica, log=self.log, clock=lambda: self.now[site], key=hospitals.key_of(site)
                )
            return self.ledgers[site]

        def restart(self, site) -> ReplicatedLedger:
            self.ledgers.pop(site).close()
            return self.at(site)

        def raw(self, site, function="heartbeat", *args, **changed):
            key = hospitals.key_of(site)
            given = {
                "chain_id": self.genesis.chain_id,
                "nonce": changed["nonce"] if "nonce" in changed else self.at(site).nonce(key.address),
                "contract": self.genesis.contract,
                "function": function,
                "args": args,
            }
            return sign_call(key, **{**given, **changed})

        def beat(self, site):
            return self.at(site).submit(self.raw(site))

        def write(self, packed: bytes) -> int:
            """An entry as anybody with access to etcd can write it."""
            number = len(self.log.entries) + 1
            assert self.log.append(number, packed) is None
            return number

        def entry(self, site, raw, *, signer=None, claimed_s=None, chain_id=None):
            return sign_entry(
                signer or hospitals.key_of(site),
                chain_id=chain_id or self.genesis.chain_id,
                claimed_s=self.now[site] if claimed_s is None else claimed_s,
                raw=raw,
            )

        def heads(self):
            for site in hospitals.sites:
                self.at(site).sync()
            return {self.at(site).head() for site in hospitals.sites}

        def close(self):
            for ledger in self.ledgers.values():
                ledger.close()

    made_kit = Kit()
    yield made_kit
    made_kit.close()


def last_time(ledger) -> int:
    (block,) = ledger._chain.blocks(ledger.head().height)
    return read_header(block.header).time


def gas_of(kit, site, gas):
    fields = rlp.decode(kit.raw(site))
    return made._sign(kit.hospitals_key(site), kit.genesis.chain_id, [*fields[:2], rlp.to_bytes(gas), *fields[3:6]])


# --- S9: whatever stands in the log, all replicas skip the same ------------------------------------------------


def spoiled(kit, hospitals, case) -> bytes:
    """An entry that must make no block."""
    raw = kit.raw("bonn")
    fields = rlp.decode(raw)
    bonn = hospitals.key_of("bonn")
    match case:
        case "noise":
            return b"\x93noise"
        case "no bytes":
            return b""
        case "too long":
            return bytes(made.MAX_TRANSACTION_BYTES + 1000)
        case "cut transaction":
            return kit.entry("bonn", raw[:-1])
        case "other chain":
            return kit.entry("bonn", kit.raw("bonn", chain_id=kit.genesis.chain_id + 1))
        case "no chain":
            return kit.entry("bonn", rlp.encode([*fields[:6], b"\x1b", *fields[7:]]))
        case "other contract":
            return kit.entry("bonn", kit.raw("bonn", contract=b"\1" * 20))
        case "stranger":
            place = {"chain_id": kit.genesis.chain_id, "contract": kit.genesis.contract}
            return kit.entry("bonn", sign_call(STRANGER, nonce=0, function="leave", args=(), **place), signer=STRANGER)
        case "handed on by another":
            return kit.entry("graz", raw)
        case "signature of nobody":
            return pack_entry(Entry(1, raw, bytes(65)))
        case "entry of another chain":
            return kit.entry("bonn", raw, chain_id=kit.genesis.chain_id + 1)
        case "time changed":
            return pack_entry(Entry(2**40, raw, open_entry(kit.entry("bonn", raw)).signature))
        case "number ahead":
            return kit.entry("bonn", kit.raw("bonn", nonce=5))
        case "number used":
            return kit.entry("bonn", kit.raw("bonn", "leave", nonce=0))
        case "gas":
            signed = made._sign(bonn, kit.genesis.chain_id, [*fields[:2], rlp.to_bytes(3_000_001), *fields[3:6]])
            return kit.entry("bonn", signed)
    raise AssertionError(case)


CASES = {
    "noise": "undecodable",
    "no bytes": "undecodable",
    "too long": "undecodable",
    "cut transaction": "undecodable",
    "other chain": "chain",
    "no chain": "chain",
    "other contract": "contract",
    "stranger": "stranger",
    "handed on by another": "entry",
    "signature of nobody": "entry",
    "entry of another chain": "entry",
    "time changed": "entry",
    "number ahead": "nonce",
    "number used": "nonce",
    "gas": "gas",
}


def test_s9_invalid_entries_between_good_ones_leave_every_replica_with_the_same_head(kit, hospitals):
    kit.beat("bonn")
    for case in CASES:
        kit.write(spoiled(kit, hospitals, case))
        kit.beat("graz")
    (head,) = kit.heads()
    assert head.height == 2 + len(CASES)
    for site in hospitals.sites:
        assert sorted(kit.at(site).skipped.elements()) == sorted(CASES.values())
    assert kit.at("lund").nonce(hospitals.key_of("bonn").address) == 1


@pytest.mark.parametrize(("case", "reason"), CASES.items())
def test_each_invalid_entry_is_skipped_for_its_reason(kit, hospitals, case, reason):
    kit.beat("bonn")
    kit.write(spoiled(kit, hospitals, case))
    assert not kit.at("lund").sync() or kit.at("lund").head().height == 2
    assert dict(kit.at("lund").skipped) == {reason: 1}
    assert kit.beat("bonn").height == 3


def test_reasons_come_in_the_order_of_the_design(kit, hospitals):
    """Each entry is wrong in one more way than the one before; the reason named is always the first in order."""
    bonn = hospitals.key_of("bonn")
    good = rlp.decode(kit.raw("bonn"))
    wrong_gas = [good[0], good[1], rlp.to_bytes(9), *good[3:6]]
    wrong_nonce = [rlp.to_bytes(7), *wrong_gas[1:]]
    chain = kit.genesis.chain_id
    kit.write(kit.entry("bonn", made._sign(bonn, chain, wrong_gas)))
    kit.write(kit.entry("bonn", made._sign(bonn, chain, wrong_nonce)))
    kit.write(kit.entry("graz", made._sign(bonn, chain, wrong_nonce)))
    kit.write(kit.entry("graz", made._sign(STRANGER, chain, wrong_nonce)))
    kit.write(kit.entry("graz", made._sign(STRANGER, chain + 1, wrong_nonce)))
    kit.write(kit.entry("graz", b"\0" + made._sign(STRANGER, chain + 1, wrong_nonce)))
    order = []
    take = kit.at("lund")._skip
    kit.at("lund")._skip = lambda number, reason: (order.append(reason), take(number, reason))
    kit.at("lund").sync()
    assert order == ["gas", "nonce", "entry", "stranger", "chain", "undecodable"]


def test_who_was_excluded_is_skipped_from_then_on_at_every_replica(kit, hospitals):
    for site in ("bonn", "graz", "lund", "porto"):
        kit.at(site).submit(kit.raw(site, "vote_exclude", "oslo"))
    kit.write(kit.entry("oslo", kit.raw("oslo")))
    assert len(kit.heads()) == 1
    assert dict(kit.at("bonn").skipped) == {"stranger": 1}


# --- S10: one clock in the year 2100 ---------------------------------------------------------------------------


@pytest.mark.slow
def test_s10_a_member_that_claims_the_year_2100_moves_nobodys_time(kit, hospitals):
    for site in hospitals.sites:
        kit.now[site] += 100
        kit.beat(site)
    kit.now["porto"] = 4_102_444_800
    for n in range(1, 4):
        for site in hospitals.sites:
            if site != "porto":
                kit.now[site] += 10
            kit.beat(site)
        assert hospitals.start + 100 <= last_time(kit.at("porto")) <= hospitals.start + 100 + 10 * n + 20
    run = kit.at("bonn").submit(kit.raw("bonn", "propose", keccak(b"study"), 2, 3, 3600, 60, 0, 0))
    assert run.ok
    sealed = keccak(b"sealed")
    for site in ("bonn", "graz"):
        assert kit.at(site).submit(kit.raw(site, "approve", 1, sealed)).ok
    early = kit.at("graz").submit(kit.raw("graz", "close_approvals", 1))
    assert (early.ok, early.reason) == (False, "early")  # an hour is not over
    assert len(kit.heads()) == 1


def test_block_time_follows_most_clocks_and_not_the_writers(kit, hospitals):
    for site, ahead in zip(hospitals.sites, (50, 60, 70, 80, 90), strict=True):
        kit.now[site] = hospitals.start + ahead
    times = []
    for site in hospitals.sites:
        kit.beat(site)
        times.append(last_time(kit.at(site)) - hospitals.start)
    assert times == [1, 2, 50, 60, 70]


# --- S11: another consortium's history -------------------------------------------------------------------------


def test_s11_transactions_of_another_consortium_are_no_votes_here(kit, hospitals):
    foreign = hospitals.genesis_of("replicated", ("bonn", "graz", "lund"))
    for site in ("bonn", "graz", "lund"):
        raw = sign_call(
            hospitals.key_of(site),
            chain_id=foreign.chain_id + 7,
            nonce=0,
            contract=foreign.contract,
            function="vote_exclude",
            args=("oslo",),
        )
        kit.write(kit.entry(site, raw, chain_id=foreign.chain_id + 7))
        kit.write(kit.entry(site, raw))
        same_chain = sign_call(
            hospitals.key_of(site),
            chain_id=kit.genesis.chain_id,
            nonce=0,
            contract=foreign.contract,
            function="vote_exclude",
            args=("oslo",),
        )
        kit.write(kit.entry(site, same_chain))
    (head,) = kit.heads()
    assert head.height == 1
    assert dict(kit.at("bonn").skipped) == {"chain": 6, "contract": 3}
    assert kit.beat("oslo").ok


# --- lost answers ----------------------------------------------------------------------------------------------


def test_an_append_that_was_never_answered_counts_once(kit):
    raw = kit.raw("bonn")
    kit.log.lose = 1
    with pytest.raises(LedgerUnreachable):
        kit.at("bonn").submit(raw)
    assert kit.at("bonn").submit(raw).height == 2
    assert len(kit.log.entries) == 1
    (head,) = kit.heads()
    assert head.height == 2


@pytest.mark.parametrize("arrives", ["before", "after", "never"])
@pytest.mark.parametrize("other_first", [False, True])
def test_an_append_still_under_way_is_neither_lost_nor_doubled(kit, arrives, other_first):
    raw = kit.raw("bonn")
    kit.log.delay = 1
    with pytest.raises(LedgerUnreachable):
        kit.at("bonn").submit(raw)
    if other_first:
        kit.beat("graz")
    if arrives == "before":
        kit.log.arrive()
    receipt = kit.at("bonn").submit(raw)
    if arrives == "after":
        kit.log.arrive()
    kit.beat("lund")
    (head,) = kit.heads()
    beats = [event.args["site"] for event in kit.at("oslo").events(2)]
    assert receipt.ok
    assert beats.count("bonn") == 1
    assert head.height == 3 + other_first


def test_many_writers_and_a_log_that_loses_answers_lose_nothing(kit, hospitals):
    """Four sites write at once, every third answer is lost: each transaction is in one block."""
    rng, lock = random.Random(5), threading.Lock()
    append, read = kit.log.append, kit.log.read

    def lossy(number, entry):
        with lock:
            answer = append(number, entry)
            if rng.random() < 0.33:
                raise LedgerUnreachable("no answer")
            return answer

    def locked(number, *, n):
        with lock:
            return read(number, n=n)

    kit.log.append, kit.log.read = lossy, locked
    writers = hospitals.sites[:4]
    for site in writers:
        kit.at(site)

    def beat(site):
        for nonce in range(6):
            raw = kit.raw(site, nonce=nonce)
            for _ in range(50):
                try:
                    assert kit.at(site).submit(raw).ok
                    break
                except LedgerUnreachable:
                    continue

    threads = [threading.Thread(target=beat, args=(site,)) for site in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    kit.log.append, kit.log.read = append, read
    (head,) = kit.heads()
    assert head.height == 1 + 24
    beats = [event.args["site"] for event in kit.at("porto").events(2)]
    assert {site: beats.count(site) for site in writers} == dict.fromkeys(writers, 6)


def test_an_entry_overtaken_by_another_use_of_its_number_is_refused_by_its_reason(kit, hospitals):
    """Two processes with one key: the second entry is in the log, makes no block, and its sender hears why."""
    raw = kit.raw("bonn")
    append = kit.log.append

    def overtaken(number, packed):
        kit.log.append = append
        kit.write(kit.entry("bonn", kit.raw("bonn", "leave", nonce=0)))
        return append(number + 1, packed)  # as if this entry had already been on its way to the next number

    kit.log.append = overtaken
    ledger = kit.at("bonn")
    with pytest.raises((LedgerRefused, LedgerUnreachable)):
        ledger.submit(raw)
    assert len(kit.heads()) == 1


def test_refused_before_it_is_written(kit, hospitals):
    for raw, reason in (
        (b"x", "undecodable"),
        (kit.raw("bonn", nonce=4), "nonce"),
        (kit.raw("graz"), "entry"),
        (kit.raw("bonn", contract=bytes(20)), "contract"),
    ):
        with pytest.raises(LedgerRefused) as refused:
            kit.at("bonn").submit(raw)
        assert refused.value.reason == reason
    assert kit.log.entries == {}


# --- restarts --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_replica_catches_up_over_many_pages_and_goes_on_where_it_was(kit, hospitals):
    kit.at("lund")
    for _ in range(_PAGE + 3):
        kit.beat("bonn")
        kit.beat("graz")
    again = kit.restart("lund")
    assert again.head().height == 1
    assert again.sync()
    kit.at("bonn").sync()
    assert again.head() == kit.at("bonn").head()
    kit.write(b"junk")
    kit.beat("lund")
    again = kit.restart("lund")
    assert not again.sync()  # the junk is behind the block that was kept
    assert kit.beat("lund").ok
    assert len(kit.heads()) == 1


def test_claimed_times_are_remembered_across_a_restart(kit, hospitals):
    for site in hospitals.sites:
        kit.now[site] += 500
        kit.beat(site)
    kit.restart("lund")
    for site in hospitals.sites:
        kit.now[site] += 50
        kit.beat(site)
    assert len(kit.heads()) == 1
    assert last_time(kit.at("lund")) == hospitals.start + 552  # the third of five brings the median to 550


def test_a_full_disk_stops_the_replica_at_a_whole_block_and_loses_no_entry(kit, hospitals):
    ledger = kit.at("lund")
    db = ledger._chain.replica._file._db
    for _ in range(3):
        kit.beat("bonn")
    ledger.sync()
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    full = ""
    while not full:
        kit.beat("bonn")
        try:
            ledger.sync()
        except LedgerUnreachable as error:
            full = str(error)
    assert "full" in full
    assert ledger.head().hash == kit.at("bonn").hash_at(ledger.head().height)
    db.execute("PRAGMA max_page_count = 1000000")
    assert ledger.sync()
    assert len(kit.heads()) == 1


def test_a_log_that_is_away_stops_nothing_for_good(kit):
    raw = kit.raw("bonn")
    kit.log.down = True
    for ask in (kit.at("bonn").events, kit.at("bonn").sync, lambda: kit.at("bonn").submit(raw)):
        with pytest.raises(LedgerUnreachable):
            ask()
    assert kit.at("bonn").head().height == 1
    kit.log.down = False
    assert kit.at("bonn").submit(raw).ok


# --- a log that was tampered with ------------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_a_replaced_entry_is_a_fork_with_both_as_evidence(kit, hospitals, restarted):
    kit.beat("bonn")
    mine = kit.log.entries[1]
    kit.log.entries[1] = kit.entry("bonn", kit.raw("bonn", "leave", nonce=0))
    ledger = kit.restart("bonn") if restarted else kit.at("bonn")
    with pytest.raises(LedgerForked, match="entry 1 of the log was replaced") as forked:
        ledger.sync()
    assert forked.value.evidence == (mine, kit.log.entries[1])
    assert {open_entry(one).signer(chain_id=7001) for one in forked.value.evidence} == {
        hospitals.key_of("bonn").address
    }
    assert ledger.head().height == 2


def test_an_entry_packed_in_another_way_is_the_same_entry(kit):
    kit.beat("bonn")
    packed = kit.log.entries[1]
    kit.log.entries[1] = b"\xdc\x00\x03" + packed[1:]  # an array of three, told with a longer length
    assert open_entry(kit.log.entries[1]) == open_entry(packed)
    kit.at("bonn").sync()
    assert kit.restart("bonn").head().height == 2


def test_a_log_that_lost_entries_is_waited_for_and_no_fork(kit):
    for _ in range(3):
        kit.beat("bonn")
    lost = kit.log.entries.pop(3)
    with pytest.raises(LedgerUnreachable, match="etcd lost entry 3") as error:
        kit.at("bonn").sync()
    assert "restore" in error.value.hint
    kit.log.entries[3] = lost
    assert kit.beat("bonn").ok


def test_entries_beyond_a_gap_are_not_there_until_it_is_filled(kit):
    kit.beat("bonn")
    kit.log.entries[9] = kit.entry("graz", kit.raw("graz"))
    assert kit.at("lund").sync()
    assert not kit.at("lund").sync()
    for _ in range(7):
        kit.beat("lund")
    (head,) = kit.heads()
    assert head.height == 10  # founding, bonn, seven of lund, and graz once the gap is closed
    assert kit.beat("bonn").height == 11


def test_a_rewritten_log_gives_other_heads_at_the_same_height(kit, hospitals, tmp_path):
    """S3 for this engine: a newcomer that reads a rewritten log has another hash where the others have theirs."""
    kit.beat("bonn")
    kit.beat("graz")
    kit.at("bonn").sync()
    honest = kit.at("bonn").head()
    kit.log.entries[1], kit.log.entries[2] = kit.log.entries[2], kit.log.entries[1]
    newcomer = kit.at("porto")
    newcomer.sync()
    assert newcomer.head().height == honest.height
    assert newcomer.hash_at(honest.height) != honest.hash


# --- export ----------------------------------------------------------------------------------------------------


def test_an_export_proves_claimed_times_too(kit, hospitals, tmp_path):
    for site in hospitals.sites:
        kit.now[site] += 100
        kit.beat(site)
    path = tmp_path / "ledger.jsonl"
    kit.at("bonn").sync()
    kit.at("bonn").export(path)
    proved = verify(path, consortium=kit.genesis.consortium)
    assert proved.evm
    assert proved.head == kit.at("bonn").head().hash
    assert proved.time == hospitals.start + 102  # 1, 2, 100, 101, 102
    assert not verify(path, evm=False).evm


# --- a real cluster --------------------------------------------------------------------------------------------


def open_for(cluster, genesis, hospitals, site, path) -> ReplicatedLedger:
    make = ReplicatedLedger.open if path.exists() else ReplicatedLedger.found
    given = {"clock": time.time, "key": hospitals.key_of(site), "endpoints": cluster.endpoints, "tls": cluster.tls}
    return make(path, **given) if path.exists() else make(genesis, path=path, **given)


@pytest.fixture
def own_cluster(tmp_path, etcd):
    """A cluster for a test that kills its members."""
    if reason := etcd.why_not():
        pytest.skip(reason)
    with etcd.etcd_cluster(tmp_path) as running:
        yield running


@pytest.mark.slow
def test_a_killed_leader_loses_no_transaction_and_all_replicas_agree(own_cluster, hospitals, tmp_path):
    """Four sites write; the leader of the cluster is killed in the middle, and later comes back."""
    genesis = hospitals.genesis_of("replicated")
    ledgers = {
        site: open_for(own_cluster, genesis, hospitals, site, tmp_path / f"{site}.sqlite") for site in hospitals.sites
    }
    n, written, waits = 8, dict.fromkeys(hospitals.sites[:4], 0), []
    halfway = threading.Barrier(5)

    def write(site):
        ledger, key = ledgers[site], hospitals.key_of(site)
        for nonce in range(n):
            if nonce == n // 2:
                halfway.wait(60)
            raw = sign_call(
                key,
                chain_id=ledger.chain_id,
                nonce=nonce,
                contract=ledger.contract,
                function="heartbeat",
                args=(),
            )
            start = time.monotonic()
            while True:
                try:
                    assert ledger.submit(raw).ok
                    break
                except LedgerUnreachable:
                    continue
            waits.append(time.monotonic() - start)
            written[site] += 1

    threads = [threading.Thread(target=write, args=(site,)) for site in written]
    for thread in threads:
        thread.start()
    halfway.wait(60)
    killed = own_cluster.leader()
    own_cluster.kill(killed)
    for thread in threads:
        thread.join(60)
    assert written == dict.fromkeys(written, n)
    own_cluster.start(killed)
    own_cluster.wait()
    for ledger in ledgers.values():
        ledger.sync()
    heads = {ledger.head() for ledger in ledgers.values()}
    assert len(heads) == 1  # height, hash and state root
    assert heads.pop().height == 1 + 4 * n
    beats = [event.args["site"] for event in ledgers["porto"].events(2)]
    assert {site: beats.count(site) for site in written} == written
    assert max(waits) < 15
    for ledger in ledgers.values():
        ledger.close()


def test_without_a_majority_nothing_is_written_and_all_goes_on_with_it(own_cluster, hospitals, tmp_path):
    genesis = hospitals.genesis_of("replicated")
    replica = Replica.found(tmp_path / "bonn.sqlite", genesis)
    log = EtcdLog(EtcdClient(own_cluster.endpoints, tls=own_cluster.tls, deadline_s=1.0, attempt_s=0.4), name="x")
    ledger = ReplicatedLedger(replica, log=log, clock=time.time, key=hospitals.key_of("bonn"))
    raw = sign_call(
        hospitals.key_of("bonn"),
        chain_id=genesis.chain_id,
        nonce=0,
        contract=genesis.contract,
        function="heartbeat",
        args=(),
    )
    for name in ("n1", "n2"):
        own_cluster.kill(name)
    with pytest.raises(LedgerUnreachable, match="no server of etcd answered"):
        ledger.submit(raw)
    assert ledger.head().height == 1
    for name in ("n1", "n2"):
        own_cluster.start(name)
    own_cluster.wait()
    assert ledger.submit(raw).height == 2
    assert len(log.read(1, n=9)) == 1
    ledger.close()


def test_founding_and_opening_over_tls_find_the_same_log(cluster, hospitals, tmp_path):
    genesis = hospitals.genesis_of("replicated", ("bonn", "graz"))
    first = open_for(cluster, genesis, hospitals, "bonn", tmp_path / "bonn.sqlite")
    key = hospitals.key_of("bonn")
    raw = sign_call(
        key,
        chain_id=genesis.chain_id,
        nonce=first.nonce(key.address),
        contract=genesis.contract,
        function="heartbeat",
        args=(),
    )
    height = first.submit(raw).height
    head = first.head()
    first.close()
    again = open_for(cluster, genesis, hospitals, "bonn", tmp_path / "bonn.sqlite")
    other = open_for(cluster, genesis, hospitals, "graz", tmp_path / "graz.sqlite")
    assert again.head() == head
    assert other.sync()
    assert other.head() == head
    assert other.hash_at(height) == head.hash
    for one in (again, other):
        one.close()


def test_a_chain_file_without_its_entries_is_refused(kit, hospitals, tmp_path):
    kit.beat("bonn")
    kit.ledgers.pop("bonn").close()
    with closing(sqlite3.connect(tmp_path / "bonn.sqlite")) as db:
        db.execute("DROP TABLE entries")
    with pytest.raises(LedgerError):
        kit.at("bonn")


def test_reading_what_is_here_waits_for_no_answer_of_the_log(kit):
    ledger, asked, answered = kit.at("bonn"), threading.Event(), threading.Event()
    read = kit.log.read

    def slowly(number, *, n):
        asked.set()
        assert answered.wait(20)
        return read(number, n=n)

    kit.log.read = slowly
    syncing = threading.Thread(target=ledger.sync)
    syncing.start()
    assert asked.wait(20)
    head = ledger.head()
    assert ledger.hash_at(head.height) == head.hash
    answered.set()
    syncing.join(20)
