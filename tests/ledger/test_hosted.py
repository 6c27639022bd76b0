"""A follower of one host: it executes every block itself, survives the host's absence, and proves a forgery."""

import random
import threading

import msgspec
import pytest

from cohortium.core.identity import LedgerKey, keccak
from cohortium.errors import LedgerForked, LedgerRefused, LedgerUnreachable
from cohortium.ledger import hosted as protocol
from cohortium.ledger import rlp
from cohortium.ledger.archive import verify
from cohortium.ledger.blocks import read_header
from cohortium.ledger.entries import open_entry, sign_entry
from cohortium.ledger.export import SignedHead
from cohortium.ledger.hosted import MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, HostedLedger, LedgerHost
from cohortium.ledger.local import LocalLedger
from cohortium.ledger.transactions import MAX_TRANSACTION_BYTES, sign_call

STRANGER = LedgerKey.from_bytes(b"\x07" * 32)


class Wire:
    """The way to the host: a test may cut it, lose answers, or change them."""

    def __init__(self, host) -> None:
        self.host, self.up, self.lost, self.asked = host, True, 0, 0
        self.change = lambda answer: answer

    def __call__(self, request: bytes) -> bytes:
        self.asked += 1
        if not self.up:
            raise LedgerUnreachable("no way to the host")
        answer = self.host.answer(request)
        if self.lost:
            self.lost -= 1
            raise LedgerUnreachable("no answer")
        return self.change(answer)


@pytest.fixture
def pair(hospitals, tmp_path):
    """Bonn hosts; graz follows over a wire."""
    one = hospitals.found("local", tmp_path)
    wire = Wire(LedgerHost(one.ledger, key=hospitals.key_of("bonn")))
    path = tmp_path / "graz.sqlite"
    follower = HostedLedger.found(one.genesis, clock=one.clock, path=path, key=hospitals.key_of("graz"), ask=wire)
    yield one, wire, follower
    follower.close()
    one.ledger.close()


def beat(follower, hospitals, site="graz"):
    key = hospitals.key_of(site)
    return sign_call(
        key,
        chain_id=follower.chain_id,
        nonce=follower.nonce(key.address),
        contract=follower.contract,
        function="heartbeat",
        args=(),
    )


def test_both_ends_have_the_same_chain_to_the_byte(pair, hospitals, tmp_path):
    one, _, follower = pair
    one.put("bonn", "heartbeat")
    assert follower.submit(beat(follower, hospitals)).height == 3
    assert follower.submit(sign(follower, hospitals, "approve", 9, bytes(32))).reason == "run"
    assert follower.head() == one.ledger.head()
    assert list(follower.events()) == list(one.ledger.events())
    follower.export(tmp_path / "follower.jsonl")
    one.ledger.export(tmp_path / "host.jsonl")
    assert (tmp_path / "follower.jsonl").read_bytes() == (tmp_path / "host.jsonl").read_bytes()
    assert verify(tmp_path / "follower.jsonl").evm


def sign(follower, hospitals, function, *args, site="graz"):
    key = hospitals.key_of(site)
    return sign_call(
        key,
        chain_id=follower.chain_id,
        nonce=follower.nonce(key.address),
        contract=follower.contract,
        function=function,
        args=args,
    )


@pytest.mark.slow
def test_a_follower_catches_up_over_several_pages(pair, hospitals):
    one, wire, follower = pair
    for _ in range(2 * protocol._PAGE_BLOCKS + 3):
        one.put("bonn", "heartbeat")
    asked = wire.asked
    assert follower.sync()
    assert wire.asked == asked + 3
    assert follower.head() == one.ledger.head()
    assert not follower.sync()


def test_a_page_is_closed_by_its_size_and_fits_its_limit(pair, hospitals):
    one, wire, follower = pair
    sizes = []
    wire.change = lambda answer: sizes.append(len(answer)) or answer
    for _ in range(4):  # a large call that the contract refuses is a block all the same
        raw = one.sign("bonn", "report_equivocation", 1, 1, 0, 1, bytes(32), bytes(60_000), b"\1" * 32, bytes(65))
        assert not one.ledger.submit(raw).ok
    follower.sync()
    assert follower.head() == one.ledger.head()
    assert len(sizes) == 2
    assert max(sizes) <= MAX_ANSWER_BYTES


