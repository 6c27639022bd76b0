"""Offline verification: an honest export passes, and every spoiled one is named by its first bad line."""

import builtins
import json
import sys
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohortium.core.identity import LedgerKey, keccak
from cohortium.core.seams import Head
from cohortium.errors import MissingExtra, VerificationFailed
from cohortium.ledger import archive, rlp
from cohortium.ledger.archive import verify
from cohortium.ledger.blocks import memory_header, read_header
from cohortium.ledger.export import FIRST_LINK, _close_line, sign_head


@pytest.fixture(scope="module", params=["memory", "local", "replicated"])
def honest(request, tmp_path_factory, hospitals):
    """One export of each engine: a run of one round, a refused call, an exclusion, two signed heads."""
    folder = tmp_path_factory.mktemp(request.param)
    one = hospitals.found(request.param, folder, request=request)
    run = one.start(n_rounds=1)
    one.play(run, 1)
    one.put("bonn", "approve", 77, b"\1" * 32)
    for site in ("bonn", "graz", "lund", "porto"):
        one.put(site, "vote_exclude", "oslo")
    place = {"contract": one.ledger.contract, "chain_id": one.ledger.chain_id}
    heads = [sign_head(hospitals.key_of(site), one.ledger.head(), **place) for site in ("bonn", "lund")]
    path = folder / "ledger.jsonl"
    one.ledger.export(path, heads=heads)
    one.ledger.close()
    one.path = path
    return one


def relinked(records: list[dict]) -> bytes:
    """A file whose links are right whatever its content: what a forger would write."""
    link, lines = FIRST_LINK, []
    for record in records:
        line, link = _close_line({k: v for k, v in record.items() if k != "link"}, link)
        lines.append(line)
    return b"".join(lines)


def records_of(one) -> list[dict]:
    return [json.loads(line) for line in one.path.read_text().splitlines()]


def failing(tmp_path, content: bytes, **options) -> str:
    path = tmp_path / "spoiled.jsonl"
    path.write_bytes(content)
    with pytest.raises(VerificationFailed) as failed:
        verify(path, **options)
    return str(failed.value)


def test_an_honest_export_says_what_happened(honest):
    proved = verify(honest.path, consortium=honest.genesis.consortium)
    (run,) = proved.runs
    assert (run.run, run.state, run.sites, run.proposer) == (
        1,
        "finished",
        ("bonn", "graz", "lund", "oslo", "porto"),
        "bonn",
    )
    assert [(m.round, m.contributors) for m in run.merges] == [(1, run.sites)]
    assert proved.refused == 1
    assert proved.calls == len(records_of(honest)) - 3
    assert proved.signed_by == ("bonn", "lund")
    assert [site.name for site in proved.members.active] == ["bonn", "graz", "lund", "porto"]
    assert proved.members.named("oslo").status == "excluded"
    assert proved.consortium == honest.genesis.consortium
    assert proved.evm == (honest.genesis.engine != "memory")


