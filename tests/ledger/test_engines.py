"""Shared suite of the ledger seam: every engine behaves the same, down to reasons, times and events."""

import threading
from dataclasses import replace

import pytest

from cohortium.core.identity import LedgerKey, keccak
from cohortium.errors import LedgerRefused
from cohortium.ledger import ENGINES, rlp
from cohortium.ledger import transactions as made
from cohortium.ledger.archive import verify
from cohortium.ledger.blocks import event_values
from cohortium.ledger.interface import consortium as contract_of
from cohortium.ledger.transactions import sign_call

STRANGER = LedgerKey.from_bytes(b"\x07" * 32)


def test_founding_seats_every_founder_in_block_1(consortium, hospitals):
    events = list(consortium.ledger.events())
    assert [event.name for event in events] == ["MemberChanged"] * 5
    assert [event.args["site"] for event in events] == list(hospitals.sites)
    assert [event.args["account"] for event in events] == [hospitals.key_of(s).address for s in hospitals.sites]
    assert {event.height for event in events} == {1}
    assert [event.index for event in events] == [0, 1, 2, 3, 4]
    assert consortium.ledger.head().height == 1
    assert consortium.ledger.call("n_members") == (5,)
    assert consortium.ledger.chain_id == hospitals.chain_id
    assert consortium.ledger.contract == consortium.genesis.contract


@pytest.mark.parametrize("engine", ["memory", "local"])
def test_founders_the_contract_would_not_take_found_nothing(hospitals, tmp_path, engine):
    genesis = hospitals.genesis_of(engine)
    nobody = replace(genesis.founders[0], address=bytes(20))
    with pytest.raises(LedgerRefused, match="address"):
        ENGINES.resolve(engine).found(
            replace(genesis, founders=(nobody, *genesis.founders[1:])), clock=lambda: 0, path=tmp_path / "c.sqlite"
        )
    ENGINES.resolve(engine).found(genesis, clock=lambda: 0, path=tmp_path / "c.sqlite").close()


@pytest.mark.slow
def test_a_whole_run_is_the_same_on_every_engine(both):
    receipts, events, views = [], [], []
    for one in both:
        run = one.start()
        for round in (1, 2, 3):
            one.clock.now += 40
            final = one.play(run, round)
        received = one.put("bonn", "heartbeat")
        receipts.append(received)
        events.append([(e.height, e.index, e.name, dict(e.args)) for e in one.ledger.events()])
        state, _since, *rest = one.ledger.call("runs", (run,))[0]  # block times are each engine's own
        views.append([state, *rest, *(one.ledger.call(f, (run,)) for f in ("rounds", "plans"))])
        assert one.ledger.call("finals", (run, 3)) == (final,)
        assert one.names()[-2] == "Ended"
    assert receipts[0] == receipts[1]
    assert events[0] == events[1]
    assert views[0] == views[1]


def test_a_refused_call_is_a_block_with_a_reason_and_counts_its_number(consortium, hospitals):
    receipt = consortium.put("bonn", "approve", 9, bytes(32))
    assert (receipt.ok, receipt.reason, receipt.height) == (False, "run", 2)
    assert list(consortium.ledger.events(2)) == []
    assert consortium.ledger.nonce(hospitals.key_of("bonn").address) == 1
    assert consortium.put("bonn", "heartbeat").ok


def test_values_too_long_for_the_contract_are_refused_alike(both):
    for function, args in (
        ("vote_exclude", ("x" * 33,)),
        ("vote_admit", (b"\1" * 20, "y" * 33, bytes(32), bytes(32))),
        ("spend", (1, 0, b"\1" * 32, bytes(1025), 0)),
        ("report_equivocation", (1, 1, 0, 1, bytes(32), bytes(66), b"\1" * 32, bytes(65))),
    ):
        first, second = (one.put("bonn", function, *args) for one in both)
        assert first == second, function
        assert not first.ok