def test_reading_asks_the_host_for_news(pair, hospitals):
    one, _, follower = pair
    one.put("bonn", "heartbeat")
    assert [event.name for event in follower.events(2)] == ["Heartbeat"]
    one.put("bonn", "propose", keccak(b"study"), 2, 3, 3600, 60, 0, 0)
    assert follower.call("n_runs") == (1,)
    assert follower.nonce(hospitals.key_of("bonn").address) == 2


def test_a_host_that_is_away_stops_nothing_for_good(pair, hospitals):
    one, wire, follower = pair
    raw = beat(follower, hospitals)
    wire.up = False
    for ask in (follower.events, follower.sync, lambda: follower.submit(raw)):
        with pytest.raises(LedgerUnreachable):
            ask()
    assert follower.head().height == 1  # what was seen may be read
    assert follower.hash_at(1) == one.ledger.hash_at(1)
    wire.up = True
    assert follower.submit(raw).height == 2


def test_a_host_that_restarts_finds_its_followers_again(pair, hospitals):
    one, wire, follower = pair
    follower.submit(beat(follower, hospitals))
    one.ledger.close()
    wire.up = False
    with pytest.raises(LedgerUnreachable):
        follower.sync()
    one.ledger = LocalLedger.open(one.path, clock=one.clock)
    wire.host, wire.up = LedgerHost(one.ledger, key=hospitals.key_of("bonn")), True
    assert follower.submit(beat(follower, hospitals)).height == 3
    assert follower.head() == one.ledger.head()


def test_a_follower_opens_where_it_was_and_catches_up(pair, hospitals, tmp_path):
    one, wire, follower = pair
    follower.submit(beat(follower, hospitals))
    follower.close()
    one.put("bonn", "heartbeat")
    again = HostedLedger.open(tmp_path / "graz.sqlite", clock=one.clock, key=hospitals.key_of("graz"), ask=wire)
    assert again.head().height == 2
    assert again.sync()
    assert again.head() == one.ledger.head()
    again.close()


def test_a_submission_whose_answer_was_lost_counts_once(pair, hospitals):
    one, wire, follower = pair
    raw = beat(follower, hospitals)
    submit = protocol._REQUEST.decode
    wire.change = lambda answer: answer
    lost = []

    def losing(request):
        answer = wire.host.answer(request)
        if isinstance(submit(request), protocol._Submit) and not lost:
            lost.append(answer)
            raise LedgerUnreachable("no answer")
        return answer

    follower._ask = losing
    with pytest.raises(LedgerUnreachable):
        follower.submit(raw)
    receipt = follower.submit(raw)
    assert (receipt.ok, receipt.height) == (True, 2)
    assert one.ledger.head().height == 2


def test_an_answer_lost_just_before_the_host_says_nonce_is_no_refusal(pair, hospitals):
    """The follower asked for news before its first attempt came through; the host then knows the number as used."""
    one, wire, follower = pair
    raw = beat(follower, hospitals)
    pages = []

    def late(request):
        if isinstance(protocol._REQUEST.decode(request), protocol._Submit) and not pages:
            pages.append(request)
            wire.host.answer(request)  # the first attempt comes through only now
        return wire.host.answer(request)

    follower._ask = late
    assert follower.submit(raw).height == 2
    assert one.ledger.head().height == 2


def test_what_is_no_block_is_refused_before_it_travels(pair, hospitals):
    _, wire, follower = pair
    raw = beat(follower, hospitals)
    asked = wire.asked
    for spoiled, reason in (
        (raw[:-1], "undecodable"),
        (
            sign_call(STRANGER, chain_id=7001, nonce=0, contract=follower.contract, function="leave", args=()),
            "stranger",
        ),
        (beat(follower, hospitals, "lund"), "entry"),
    ):
        with pytest.raises(LedgerRefused) as refused:
            follower.submit(spoiled)
        assert refused.value.reason == reason
    kinds = {type(protocol._REQUEST.decode(protocol._ENCODER.encode(protocol._Ask(1))))}
    assert kinds == {protocol._Ask}
    assert wire.asked > asked


def test_the_host_takes_a_transaction_only_from_its_own_sender(pair, hospitals):
    one, wire, follower = pair
    raw = beat(follower, hospitals)
    for packed, reason in (
        (sign_entry(hospitals.key_of("lund"), chain_id=7001, claimed_s=1, raw=raw), "entry"),
        (sign_entry(hospitals.key_of("graz"), chain_id=7002, claimed_s=1, raw=raw), "entry"),
        (b"\x93\x01\xa1x", "undecodable"),
    ):
        answer = wire.host.answer(protocol._ENCODER.encode(protocol._Submit(packed)))
        assert protocol._ANSWER.decode(answer) == protocol._Refused(reason)
    assert one.ledger.head().height == 1


