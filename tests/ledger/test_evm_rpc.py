"""The contract on a chain outside: what a node may withhold, what it cannot invent, and what several senders do."""

import json
import sqlite3
import threading
import time

import pytest

from cohortium.core.identity import keccak
from cohortium.errors import LedgerError, LedgerForked, LedgerRefused, LedgerUnreachable
from cohortium.ledger import json_rpc, rlp
from cohortium.ledger import transactions as made
from cohortium.ledger.evm_rpc import EvmRpcLedger
from cohortium.ledger.json_rpc import RpcLog
from cohortium.ledger.transactions import sign_call


@pytest.fixture
def kit(node, hospitals, tmp_path):
    """Ledgers of sites on one node, founded when first asked for."""
    node.begin()
    node.next_time(hospitals.start)

    class Kit:
        def __init__(self) -> None:
            self.node, self.genesis = node, hospitals.genesis_of("evm-rpc")
            self.ledgers = {}

        def at(self, site) -> EvmRpcLedger:
            if site not in self.ledgers:
                path, given = tmp_path / f"{site}.sqlite", {"clock": time.time, "endpoints": [node.url]}
                self.ledgers[site] = (
                    EvmRpcLedger.open(path, **given)
                    if path.exists()
                    else EvmRpcLedger.found(self.genesis, path=path, **given)
                )
            return self.ledgers[site]

        def restart(self, site) -> EvmRpcLedger:
            self.ledgers.pop(site).close()
            return self.at(site)

        def raw(self, site, function="heartbeat", *args, **changed):
            key = hospitals.key_of(site)
            nonce = changed.pop("nonce") if "nonce" in changed else self.at("bonn").nonce(key.address)
            place = {"chain_id": self.genesis.chain_id, "contract": self.genesis.contract}
            return sign_call(key, nonce=nonce, function=function, args=args, **{**place, **changed})

        def odd(self, site, **fields):
            """A heartbeat in a form that cohortium does not write."""
            items = dict(
                zip(("nonce", "price", "gas", "to", "value", "data"), rlp.decode(self.raw(site)), strict=False)
            )
            return made._sign(hospitals.key_of(site), self.genesis.chain_id, [*{**items, **fields}.values()])

        def send(self, raw):
            """Past the engine, as anybody with access to the node can; returns when it is in a block."""
            digest = self.hand(raw)
            until = time.monotonic() + 10
            while node.rpc("eth_getTransactionReceipt", digest) is None:
                assert time.monotonic() < until
                time.sleep(0.005)

        def hand(self, raw):
            """Past the engine, into the node's pool."""
            return node.rpc("eth_sendRawTransaction", "0x" + raw.hex())

        def beat(self, site):
            return self.at(site).submit(self.raw(site))

    made_kit = Kit()
    yield made_kit
    for ledger in made_kit.ledgers.values():
        ledger.close()
    node.rpc("evm_setAutomine", True)


class Bent:
    """A client of a node, some of whose answers a test bends."""

    def __init__(self, rpc, **bent) -> None:
        self._rpc, self._bent = rpc, bent

    def __getattr__(self, name):
        return self._bent.get(name) or getattr(self._rpc, name)


def bend(ledger, **bent) -> None:
    ledger._rpc = ledger._chain.rpc = Bent(ledger._rpc, **bent)


def test_every_site_sees_the_same_chain(kit):
    kit.beat("bonn")
    kit.beat("graz")
    for site in ("bonn", "graz", "lund"):
        kit.at(site).sync()
    assert len({kit.at(site).head() for site in ("bonn", "graz", "lund")}) == 1
    assert list(kit.at("lund").events()) == list(kit.at("bonn").events())
    assert kit.at("lund").hash_at(2) == kit.at("bonn").hash_at(2)
    assert kit.at("lund").hash_at(0) is None  # before the founding
    assert kit.at("lund").hash_at(99) is None


