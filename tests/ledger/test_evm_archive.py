"""Offline verification of an outside chain's calls: an honest export passes, each untruth is named by its line."""

import json

import pytest

from cohortium.core.identity import LedgerKey, keccak
from cohortium.core.seams import Head
from cohortium.errors import VerificationFailed
from cohortium.ledger import rlp
from cohortium.ledger import transactions as made
from cohortium.ledger.archive import verify
from cohortium.ledger.export import FIRST_LINK, _close_line, sign_head


@pytest.fixture(scope="module")
def honest(hospitals, tmp_path_factory, request):
    """A run of one round on a real node, a refused call, two signed heads."""
    folder = tmp_path_factory.mktemp("evm")
    one = hospitals.found("evm-rpc", folder, request=request)
    run = one.start(n_rounds=1)
    one.play(run, 1)
    one.put("bonn", "approve", 77, b"\1" * 32)
    place = {"contract": one.ledger.contract, "chain_id": one.ledger.chain_id}
    one.head = one.ledger.head()
    heads = [sign_head(hospitals.key_of(site), one.head, **place) for site in ("bonn", "lund")]
    one.path = folder / "ledger.jsonl"
    one.ledger.export(one.path, heads=heads)
    one.ledger.close()
    return one


def records_of(one) -> list[dict]:
    return [json.loads(line) for line in one.path.read_text().splitlines()]


def written(tmp_path, records: list[dict]):
    """A file whose links are right whatever the records hold."""
    link, lines = FIRST_LINK, []
    for record in records:
        line, link = _close_line({k: v for k, v in record.items() if k != "link"}, link)
        lines.append(line)
    path = tmp_path / "spoiled.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def failing(tmp_path, records: list[dict], **options) -> str:
    """What is said of these records."""
    path = written(tmp_path, records)
    with pytest.raises(VerificationFailed) as failed:
        verify(path, **options)
    return str(failed.value)


def test_an_honest_export_says_what_happened_and_that_rules_alone_were_replayed(honest):
    proved = verify(honest.path, consortium=honest.genesis.consortium)
    (run,) = proved.runs
    assert (run.state, run.sites) == ("finished", ("bonn", "graz", "lund", "oslo", "porto"))
    assert proved.refused == 1
    assert proved.calls == len(records_of(honest)) - 3
    assert proved.signed_by == ("bonn", "lund")
    assert (proved.height, proved.head, proved.state_root) == (
        honest.head.height,
        honest.head.hash,
        honest.head.state_root,
    )
    assert not proved.evm
    assert len(proved.members.active) == 5


@pytest.mark.parametrize(
    ("number", "change", "says"),
    [
        (1, {"raw": "00"}, "the transaction has another hash"),
        (1, {"ok": False}, "not the founding"),
        (1, {"events": []}, "events differ"),
        (2, {"ok": False}, "is said to have failed, and the rules accept it"),
        (2, {"ok": 1}, "ok is true or false"),
        (2, {"reason": "phase"}, "reason differs"),
        (2, {"events": []}, "events differ"),
        (2, {"time": 5}, "does not fit the call before"),
        (2, {"time": "5"}, "whole numbers"),
        (2, {"height": 1, "position": 0}, "does not come after"),
        (2, {"height": -1}, "does not come after"),
        (2, {"height": True}, "whole numbers"),
        (2, {"block": "00"}, "a block is a hash"),
        (2, {"raw": "zz"}, "raw is not hexadecimal"),
        (2, {"transaction": "00"}, "another hash"),
        (2, {"extra": 1}, "not the record of a call"),
        (-1, {"last": 1}, "before the last call"),
        (-1, {"last": "1"}, "before the last call"),
        (-1, {"hash": "00" * 32}, "not the last call's block"),
        (-1, {"state_root": 5}, "not hexadecimal"),
        (-1, {"heads": [5]}, "height, hash and signature"),
        (-1, {"extra": 1}, "not the last record"),
    ],
)
def test_each_untruth_is_named(honest, tmp_path, number, change, says):
    records = records_of(honest)
    records[number].update(change)
    line = number + 1 if number >= 0 else len(records)
    assert f"line {line}: " in (found := failing(tmp_path, records))
    assert says in found


def test_a_forged_transaction_needs_a_members_signature(honest, tmp_path, hospitals):
    records = records_of(honest)
    stranger = LedgerKey.from_bytes(b"\x07" * 32)
    fields = rlp.decode(bytes.fromhex(records[2]["raw"]))
    raw = made._sign(stranger, hospitals.chain_id, list(fields[:6]))
    records[2].update(raw=raw.hex(), transaction=keccak(raw).hex())
    assert "line 3: propose is said to have passed, and the rules refuse it" in failing(tmp_path, records)


def test_a_repeated_and_a_lost_call_are_found(honest, tmp_path):
    records = records_of(honest)
    twice = [*records[:4], {**records[3], "height": records[3]["height"], "position": 9}, *records[4:]]
    assert "line 5: approve has a number that was used before" in failing(tmp_path, twice)
    without_proposal = records[:2] + records[3:]
    assert "line 3: approve is said to have passed" in failing(tmp_path, without_proposal)


def test_an_unreadable_transaction_passes_without_effect_and_ends_the_proof_with_one(honest, tmp_path):
    records = records_of(honest)
    odd = {**records[-2], "raw": "", "position": 5, "events": [], "ok": False, "reason": "reverted"}
    records.insert(-1, odd)
    assert verify(written(tmp_path, records)).refused == 2
    odd.update(ok=True, reason="", events=[["Heartbeat", {"site": "bonn"}]])
    assert "in a form that cohortium does not write changed the record" in failing(tmp_path, records)


def test_signed_heads_must_be_blocks_of_the_file_and_signed_by_members(honest, tmp_path, hospitals):
    records = records_of(honest)
    key, place = LedgerKey.from_bytes(b"\x07" * 32), {"contract": honest.genesis.contract, "chain_id": 7001}
    signed = sign_head(key, honest.head, **place)
    records[-1]["heads"] = [[signed.height, signed.hash.hex(), signed.signature.hex()]]
    assert "signed by no member" in failing(tmp_path, records)
    other = sign_head(hospitals.key_of("bonn"), Head(honest.head.height, b"\1" * 32, b""), **place)
    records[-1]["heads"] = [[other.height, other.hash.hex(), other.signature.hex()]]
    assert "is no block of this file" in failing(tmp_path, records)


def test_another_consortium_is_refused_at_the_first_line(honest, tmp_path):
    assert "line 1: another consortium" in failing(tmp_path, records_of(honest), consortium=b"\1" * 32)
