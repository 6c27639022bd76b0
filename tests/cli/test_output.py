"""JSON stands alone on stdout and is strict; piped tables are tab-separated and uncut."""

import json

from cohortium.cli.output import Screen, strict_json


def test_json_has_no_nan_and_no_infinity():
    text = strict_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": (2, None)}})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": [2, None]}}
    assert "NaN" not in text


def test_with_json_stdout_holds_the_document_and_nothing_else(capsys):
    screen = Screen(as_json=True)
    screen.say("progress")
    screen.warn("careful")
    screen.result("report: x")
    screen.table(("a",), [("1",)])
    screen.document({"status": "complete"})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"status": "complete"}
    assert err.splitlines() == ["progress", "warning: careful", "report: x"]


def test_without_json_the_result_is_on_stdout(capsys):
    screen = Screen()
    screen.result("report: x")
    screen.document({"status": "complete"})
    assert capsys.readouterr().out == "report: x\n"


def test_a_piped_table_is_tab_separated_and_never_cut(capsys):
    long = "x" * 300
    Screen().table(("site", "n"), [(long, "1")])
    assert capsys.readouterr().out == f"site\tn\n{long}\t1\n"


def test_quiet_leaves_results_and_drops_progress(capsys):
    screen = Screen(quiet=True)
    screen.say("progress")
    screen.warn("careful")
    screen.result("done")
    out, err = capsys.readouterr()
    assert (out, err) == ("done\n", "")


def test_no_escape_codes_when_piped(capsys):
    Screen().warn("careful")
    assert "\x1b" not in capsys.readouterr().err