def test_whatever_is_asked_the_host_answers_within_its_limits(pair, hospitals):
    _, wire, _ = pair
    rng = random.Random(1)
    asked = [b"", bytes(MAX_REQUEST_BYTES + 1), protocol._ENCODER.encode(protocol._Ask(2**53))]
    asked += [rng.randbytes(rng.randrange(200)) for _ in range(200)]
    good = protocol._ENCODER.encode(protocol._Submit(sign_entry(STRANGER, chain_id=7001, claimed_s=1, raw=b"x")))
    asked += [good[:at] + bytes([good[at] ^ 255]) + good[at + 1 :] for at in range(len(good))]
    for request in asked:
        assert len(wire.host.answer(request)) <= MAX_ANSWER_BYTES
    packed = sign_entry(STRANGER, chain_id=7001, claimed_s=1, raw=bytes(MAX_TRANSACTION_BYTES))
    assert len(protocol._ENCODER.encode(protocol._Submit(packed))) <= MAX_REQUEST_BYTES
    assert open_entry(packed)


def test_a_full_disk_at_the_host_is_unreachable_and_not_final(pair, hospitals):
    one, _, follower = pair
    raw = beat(follower, hospitals)
    take = one.ledger.take

    def full(entry):
        raise LedgerUnreachable("disk is full")

    one.ledger.take = full
    with pytest.raises(LedgerUnreachable, match="cannot write its chain"):
        follower.submit(raw)
    one.ledger.take = take
    assert follower.submit(raw).ok


# --- a host that lies ------------------------------------------------------------------------------------------


def forge(wire, hospitals, spoil, *, signer="bonn"):
    """Let the host answer pages that `spoil` has changed, signed anew as a lying host would."""

    def change(packed):
        page = protocol._ANSWER.decode(packed)
        if not isinstance(page, protocol._Page):
            return packed
        page = spoil(page)
        last = page.blocks[-1] if page.blocks else None
        digest = keccak(last.header) if last else page.hash
        height = read_header(last.header).height if last else page.height
        key = hospitals.key_of(signer) if signer else STRANGER
        place = {"contract": wire.host._ledger.contract, "chain_id": wire.host._ledger.chain_id}
        head = protocol.Head(height, digest, bytes(32))
        signature = protocol.sign_head(key, head, **place).signature
        return protocol._ENCODER.encode(msgspec.structs.replace(page, height=height, hash=digest, signature=signature))

    wire.change = change


def other_header(page):
    told = page.blocks[-1]
    fields = rlp.decode(told.header)
    twisted = rlp.encode([*fields[:3], bytes(32), *fields[4:]])
    return msgspec.structs.replace(page, blocks=(*page.blocks[:-1], protocol._Told(twisted, told.raw)))


def test_a_header_that_comes_out_differently_is_a_fork_with_evidence_and_leaves_nothing(pair, hospitals, tmp_path):
    one, wire, follower = pair
    one.put("bonn", "heartbeat")
    one.put("bonn", "heartbeat")
    forge(wire, hospitals, other_header)
    with pytest.raises(LedgerForked, match="block 3 of the ledger is") as forked:
        follower.sync()
    assert follower.head().height == 2  # the honest block before it stays, the forged one does not
    signed_page, own_header = forked.value.evidence
    page = protocol._ANSWER.decode(signed_page)
    signed = SignedHead(page.height, page.hash, page.signature)
    assert signed.signer(contract=one.ledger.contract, chain_id=7001) == hospitals.key_of("bonn").address
    assert keccak(page.blocks[-1].header) == page.hash != keccak(own_header)
    assert read_header(own_header).height == page.height
    with pytest.raises(LedgerForked):
        follower.events()  # nothing heals itself
    follower.export(tmp_path / "kept.jsonl")
    assert verify(tmp_path / "kept.jsonl").height == 2


def test_a_host_that_rewrote_its_history_is_seen(pair, hospitals, tmp_path):
    _, wire, follower = pair
    follower.submit(beat(follower, hospitals))
    (tmp_path / "anew").mkdir()
    anew = hospitals.found("local", tmp_path / "anew")
    anew.put("lund", "heartbeat")
    wire.host = LedgerHost(anew.ledger, key=hospitals.key_of("bonn"))
    with pytest.raises(LedgerForked, match=r"block 2 of the ledger is .* for the host"):
        follower.sync()
    anew.put("lund", "heartbeat")
    with pytest.raises(LedgerForked, match="block 3 follows another block 2"):
        follower.sync()
    anew.ledger.close()


