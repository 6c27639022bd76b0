"""The form of an export of an outside chain: one line a call, readable by anyone."""

import json

from cohortium.core.seams import Head
from cohortium.ledger.blocks import Happening
from cohortium.ledger.evm_export import write_evm_export
from cohortium.ledger.evm_file import KeptCall
from cohortium.ledger.export import FIRST_LINK, open_line


def test_each_call_is_a_line_with_its_place_and_outcome(hospitals, tmp_path):
    call = KeptCall(7, 2, b"\1" * 32, 99, b"\2" * 32, b"\xab", False, "phase", b"\xc0")
    events = [Happening("Heartbeat", {"site": "bonn"})]
    path = tmp_path / "ledger.jsonl"
    path.write_text("old")
    write_evm_export(path, hospitals.genesis_of("evm-rpc"), [(call, events)], Head(9, b"\3" * 32, b"\4" * 32))
    lines = path.read_bytes().splitlines(keepends=True)
    link, records = FIRST_LINK, []
    for line in lines:
        record, link = open_line(line, link)
        records.append(record)
    assert records[0]["genesis"]["engine"] == "evm-rpc"
    assert records[1] == {
        "block": "01" * 32,
        "events": [["Heartbeat", {"site": "bonn"}]],
        "height": 7,
        "ok": False,
        "position": 2,
        "raw": "ab",
        "reason": "phase",
        "time": 99,
        "transaction": "02" * 32,
    }
    assert records[2] == {"hash": "03" * 32, "heads": [], "last": 9, "state_root": "04" * 32}
    assert json.loads(lines[1])["link"]