def spoiled(one, case: str) -> bytes:
    number = one.ledger.nonce(LedgerKey.from_bytes(keccak(b"bonn")).address)
    good = one.sign("bonn", "heartbeat")
    foreign = one.sign("bonn", "heartbeat", chain_id=one.ledger.chain_id + 1)
    common = {"chain_id": one.ledger.chain_id, "contract": one.ledger.contract, "function": "heartbeat", "args": ()}
    fields = list(rlp.decode(good))
    match case:
        case "empty":
            return b""
        case "cut":
            return good[:-1]
        case "trailing":
            return good + b"\0"
        case "typed":
            return b"\x02" + good
        case "long":
            return b"\xf9" + bytes(made.MAX_TRANSACTION_BYTES)
        case "foreign":
            return foreign
        case "unbound":
            return rlp.encode([*fields[:6], b"\x1b", *fields[7:]])
        case "high s":
            order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
            high = rlp.to_bytes(order - rlp.number(fields[8]))
            parity = (rlp.number(fields[6]) - 35) % 2
            return rlp.encode([*fields[:6], rlp.to_bytes(36 - parity + 2 * one.ledger.chain_id), fields[7], high])
        case "no function":
            return signed(one, [fields[0], b"", fields[2], fields[3], b"", b"\1\2\3\4"])
        case "loose arguments":
            return signed(one, [fields[0], b"", fields[2], fields[3], b"", fields[5] + bytes(32)])
        case "price":
            return signed(one, [fields[0], b"\1", *fields[2:6]])
        case "value":
            return signed(one, [*fields[:4], b"\1", fields[5]])
        case "creation":
            return signed(one, [*fields[:3], b"", b"", fields[5]])
        case "elsewhere":
            return one.sign("bonn", "heartbeat", contract=b"\1" * 20)
        case "stranger":
            return sign_call(STRANGER, nonce=0, **common)
        case "early":
            return one.sign("bonn", "heartbeat", nonce=number + 1)
        case "gas":
            return signed(one, [*fields[:2], rlp.to_bytes(3_000_001), *fields[3:6]])
    raise AssertionError(case)


def signed(one, fields: list[bytes]) -> bytes:
    """Bonn's signature under fields that `sign_call` would never write."""
    key = LedgerKey.from_bytes(keccak(b"bonn"))
    return made._sign(key, one.ledger.chain_id, fields)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("empty", "undecodable"),
        ("cut", "undecodable"),
        ("trailing", "undecodable"),
        ("typed", "undecodable"),
        ("long", "size"),
        ("foreign", "chain"),
        ("unbound", "chain"),
        ("high s", "undecodable"),
        ("no function", "undecodable"),
        ("loose arguments", "undecodable"),
        ("price", "undecodable"),
        ("value", "undecodable"),
        ("creation", "undecodable"),
        ("elsewhere", "contract"),
        ("stranger", "stranger"),
        ("early", "nonce"),
        ("gas", "gas"),
    ],
)
def test_what_must_not_become_a_block_is_refused_by_name(consortium, hospitals, case, reason):
    before = consortium.ledger.head()
    with pytest.raises(LedgerRefused) as refused:
        consortium.ledger.submit(spoiled(consortium, case))
    assert refused.value.reason == reason
    assert consortium.ledger.head() == before
    assert consortium.ledger.nonce(hospitals.key_of("bonn").address) == 0
    assert consortium.put("bonn", "heartbeat").ok


def test_the_same_transaction_counts_once_however_often_it_is_submitted(consortium, hospitals):
    raw = consortium.sign("bonn", "approve", 9, bytes(32))
    receipt = consortium.ledger.submit(raw)
    assert (receipt.ok, receipt.reason) == (False, "run")
    assert consortium.put("graz", "heartbeat").height == receipt.height + 1
    assert consortium.ledger.submit(raw) == receipt
    assert consortium.ledger.head().height == receipt.height + 1
    other = consortium.sign("bonn", "heartbeat", nonce=0)
    with pytest.raises(LedgerRefused, match="nonce"):
        consortium.ledger.submit(other)
    assert consortium.ledger.nonce(hospitals.key_of("bonn").address) == 1