@given(data=st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_byte_is_found_at_its_line(honest, tmp_path, data):
    content = bytearray(honest.path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    line = honest.path.read_bytes()[:at].count(b"\n") + 1
    assert failing(tmp_path, bytes(content), evm=False).startswith(f"spoiled.jsonl: line {line}: ")


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cut_is_found_at_its_line(honest, tmp_path, data):
    content = honest.path.read_bytes()
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    assert failing(tmp_path, cut, evm=False).startswith(f"spoiled.jsonl: line {cut.count(10) + 1}: ")


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_digit_with_all_links_made_right_is_found_at_its_line(honest, tmp_path, data):
    """A forger computes links anew; headers, transactions, events and roots still do not fit."""
    records = records_of(honest)
    number = data.draw(st.integers(0, len(records) - 1))
    record = records[number]
    choices = [k for k, v in record.items() if isinstance(v, str) and len(v) > 1 and k not in ("link", "format")]
    key = data.draw(st.sampled_from(sorted(choices)))
    at = data.draw(st.integers(0, len(record[key]) - 1))
    digit = data.draw(st.sampled_from([d for d in "0123456789abcdef" if d != record[key][at]]))
    record[key] = record[key][:at] + digit + record[key][at + 1 :]
    assert failing(tmp_path, relinked(records), evm=False).startswith(f"spoiled.jsonl: line {number + 1}: ")


def test_swapped_lines_are_found_at_the_first(honest, tmp_path):
    lines = honest.path.read_bytes().splitlines(keepends=True)
    swapped = [*lines[:4], lines[5], lines[4], *lines[6:]]
    assert "line 5: the link does not fit" in failing(tmp_path, b"".join(swapped), evm=False)
    records = records_of(honest)
    records[4], records[5] = records[5], records[4]
    assert "line 5: height" in failing(tmp_path, relinked(records), evm=False)


def test_a_lost_and_a_repeated_line_are_found(honest, tmp_path):
    records = records_of(honest)
    assert "line 6: height" in failing(tmp_path, relinked(records[:5] + records[6:]), evm=False)
    assert "line 6: height" in failing(tmp_path, relinked([*records[:5], *records[4:]]), evm=False)
    says = failing(tmp_path, relinked([*records, records[-1]]), evm=False)
    assert f"line {len(records) + 1}: a record after the last one" in says


def test_a_file_without_its_last_record_is_incomplete(honest, tmp_path):
    records = records_of(honest)
    says = failing(tmp_path, relinked(records[:-1]), evm=False)
    assert f"line {len(records)}: the file ends before its last record" in says
    assert "line 1: the file ends" in failing(tmp_path, b"")


def test_a_chain_cut_and_closed_anew_is_seen_by_the_signed_heads(honest, tmp_path):
    records = records_of(honest)
    cut, last = records[:-4], dict(records[-1])
    says = failing(tmp_path, relinked([*cut, {**last, "last": len(cut) - 1, "hash": cut[-1]["hash"]}]), evm=False)
    assert "state root" in says or "a signed head" in says


def test_a_file_of_another_consortium_is_refused_at_its_first_line(honest, tmp_path):
    says = failing(tmp_path, honest.path.read_bytes(), consortium=b"\1" * 32)
    assert "line 1: another consortium" in says


def test_a_changed_founder_is_another_consortium(honest, tmp_path):
    records = records_of(honest)
    records[0]["genesis"]["founders"][0]["tls"] = "00" * 32
    assert "line 1: consortium and contract are not those" in failing(tmp_path, relinked(records), evm=False)


def test_a_head_signed_by_a_stranger_is_refused(honest, tmp_path):
    records = records_of(honest)
    last = records[-1]
    head = Head(last["last"], bytes.fromhex(last["hash"]), bytes(32))
    key = LedgerKey.from_bytes(b"\x07" * 32)
    signed = sign_head(key, head, contract=honest.genesis.contract, chain_id=honest.genesis.chain_id)
    last["heads"].append([signed.height, signed.hash.hex(), signed.signature.hex()])
    assert "signed by no member" in failing(tmp_path, relinked(records), evm=False)
    last["heads"][-1] = [last["last"], "00" * 32, signed.signature.hex()]
    assert "is no block of this chain" in failing(tmp_path, relinked(records), evm=False)


@pytest.mark.parametrize("heads", [3, [3], [["1", "", ""]], [[1, 2, 3]], [[1, "zz", ""]]])
def test_heads_of_another_form_are_refused(honest, tmp_path, heads):
    records = records_of(honest)
    records[-1]["heads"] = heads
    assert f"line {len(records)}: " in failing(tmp_path, relinked(records), evm=False)


@pytest.mark.parametrize(
    ("number", "change", "says"),
    [
        (0, {"format": "other"}, "not the first record"),
        (0, {"genesis": 3}, "no table"),
        (3, {"extra": 1}, "not the record of a block"),
        (3, {"ok": False}, "ok differ"),
        (3, {"reason": "phase"}, "reason differ"),
        (3, {"events": []}, "events differ"),
        (3, {"time": 5}, "height or time"),
        (3, {"raw": "zz"}, "raw is not hexadecimal"),
        (3, {"raw": 7}, "raw is not hexadecimal"),
        (3, {"raw": "00"}, "another transaction"),
        (3, {"header": "00"}, "a header"),
        (-1, {"last": 2}, "the head is not the last block"),
    ],
)
def test_each_untruth_is_named(honest, tmp_path, number, change, says):
    records = records_of(honest)
    records[number].update(change)
    line = number + 1 if number >= 0 else len(records)
    assert f"line {line}: " in (found := failing(tmp_path, relinked(records), evm=False))
    assert says in found


@pytest.mark.parametrize(
    ("height", "change", "says"),
    [
        (2, {"parent": bytes(32)}, "its parent is not the block before"),
        (3, {"time": 5}, "is not later than"),
        (1, {"raw": b"other"}, "block 1 is not the founding"),
        (2, {"state_root": bytes(32)}, "the state root is not what the rules give"),
        (2, {"result": []}, "the header is not that of this result"),
        (2, {"raw": b"other"}, "ledger refused"),
        (2, {"flip": 1}, "ledger refused"),
    ],
)
def test_a_history_rewritten_with_matching_hashes_is_caught(hospitals, tmp_path, height, change, says):
    """Hashes of a memory chain can all be made anew; time, place, signatures and results still do not fit."""
    one = hospitals.found("memory", tmp_path)
    one.put("bonn", "heartbeat")
    one.put("graz", "heartbeat")
    one.path = tmp_path / "ledger.jsonl"
    one.ledger.export(one.path)
    records = records_of(one)
    forged = records[height]
    said = read_header(bytes.fromhex(forged["header"]))
    raw = bytes.fromhex(forged["raw"])
    facts = {
        "parent": said.parent,
        "height": height,
        "time": said.time,
        "raw": raw[:-1] + bytes([raw[-1] ^ change.pop("flip", 0)]),
        "result": [forged["ok"], forged["reason"], forged["events"]],
        "state_root": said.state_root,
        **change,
    }
    header = memory_header(**facts)
    forged.update(raw=facts["raw"].hex(), time=facts["time"], header=header.hex(), hash=keccak(header).hex())
    found = failing(tmp_path, relinked(records))
    assert f"line {height + 1}: " in found
    assert says in found


def test_a_chain_without_blocks_has_no_last_record(honest, tmp_path):
    records = records_of(honest)
    assert "line 2: not the last record" in failing(tmp_path, relinked([records[0], records[-1]]), evm=False)


def test_only_the_contract_sees_a_wrong_state_root(hospitals, tmp_path):
    """Header fields that no rule speaks of: with the EVM they are compared to the byte."""
    one = hospitals.found("local", tmp_path)
    one.put("bonn", "heartbeat")
    one.path = tmp_path / "ledger.jsonl"
    one.ledger.export(one.path)
    one.ledger.close()
    records = records_of(one)
    fields = rlp.decode(bytes.fromhex(records[2]["header"]))
    fields[3] = bytes(32)
    header = rlp.encode(fields)
    records[2].update(header=header.hex(), hash=keccak(header).hex())
    records[3].update(hash=keccak(header).hex(), state_root="00" * 32)
    (tmp_path / "forged.jsonl").write_bytes(relinked(records))
    assert not verify(tmp_path / "forged.jsonl", evm=False).evm
    assert "line 3: the state root is not what the contract gives" in failing(tmp_path, relinked(records), evm=True)


def test_without_the_extra_the_rules_alone_verify_and_say_so(hospitals, tmp_path, monkeypatch):
    one = hospitals.found("local", tmp_path)
    one.ledger.export(tmp_path / "ledger.jsonl")
    one.ledger.close()
    load = builtins.__import__

    def without_eth(name, *args, **kwargs):
        if name.partition(".")[0] == "eth":
            raise ImportError(name)
        return load(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "cohortium.ledger.replica")
    monkeypatch.setattr(builtins, "__import__", without_eth)
    assert not verify(tmp_path / "ledger.jsonl").evm
    with pytest.raises(MissingExtra, match="'evm'"):
        verify(tmp_path / "ledger.jsonl", evm=True)


def test_files_and_lines_beyond_the_limits_are_refused(tmp_path, monkeypatch):
    assert "line 1: longer than" in failing(tmp_path, b"x" * (archive.MAX_LINE_BYTES + 5))
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 10)
    assert "larger than 10 bytes" in failing(tmp_path, b"x" * 11)


def test_an_export_that_names_another_engine_is_refused(hospitals, tmp_path):
    one = hospitals.found("memory", tmp_path)
    one.path = tmp_path / "ledger.jsonl"
    one.ledger.export(one.path)
    records = records_of(one)
    genesis = replace(one.genesis, engine="local")
    records[0].update(genesis=genesis.facts(), consortium=genesis.consortium.hex())
    assert "line 2: a header that engine 'local' does not write" in failing(tmp_path, relinked(records), evm=False)


@pytest.fixture
def claimed(hospitals, tmp_path, request):
    """An export of `replicated`: three sites spoke, each by its own clock."""
    one = hospitals.found("replicated", tmp_path, request=request)
    for site, ahead in (("bonn", 100), ("graz", 200), ("lund", 300)):
        one.clock.now = hospitals.start + ahead
        one.put(site, "heartbeat")
    one.path = tmp_path / "ledger.jsonl"
    one.ledger.sync()
    one.ledger.export(one.path)
    one.ledger.close()
    return one


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"claimed_s": 5}, "the entry is not signed by the transaction's sender"),
        ({"claimed_s": "5"}, "claimed_s is no time"),
        ({"claimed_s": -1}, "claimed_s is no time"),
        ({"entry": "00"}, "signature has 1 bytes"),
        ({"entry": None}, "entry is not hexadecimal"),
        ({"extra": 1}, "not the record of a block"),
    ],
)
def test_a_changed_claim_is_found_without_the_contract(claimed, tmp_path, change, says):
    records = records_of(claimed)
    records[3].update(change)
    assert f"line 4: {says}" in failing(tmp_path, relinked(records), evm=False)


def test_a_missing_claim_is_found(claimed, tmp_path):
    records = records_of(claimed)
    del records[2]["entry"]
    assert "line 3: not the record of a block" in failing(tmp_path, relinked(records), evm=False)


def test_a_block_time_that_does_not_follow_from_the_clocks_is_found(claimed, tmp_path):
    """A forger may give a block any time and make all hashes anew; the members' signed clocks say otherwise."""
    records = records_of(claimed)
    fields = rlp.decode(bytes.fromhex(records[4]["header"]))
    said = read_header(bytes.fromhex(records[4]["header"])).time
    assert said == claimed.genesis.time + 100  # bonn's, the middle of 0, 0, 100, 200, 300
    fields[11] = rlp.to_bytes(said + 7200)
    header = rlp.encode(fields)
    records[4].update(header=header.hex(), hash=keccak(header).hex(), time=said + 7200)
    assert f"line 5: its time {said + 7200} is not {said}" in failing(tmp_path, relinked(records), evm=False)