def test_a_restart_goes_on_where_it_was_without_asking_the_chain(kit):
    kit.beat("bonn")
    kit.at("bonn").submit(kit.raw("bonn", "leave"))
    head = kit.at("bonn").head()
    again = kit.restart("bonn")
    assert again.head() == head
    with pytest.raises(LedgerRefused, match="stranger"):
        kit.beat("bonn")
    kit.beat("graz")
    assert again.sync()
    assert again.hash_at(head.height) == head.hash


def test_old_hashes_are_asked_of_the_node(kit):
    kit.beat("bonn")
    kit.node.rpc("anvil_mine", "0x3")
    kit.at("bonn").sync()
    known = [kit.at("bonn").hash_at(height) for height in (3, 4)]
    kit.at("bonn")._file._db.execute("DELETE FROM heads WHERE height < 5")
    assert [kit.at("bonn").hash_at(height) for height in (3, 4)] == known


def test_block_time_is_the_chains_and_judges_the_contracts_time_outs(kit, hospitals):
    assert kit.at("bonn").submit(kit.raw("bonn", "propose", keccak(b"study"), 2, 3, 3600, 60, 0, 0)).ok
    for site in ("bonn", "graz"):
        assert kit.at(site).submit(kit.raw(site, "approve", 1, keccak(b"sealed"))).ok
    assert kit.at("bonn").submit(kit.raw("bonn", "close_approvals", 1)).reason == "early"
    kit.node.next_time(hospitals.start + 4000)
    assert kit.at("graz").submit(kit.raw("graz", "close_approvals", 1)).ok


# --- several transactions under way ----------------------------------------------------------------------------


def mining(node, every_s: float):
    """Blocks at intervals, as a chain of validators has them; call the result to stop."""
    stopped = threading.Event()

    def mine():
        while not stopped.wait(every_s):
            node.rpc("evm_mine")

    node.rpc("evm_setAutomine", False)
    thread = threading.Thread(target=mine)
    thread.start()

    def stop():
        stopped.set()
        thread.join(10)

    return stop


def test_several_transactions_of_one_key_are_under_way_at_once_and_each_has_its_receipt(kit, hospitals):
    ledger = kit.at("bonn")
    raws = [kit.raw("bonn", nonce=nonce) for nonce in range(4)]
    receipts = {}
    stop = mining(kit.node, 0.2)
    try:
        threads = []
        for nonce, raw in enumerate(raws):
            thread = threading.Thread(target=lambda n=nonce, r=raw: receipts.update({n: ledger.submit(r)}))
            thread.start()
            threads.append(thread)
            until = time.monotonic() + 10
            while ledger.nonce(hospitals.key_of("bonn").address) <= nonce and time.monotonic() < until:
                time.sleep(0.005)  # until the node has it
        for thread in threads:
            thread.join(20)
    finally:
        stop()
    assert sorted(receipts) == [0, 1, 2, 3]
    assert all(receipt.ok for receipt in receipts.values())
    assert [event.args["site"] for event in ledger.events(2)] == ["bonn"] * 4


def test_the_reason_of_a_refusal_is_exact_even_when_a_block_holds_many(kit, hospitals):
    """The fourth vote of a block decides, so what comes after it fails; the chain does not say why."""
    kit.at("bonn").submit(kit.raw("bonn", "propose", keccak(b"study"), 2, 3, 3600, 60, 0, 0))
    kit.node.rpc("evm_setAutomine", False)
    sites = ("bonn", "graz", "lund", "porto")
    raws = [kit.raw(site, "vote_exclude", "oslo") for site in sites]
    raws.append(kit.raw("oslo", "heartbeat"))
    for raw in raws:
        kit.hand(raw)
    kit.node.rpc("evm_mine")
    receipts = [kit.at("bonn").submit(raw) for raw in raws]
    assert len({receipt.height for receipt in receipts}) == 1
    assert [(receipt.ok, receipt.reason) for receipt in receipts] == [
        *[(True, "")] * 4,
        (False, "member"),
    ]
    names = [event.name for event in kit.at("bonn").events(receipts[0].height)]
    assert names.count("MemberChanged") == 1


