"""The log keeps what operators ask for and nothing of a patient; a full disk does not stop the node."""

import json

from cohortium.node import log as module
from cohortium.node.log import Log


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_errors_are_written_by_kind_and_place(tmp_path):
    log = Log(tmp_path / "logs" / "node.jsonl", clock=lambda: 0.0)
    log("info", "started", site="bonn")
    try:
        raise ValueError("patient P-0007 is 83")
    except ValueError as error:
        log("error", "run halted", run=1, error=error)
    first, second = lines(tmp_path / "logs" / "node.jsonl")
    assert first == {"time": "1970-01-01T00:00:00Z", "level": "info", "what": "started", "site": "bonn"}
    assert second["why"] == second["error"] == "ValueError"
    assert second["places"][0].startswith("test_log.py:")
    assert "P-0007" not in json.dumps(second)


def test_a_grown_log_moves_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    log = Log(tmp_path / "node.jsonl")
    for number in range(5):
        log("info", "x" * 80, number=number)
    assert [line["number"] for line in lines(tmp_path / "node.jsonl")] == [4]
    assert [line["number"] for line in lines(tmp_path / "node.jsonl.1")] == [3]


def test_a_disk_that_refuses_is_no_reason_to_stop(tmp_path):
    (tmp_path / "file").write_text("")
    Log(tmp_path / "file" / "node.jsonl")("info", "nobody can write this")
