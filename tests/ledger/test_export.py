"""The form of an export: whole lines, each chained to the one before."""

import hashlib
import json

import pytest

from cohortium.core.identity import LedgerKey, keccak
from cohortium.core.seams import Head
from cohortium.errors import SignatureError
from cohortium.ledger.export import FIRST_LINK, MAX_LINE_BYTES, SignedHead, _close_line, open_line, sign_head

KEY = LedgerKey.from_bytes(b"\x05" * 32)
HEAD = Head(7, b"\1" * 32, b"\2" * 32)
PLACE = {"contract": b"\xcc" * 20, "chain_id": 7001}


def test_a_line_reads_back_and_gives_the_next_link():
    line, link = _close_line({"b": 1, "a": "x"}, FIRST_LINK)
    assert open_line(line, FIRST_LINK) == ({"a": "x", "b": 1}, link)
    assert list(json.loads(line)) == ["a", "b", "link"]
    assert json.loads(line)["link"] == link.hex()


def test_every_changed_byte_of_a_line_shows():
    line, _ = _close_line({"raw": "00ff", "events": []}, FIRST_LINK)
    for at in range(len(line)):
        for flip in (1, 32, 128):
            spoiled = line[:at] + bytes([line[at] ^ flip]) + line[at + 1 :]
            with pytest.raises(ValueError, match=r"link does not fit|not a whole record"):
                open_line(spoiled, FIRST_LINK)


@pytest.mark.parametrize("n", [0, 1, 10, 40, -1, -2, -75])
def test_a_cut_line_shows(n):
    line, _ = _close_line({"raw": "00ff", "events": []}, FIRST_LINK)
    with pytest.raises(ValueError, match=r"link does not fit|not a whole record"):
        open_line(line[:n], FIRST_LINK)


def test_a_line_after_another_predecessor_shows():
    line, _ = _close_line({"raw": "00ff"}, FIRST_LINK)
    with pytest.raises(ValueError, match="link does not fit"):
        open_line(line, keccak(b"another"))


def test_hostile_lines_with_a_right_link_are_values_and_no_crash():
    def linked(body: bytes) -> bytes:
        return body + b',"link":"' + hashlib.sha256(FIRST_LINK + body).hexdigest().encode() + b'"}\n'

    for body in (b'{"a":' + b"[" * 200_000, b'{"a":NaN', b'{"a":1e', b'{"a":"\xff"', b'{"a":' + b"9" * 5000):
        with pytest.raises(ValueError, match=r"."):
            open_line(linked(body), FIRST_LINK)
    with pytest.raises(ValueError, match="longer than"):
        open_line(bytes(MAX_LINE_BYTES + 1), FIRST_LINK)


def test_a_signed_head_names_its_signer():
    signed = sign_head(KEY, HEAD, **PLACE)
    assert (signed.height, signed.hash) == (7, b"\1" * 32)
    assert signed.signer(**PLACE) == KEY.address


@pytest.mark.parametrize(
    ("head", "place"),
    [
        ({"height": 8}, {}),
        ({"hash": b"\3" * 32}, {}),
        ({}, {"chain_id": 7002}),
        ({}, {"contract": b"\xcd" * 20}),
    ],
)
def test_a_signed_head_speaks_for_one_block_of_one_chain(head, place):
    signed = sign_head(KEY, HEAD, **PLACE)
    moved = SignedHead(head.get("height", 7), head.get("hash", b"\1" * 32), signed.signature)
    assert moved.signer(**{**PLACE, **place}) != KEY.address
    with pytest.raises(SignatureError):
        SignedHead(7, b"\1" * 32, b"").signer(**PLACE)


def test_an_export_replaces_a_file_only_as_a_whole(consortium, tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_text("old")
    consortium.ledger.export(path)
    first = path.read_bytes()
    assert first.count(b"\n") == 3
    assert first.endswith(b"\n")
    consortium.ledger.export(path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.glob("*.part")] == []


def test_lines_are_plain_json_that_anyone_can_read(consortium, tmp_path):
    consortium.put("bonn", "heartbeat")
    consortium.ledger.export(tmp_path / "ledger.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert lines[0]["format"] == "cohortium-ledger-1"
    assert lines[0]["genesis"]["founders"][0]["name"] == "bonn"
    assert lines[2]["events"] == [["Heartbeat", {"site": "bonn"}]]
    assert lines[3]["last"] == 2