def test_a_transaction_that_stays_out_of_blocks_is_unreachable_and_counts_once_later(kit):
    ledger = kit.at("bonn")
    ledger._chain.included_s = 0.2
    raw = kit.raw("bonn")
    kit.node.rpc("evm_setAutomine", False)
    with pytest.raises(LedgerUnreachable, match="in no block after") as error:
        ledger.submit(raw)
    assert "validators" in error.value.hint
    with pytest.raises(LedgerUnreachable):
        ledger.submit(raw)  # still under way: neither refused nor doubled
    with pytest.raises(LedgerRefused, match="nonce"):
        ledger.submit(kit.raw("bonn", "leave", nonce=0))
    kit.node.rpc("evm_mine")
    assert ledger.submit(raw).height == 2
    assert [event.name for event in ledger.events(2)] == ["Heartbeat"]


def test_a_number_ahead_is_refused_and_not_left_waiting_in_the_node(kit):
    with pytest.raises(LedgerRefused, match="nonce"):
        kit.at("bonn").submit(kit.raw("bonn", nonce=3))
    kit.beat("bonn")
    assert kit.at("bonn").head().height == 2


# --- what others put on the chain ------------------------------------------------------------------------------


def test_what_the_chain_takes_but_cohortium_does_not_write_stops_nobody(kit, hospitals):
    """A stranger, too little gas, loose arguments without effect: followed. An odd call that acts: said, and on."""
    ledger = kit.at("bonn")
    kit.send(kit.raw("nobody", nonce=0))
    kit.send(kit.odd("graz", gas=rlp.to_bytes(22_000)))
    ledger.sync()
    assert ledger.unfollowed == ""
    assert kit.beat("bonn").ok
    kit.send(kit.odd("graz", data=rlp.decode(kit.raw("graz"))[5] + bytes(32)))
    ledger.sync()
    assert "form that cohortium does not write" in ledger.unfollowed
    assert [event.args["site"] for event in ledger.events(2)] == ["bonn", "graz"]
    assert kit.beat("lund").ok
    assert kit.restart("bonn").unfollowed == ledger.unfollowed


def test_blocks_of_others_and_of_nobody_are_followed_and_not_kept(kit):
    assert kit.at("bonn").head().height == 1
    kit.node.rpc("anvil_mine", "0xc8")
    assert kit.at("bonn").sync()
    assert kit.at("bonn").head().height == 201
    assert kit.beat("bonn").height == 202
    assert len(kit.at("bonn")._file.calls()) == 2


# --- a node that lies ------------------------------------------------------------------------------------------


def test_an_invented_event_is_a_fork_with_evidence(kit):
    ledger = kit.at("bonn")
    rpc = ledger._rpc
    raw = kit.raw("graz")
    kit.send(raw)

    def invented(contract, **at):
        (log,) = rpc.logs(contract, **at)
        return [log, log]

    bend(ledger, logs=invented)
    with pytest.raises(LedgerForked, match="other events than the rules give") as forked:
        ledger.sync()
    assert forked.value.evidence[0] == raw
    assert json.loads(forked.value.evidence[1])["height"] == 2
    assert ledger.head().height == 1
    with pytest.raises(LedgerForked):
        ledger.events()  # nothing heals itself
    ledger._rpc = ledger._chain.rpc = rpc
    assert ledger.sync()  # another node that tells the truth
    assert ledger.head().height == 2


def test_an_invented_outcome_is_a_fork(kit):
    ledger = kit.at("bonn")
    rpc = ledger._rpc
    kit.send(kit.raw("graz", "approve", 9, bytes(32)))
    bend(ledger, receipts=lambda digests: [one._replace(ok=True) for one in rpc.receipts(digests)])
    with pytest.raises(LedgerForked, match="the rules refuse it"):
        ledger.sync()


