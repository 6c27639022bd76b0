"""`cohortium run`: what is typed reaches the node, what comes back is shown, the exit code is the run's."""

import json

import pytest

from cohortium.cli import run as module
from cohortium.cli.app import run
from cohortium.node.home import Home
from cohortium.node.run_folder import Ending, RunFolder

RUN = {
    "run": 3,
    "study": "ab" * 32,
    "name": "little",
    "proposer": "lund",
    "here": "waiting",
    "merges": 0,
    "n_rounds": 4,
    "sentence": "waits for the answer of bonn",
    "findings": {"warnings": ["no values for b"]},
}
TEXT = '[study]\nname = "little"\n'
SHOWN = {"run": RUN, "study": TEXT, "compared_with": "before", "changes": ["model.l2: 0.1 -> 1"]}


@pytest.fixture
def home(tmp_path):
    return Home.create(tmp_path / "node", site="bonn", now=1_800_000_000)


@pytest.fixture
def node(home, monkeypatch):
    """A node that answers from a table and notes what it was asked."""
    asked, answers = [], {}

    def answer(path, request, **more):
        assert path == home.control
        asked.append(request)
        return answers.get(request["do"], {"run": RUN})

    monkeypatch.setattr("cohortium.node.control.ask_node", answer)
    monkeypatch.setattr("cohortium.node.control.watch_node", lambda path, request, **more: iter(answers["watch"]))
    answers["show"] = SHOWN
    return asked, answers


def typed(home, *words):
    return run(["run", *words, "--home", str(home.path)])


def test_a_study_is_proposed_with_its_text(node, home, tmp_path, capsys):
    asked, _ = node
    (tmp_path / "study.toml").write_text('[study]\nname = "a"\noutcome = "label"\n[model]\nname = "logistic"\n')
    assert typed(home, "propose", str(tmp_path / "study.toml")) == 0
    assert asked[0] == {"do": "propose", "study": (tmp_path / "study.toml").read_text(), "code": ""}
    out, err = capsys.readouterr()
    assert out == "proposed as run 3\n"
    assert "cohortium run approve 3" in err


def test_approving_asks_a_person_and_a_script_must_say_yes(node, home, capsys, monkeypatch):
    asked, _ = node
    assert typed(home, "approve", "3") == 2
    assert "in a script add --yes" in capsys.readouterr().err
    assert [one["do"] for one in asked] == ["show"]
    assert typed(home, "approve", "3", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == RUN
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for said, code in ((True, 0), (False, 1)):
        monkeypatch.setattr(module.typer, "confirm", lambda question, err, said=said: said)
        assert typed(home, "approve", "3") == code
    err = capsys.readouterr().err
    assert 'name = "little"' in err
    assert "model.l2: 0.1 -> 1" in err
    assert "warning: no values for b" in err


@pytest.mark.parametrize("word", ["decline", "resume"])
def test_words_that_need_no_question(node, home, word):
    asked, _ = node
    assert typed(home, word, "3") == 0
    assert asked == [{"do": word, "run": 3}]


def test_leaving_a_run_is_asked_about(node, home):
    assert typed(home, "stop", "3") == 2
    assert typed(home, "stop", "3", "--yes") == 0


def test_all_runs_are_listed_for_people_and_scripts(node, home, capsys):
    node[1]["runs"] = {"ok": True, "runs": [RUN]}
    assert typed(home, "list") == 0
    assert capsys.readouterr().out.splitlines()[1].split("\t")[:3] == ["3", "little", "lund"]
    assert typed(home, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["runs"] == [RUN]


LINES = [
    {"event": "proposed", "run": 3, "site": "lund"},
    {"event": "asks", "run": 3, "site": "bonn", "blocked": ""},
    {"event": "approved", "run": 3, "site": "lund"},
    {"event": "started", "run": 3, "sites": ["bonn", "lund"], "missing": ["porto"]},
    {"event": "progress", "run": 3, "site": "lund", "fraction": 0.5},
    {"event": "round", "run": 3, "turn": 1, "of": 4, "contributors": ["bonn", "lund"], "n_sites": 2,
     "stage": "presence", "measures": {"auroc": 0.75}, "seconds": 1.5, "leader": "lund"},
    {"event": "trouble", "run": 3, "site": "lund", "round": 2, "stage": "train", "code": "device"},
    {"event": "closed", "run": 3, "round": 2, "missing": ["lund"]},
    {"event": "left", "run": 3, "site": "lund", "round": 2, "stage": "train", "reason": "device"},
    {"event": "halted", "run": 3, "why": "disk"},
]  # fmt: skip


@pytest.mark.parametrize(("status", "code"), [("complete", 0), ("partial", 3), ("failed", 4)])
def test_watching_ends_with_the_runs_own_exit_code(node, home, capsys, status, code):
    ended = {"event": "ended", "run": 3, "status": status, "sentence": status, "exit_code": code, "report": "/r.html"}
    node[1]["watch"] = [*LINES, ended]
    assert typed(home, "watch", "3") == code
    out, err = capsys.readouterr()
    assert out == f"{status}\nreport: /r.html\n"
    assert err.splitlines() == [
        "proposed by lund",
        "waits for this site: cohortium run approve 3",
        "lund has approved",
        "started with bonn, lund; without porto",
        "round   1/4  2/2 sites  prepares: presence  AUROC 0.750  1.5 s  leader lund",
        "trouble at lund in round 2: train, device",
        "round 2 goes on without lund",
        "lund is out in round 2: train, device",
        "stopped here: disk",
    ]
    assert typed(home, "watch", "3", "--json") == code
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()][-1] == "ended"


def test_a_node_that_stops_while_watched_is_said(node, home, capsys):
    node[1]["watch"] = LINES
    assert typed(home, "watch", "3") == 1
    assert "goes on when the node is started again" in capsys.readouterr().err


def test_the_report_of_an_ended_run_needs_no_node(home, capsys):
    assert typed(home, "report", "3") == 2
    assert "has no results here yet" in capsys.readouterr().err
    RunFolder(home.runs / "3").close(Ending(status="partial", sentence="partial (1/2 sites)", missing={"lund": "left"}))
    assert typed(home, "report", "3") == 3
    assert capsys.readouterr().out.splitlines() == [
        "partial (1/2 sites)", "no figures of lund: left", "report: none",
    ]  # fmt: skip


def test_without_a_node_the_way_to_start_one_is_said(home, capsys):
    assert typed(home, "list") == 1
    assert "cohortium node start" in capsys.readouterr().err