def test_who_left_still_hears_that_he_did(consortium):
    raw = consortium.sign("bonn", "leave")
    receipt = consortium.ledger.submit(raw)
    assert receipt.ok
    assert consortium.ledger.submit(raw) == receipt


def test_any_block_is_known_by_its_height(consortium):
    heads = [consortium.ledger.head()]
    for site in ("bonn", "graz"):
        consortium.put(site, "heartbeat")
        consortium.ledger.sync()
        heads.append(consortium.ledger.head())
    assert [consortium.ledger.hash_at(head.height) for head in heads] == [head.hash for head in heads]
    assert consortium.ledger.hash_at(heads[0].height - 1) is None or heads[0].height > 1
    assert consortium.ledger.hash_at(heads[-1].height + 1) is None


def test_who_left_or_was_excluded_is_a_stranger_from_then_on(consortium):
    assert consortium.put("porto", "leave").ok
    for site in ("bonn", "graz", "lund"):
        assert consortium.put(site, "vote_exclude", "oslo").ok
    for site in ("porto", "oslo"):
        with pytest.raises(LedgerRefused, match="stranger"):
            consortium.put(site, "heartbeat")


def test_a_new_key_speaks_for_the_site_and_the_old_one_no_more(consortium):
    new = LedgerKey.from_bytes(b"\x09" * 32)
    for site in ("bonn", "graz", "lund", "porto"):
        assert consortium.put(site, "vote_rekey", "oslo", new.address, b"\1" * 32, b"\2" * 32).ok
    with pytest.raises(LedgerRefused, match="stranger"):
        consortium.put("oslo", "heartbeat")
    ledger = consortium.ledger
    raw = sign_call(new, chain_id=ledger.chain_id, nonce=0, contract=ledger.contract, function="heartbeat", args=())
    assert ledger.submit(raw).ok
    assert [e.args["site"] for e in ledger.events(ledger.head().height)] == ["oslo"]


def test_block_time_is_the_clocks_and_never_stands_still(consortium, hospitals):
    if consortium.genesis.engine in ("replicated", "evm-rpc"):
        pytest.skip("block time is the members' or the chain's, and tested with the engine")
    times = []
    for now in (hospitals.start + 100, hospitals.start + 100.9, hospitals.start - 5, hospitals.start + 500):
        consortium.clock.now = now
        consortium.put("bonn", "heartbeat")
        times.append(consortium.last_seen("bonn") - hospitals.start)
    assert times == [100, 101, 102, 500]


def test_events_come_in_order_without_gaps_from_any_height(consortium):
    for site in ("bonn", "graz", "lund"):
        consortium.put(site, "heartbeat")
    everything = list(consortium.ledger.events())
    assert [(e.height, e.index) for e in everything] == sorted((e.height, e.index) for e in everything)
    for height in range(7):
        assert list(consortium.ledger.events(height)) == [e for e in everything if e.height >= height]


def test_what_is_known_here_is_told_without_asking_anybody(consortium):
    consortium.put("bonn", "heartbeat")
    everything = list(consortium.ledger.events())
    assert list(consortium.ledger.events_here()) == everything
    assert list(consortium.ledger.events_here(2)) == [event for event in everything if event.height >= 2]


def test_events_carry_plain_values(consortium):
    consortium.start(("bonn", "graz", "lund", "oslo", "porto"))
    values = [value for event in consortium.ledger.events() for value in event.args.values()]
    assert {type(value) for value in values} == {int, bytes, str}
    assert all(len(value) in (20, 32) for value in values if isinstance(value, bytes))
    assert event_values([]) == []