def test_an_invented_transaction_needs_a_members_signature(kit, hospitals):
    """A node may claim any sender; the signature decides who it was."""
    ledger = kit.at("bonn")
    rpc = ledger._rpc
    kit.send(kit.raw("graz", "vote_exclude", "oslo"))

    def as_lund(first, last):
        return [
            block._replace(calls=tuple(c._replace(sender=hospitals.key_of("lund").address) for c in block.calls))
            for block in rpc.blocks(first, last)
        ]

    bend(ledger, blocks=as_lund)
    ledger.sync()
    assert {event.args["site"] for event in ledger.events(2)} <= {"graz", "oslo"}
    assert ledger.unfollowed == ""


def test_another_founding_is_refused(kit, hospitals, tmp_path, node, monkeypatch):
    """Members or certificates that are not the genesis's, told by the node that is asked first."""
    logs = json_rpc.JsonRpc.logs

    def other(self, contract, *, first, last):
        return [RpcLog(*log[:4], log.data[:-1] + b"\1") for log in logs(self, contract, first=first, last=last)]

    monkeypatch.setattr(json_rpc.JsonRpc, "logs", other)
    with pytest.raises(LedgerForked, match="the founding is not the one of the genesis"):
        EvmRpcLedger.found(kit.genesis, clock=time.time, path=tmp_path / "x.sqlite", endpoints=[node.url])


def test_a_reorganisation_is_a_fork_with_both_blocks_as_evidence(kit, hospitals):
    for _ in range(3):
        kit.beat("bonn")
    head = kit.at("bonn").head()
    kit.node.rpc("anvil_reorg", 2, [])
    with pytest.raises(LedgerForked, match="of the ledger is") as forked:
        kit.at("bonn").sync()
    mine, theirs = (json.loads(one) for one in forked.value.evidence)
    assert mine["hash"] != theirs["hash"]
    assert kit.at("bonn").head() == head
    with pytest.raises(LedgerForked):
        kit.beat("bonn")


def test_a_node_that_is_behind_is_waited_for(kit):
    kit.beat("bonn")
    ledger = kit.at("bonn")
    rpc, old = ledger._rpc, ledger._rpc.block(1)
    bend(ledger, block=lambda height: old if height == "latest" else rpc.block(height))
    assert not ledger.sync()
    assert ledger.head().height == 2


def test_what_is_here_is_read_while_the_node_is_being_asked(kit):
    kit.beat("bonn")
    ledger = kit.at("bonn")
    rpc, asked, answer = ledger._rpc, threading.Event(), threading.Event()

    def slow(height):
        asked.set()
        assert answer.wait(20)
        return rpc.block(height)

    bend(ledger, block=slow)
    syncing = threading.Thread(target=ledger.sync)
    syncing.start()
    assert asked.wait(20)
    assert ledger.head().height == 2  # nobody waits for the node here
    assert ledger.hash_at(2) == ledger.head().hash
    assert len(list(ledger.events_here())) == 6
    answer.set()
    syncing.join(20)
    assert not syncing.is_alive()


def test_a_full_disk_leaves_rules_and_file_together(kit):
    ledger = kit.at("bonn")
    append = ledger._file.append

    def full(calls, heads):
        raise LedgerUnreachable("disk is full")

    kit.send(kit.raw("graz"))
    ledger._file.append = full
    with pytest.raises(LedgerUnreachable, match="full"):
        ledger.sync()
    ledger._file.append = append
    assert ledger.sync()  # the same call is told again, and is no contradiction
    assert kit.beat("graz").ok


def test_an_answer_of_another_type_is_unreachable(kit):
    ledger = kit.at("bonn")
    bend(ledger, call=lambda to, data, height: b"\1")
    with pytest.raises(LedgerUnreachable, match="answers n_members with something else"):
        ledger.call("n_members")


def test_a_file_of_another_release_is_refused_with_the_way_out(kit, tmp_path):
    kit.beat("bonn")
    kit.ledgers.pop("bonn").close()
    with sqlite3.connect(tmp_path / "bonn.sqlite") as db:
        db.execute("UPDATE about SET value = '{}' WHERE name = 'genesis'")
    db.close()
    with pytest.raises(LedgerError, match="cannot be used") as error:
        kit.at("bonn")
    assert "fetched anew" in error.value.hint