@pytest.mark.parametrize("spoil", ["stranger's", "garbage", "old time"])
def test_what_can_be_no_block_is_a_fork(pair, hospitals, spoil):
    one, wire, follower = pair
    one.put("bonn", "heartbeat")

    def change(page):
        told = page.blocks[-1]
        raw, header = told.raw, told.header
        if spoil == "stranger's":
            raw = sign_call(STRANGER, chain_id=7001, nonce=0, contract=follower.contract, function="heartbeat", args=())
        elif spoil == "garbage":
            raw = b"garbage"
        else:
            header = one.ledger.blocks(1, n=1)[0].header
        return msgspec.structs.replace(page, blocks=(protocol._Told(header, raw),))

    forge(wire, hospitals, change)
    with pytest.raises(LedgerForked, match=r"is none|follows another block"):
        follower.sync()
    assert follower.head().height == 1


@pytest.mark.parametrize("kind", ["nobody's signature", "a stranger's signature"])
def test_a_forgery_that_no_member_signed_is_no_evidence_and_no_answer(pair, hospitals, kind):
    one, wire, follower = pair
    one.put("bonn", "heartbeat")
    forge(wire, hospitals, other_header, signer="")
    if kind == "nobody's signature":
        signed = wire.change

        def unsigned(packed):
            page = protocol._ANSWER.decode(signed(packed))
            return protocol._ENCODER.encode(msgspec.structs.replace(page, signature=bytes(65)))

        wire.change = unsigned
    with pytest.raises(LedgerUnreachable, match="answers what is no answer"):
        follower.sync()


def test_a_host_that_lost_blocks_is_behind_and_no_fork(pair, hospitals, tmp_path):
    one, wire, follower = pair
    one.put("bonn", "heartbeat")
    follower.submit(beat(follower, hospitals))
    (tmp_path / "old").mkdir()
    old = hospitals.found("local", tmp_path / "old")
    old.put("bonn", "heartbeat")
    wire.host = LedgerHost(old.ledger, key=hospitals.key_of("bonn"))
    assert old.ledger.head().hash == follower.hash_at(2)
    with pytest.raises(LedgerUnreachable, match="ends at block 2, here it has 3") as behind:
        follower.sync()
    assert "follower's chain.sqlite" in behind.value.hint
    old.ledger.close()


@pytest.mark.parametrize(
    "answer", [b"", b"\xc0", bytes(MAX_ANSWER_BYTES + 1), protocol._ENCODER.encode(protocol._Done(5))]
)
def test_an_answer_of_another_form_is_no_answer(pair, hospitals, answer):
    _, wire, follower = pair
    wire.change = lambda packed: answer
    with pytest.raises(LedgerUnreachable, match="no answer"):
        follower.sync()


def test_a_host_that_claims_a_block_it_does_not_show_is_not_believed(pair, hospitals):
    _, wire, follower = pair
    raw = beat(follower, hospitals)
    answer = wire.host.answer
    wire.host.answer = lambda request: (
        protocol._ENCODER.encode(protocol._Done(2))
        if isinstance(protocol._REQUEST.decode(request), protocol._Submit)
        else answer(request)
    )
    with pytest.raises(LedgerUnreachable, match="does not show it"):
        follower.submit(raw)


def test_a_host_whose_clock_stands_does_not_stop_the_chain(pair, hospitals):
    one, _, follower = pair
    one.clock.now = hospitals.start - 500
    times = []
    for _ in range(3):
        follower.submit(beat(follower, hospitals))
        times.append(read_header(one.ledger.blocks(follower.head().height, n=1)[0].header).time)
    assert times == [hospitals.start + n for n in (1, 2, 3)]


def test_reading_what_is_here_waits_for_no_answer_of_the_host(pair, hospitals):
    one, wire, follower = pair
    asked, answered, whole = threading.Event(), threading.Event(), wire.host

    class Slow:
        def answer(self, request):
            asked.set()
            assert answered.wait(20)
            return whole.answer(request)

    wire.host = Slow()
    syncing = threading.Thread(target=follower.sync)
    syncing.start()
    assert asked.wait(20)
    head = follower.head()  # the event loop, which carries the answer, may ask this meanwhile
    assert follower.hash_at(head.height) == head.hash
    answered.set()
    syncing.join(20)
    assert follower.head() == one.ledger.head()