def test_every_block_has_its_own_hash_and_the_state_root_follows_the_state(consortium):
    heads = [consortium.ledger.head()]
    for site in ("bonn", "graz"):
        consortium.put(site, "heartbeat")
        heads.append(consortium.ledger.head())
    assert [head.height for head in heads] == [1, 2, 3]
    assert len({head.hash for head in heads}) == len({head.state_root for head in heads}) == 3
    assert {len(head.hash) for head in heads} == {len(head.state_root) for head in heads} == {32}


def test_equal_histories_have_equal_heads_and_others_do_not(consortium, hospitals, tmp_path, request):
    engine = consortium.genesis.engine
    if engine == "evm-rpc":
        pytest.skip("heads are those of the chain, which is one")
    (tmp_path / "twin").mkdir()
    twin = hospitals.found(engine, tmp_path / "twin", request=request)
    for site in ("bonn", "graz"):
        consortium.put(site, "heartbeat")
        twin.put(site, "heartbeat")
    heads = [one.ledger.head() for one in (twin, consortium)]
    twin.put("lund", "heartbeat")
    consortium.put("oslo", "heartbeat")
    later = [one.ledger.head() for one in (twin, consortium)]
    twin.ledger.close()
    assert heads[0] == heads[1]
    assert later[0].hash != later[1].hash


def test_reading_refuses_what_it_cannot_answer(consortium):
    before = consortium.ledger.head()
    with pytest.raises(ValueError, match="no function 'plan'"):
        consortium.ledger.call("plan", (9,))
    with pytest.raises(ValueError, match="heartbeat changes the ledger"):
        consortium.ledger.call("heartbeat", ())
    with pytest.raises(ValueError, match="expected 1 values, got 0"):
        consortium.ledger.call("plans", ())
    with pytest.raises(ValueError, match="uint256 expected, got str"):
        consortium.ledger.call("plans", ("1",))
    assert consortium.ledger.head() == before


@pytest.mark.slow
def test_every_view_reads_the_same_on_every_engine(both):
    for one in both:
        one.play(one.start(), 1)
    tried = {
        "uint256": (0, 1, 2, 2**256 - 1),
        "string": ("bonn", "nobody", ""),
        "address": (bytes(20), LedgerKey.from_bytes(keccak(b"bonn")).address),
        "bytes32": (bytes(32),),
    }
    views = [f for f in contract_of().interface.functions.values() if f.view]
    assert len(views) > 10
    for view in views:
        for choice in range(4):
            args = tuple(tried[kind][choice % len(tried[kind])] for kind in view.inputs)
            answers = []
            for one in both:
                try:
                    answers.append(one.ledger.call(view.name, args))
                except LedgerRefused as refused:
                    answers.append(refused.reason)
            assert answers[0] == answers[1], (view.name, args)


def test_threads_may_share_an_engine(consortium, hospitals):
    def beat(site: str) -> None:
        for _ in range(5):
            consortium.put(site, "heartbeat")

    threads = [threading.Thread(target=beat, args=(site,)) for site in hospitals.sites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(consortium.names(2)) == ["Heartbeat"] * 25
    if consortium.genesis.engine != "evm-rpc":  # where several may share a block
        assert consortium.ledger.head().height == 26


@pytest.mark.slow
def test_an_export_of_any_engine_verifies(consortium, tmp_path):
    run = consortium.start()
    digest = consortium.play(run, 1)
    consortium.put("bonn", "approve", 99, bytes(32))
    consortium.ledger.export(tmp_path / "ledger.jsonl")
    proved = verify(tmp_path / "ledger.jsonl", consortium=consortium.genesis.consortium)
    head = consortium.ledger.head()
    assert (proved.height, proved.head, proved.state_root) == (head.height, head.hash, head.state_root)
    assert proved.runs[0].merges[0].digest == digest
    assert proved.refused == 1
    assert proved.evm == (consortium.genesis.engine in ("local", "replicated"))
