"""`cohortium report`: the page again from its record."""

import json

import pytest

from cohortium.cli.app import run


def test_the_page_is_written_again_bit_for_bit(finished, tmp_path, capsys):
    _, out, _, _ = finished
    page = tmp_path / "page.html"
    assert run(["report", str(out), "--to", str(page)]) == 0
    assert capsys.readouterr().out == f"report: {page}\n"
    assert page.read_bytes() == (out / "report.html").read_bytes()
    assert run(["report", str(out / "run.json"), "--to", str(page), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(page), "scope": "site"}


def test_readers_outside_see_no_site_by_name(finished, tmp_path):
    page = tmp_path / "page.html"
    assert run(["report", str(finished[1]), "--to", str(page), "--scope", "consortium"]) == 0
    assert "porto" not in page.read_text()
    assert "porto" in (finished[1] / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--scope", "all"], "unknown scope 'all'"),
        (["--to", "/proc/no/page.html"], "cannot write '/proc/no/page.html'"),
    ],
)
def test_what_cannot_be_written_is_a_sentence(arguments, sentence, finished, capsys):
    assert run(["report", str(finished[1]), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_record_that_is_none_is_a_sentence(tmp_path, capsys):
    (tmp_path / "run.json").write_text("[" * 100_000)
    assert run(["report", str(tmp_path)]) == 2
    assert "record '" in capsys.readouterr().err
    assert run(["report", str(tmp_path / "none")]) == 2
    assert "cannot read record" in capsys.readouterr().err
