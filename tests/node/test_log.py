"""The log: one object a line, limited in size, and no way for a patient's value or a key to get in."""

import json
import threading

import numpy as np

from cohortium.errors import DataError
from cohortium.node.log import MAX_WORD, Log

MARKER = "PATIENT-4711"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_when_how_grave_what_and_the_facts(tmp_path):
    log = Log(tmp_path / "logs" / "node.jsonl", clock=lambda: 0.0)
    log("info", "started", site="bonn", port=7, ok=True, share=0.5, missing=("lund",))
    assert lines(tmp_path / "logs" / "node.jsonl") == [
        {
            "time": "1970-01-01T00:00:00Z",
            "level": "info",
            "what": "started",
            "site": "bonn",
            "port": 7,
            "ok": True,
            "share": 0.5,
            "missing": ["lund"],
        }
    ]
    assert (tmp_path / "logs" / "node.jsonl").stat().st_mode & 0o007 == 0


def test_values_of_foreign_errors_tables_and_keys_do_not_get_in(tmp_path):
    log = Log(tmp_path / "node.jsonl")
    try:
        float(MARKER)
    except ValueError as error:
        log("error", "run halted", run=1, error=error)
    log("warn", "odd", table=np.array([4711.0]), rows={MARKER: 1}, key=MARKER.encode(), thing=object())
    text = (tmp_path / "node.jsonl").read_text()
    assert "4711" not in text
    assert MARKER not in text
    first, second = lines(tmp_path / "node.jsonl")
    assert (first["error"], first["why"], first["run"]) == ("ValueError", "ValueError", 1)
    assert first["places"][0].startswith("test_log.py:")
    assert (second["table"], second["rows"], second["key"]) == ("ndarray", "dict", "50415449")


def test_own_errors_are_logged_with_their_sentence(tmp_path):
    log = Log(tmp_path / "node.jsonl")
    log("error", "data", error=DataError("column 'age': <5 values out of range"))
    assert lines(tmp_path / "node.jsonl")[0]["why"] == "column 'age': <5 values out of range"


def test_a_text_cannot_break_the_line_or_fill_the_disk(tmp_path):
    log = Log(tmp_path / "node.jsonl")
    log("info", "x", text="a\nb\x1b[31m" + "c" * 5000, number=float("nan"))
    [line] = lines(tmp_path / "node.jsonl")
    assert line["text"].startswith("a b [31m")
    assert len(line["text"]) == MAX_WORD
    assert line["number"] is None
    log("info", "x", **{f"f{n}": "c" * 300 for n in range(40)})
    assert lines(tmp_path / "node.jsonl")[1]["cut"] > 8192


def test_old_files_are_kept_up_to_a_number(tmp_path):
    log = Log(tmp_path / "node.jsonl", max_bytes=2000, kept=2)
    for n in range(200):
        log("info", "line", n=n)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["node.1.jsonl", "node.2.jsonl", "node.jsonl"]
    kept = [one["n"] for name in ("node.2", "node.1", "node") for one in lines(tmp_path / f"{name}.jsonl")]
    assert kept == list(range(kept[0], 200))
    assert all(p.stat().st_size <= 2000 for p in tmp_path.iterdir())


def test_several_threads_write_whole_lines(tmp_path):
    log = Log(tmp_path / "node.jsonl")
    threads = [threading.Thread(target=lambda n=n: [log("info", "y", n=n) for _ in range(50)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one["n"] for one in lines(tmp_path / "node.jsonl")) == [n for n in range(4) for _ in range(50)]


def test_a_disk_that_refuses_is_no_reason_to_stop(tmp_path):
    (tmp_path / "node.jsonl").mkdir()
    Log(tmp_path / "node.jsonl")("info", "nobody can write this")
    (tmp_path / "file").write_text("")
    Log(tmp_path / "file" / "node.jsonl")("info", "nobody can write this")
