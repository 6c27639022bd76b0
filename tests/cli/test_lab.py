"""`cohortium lab`: a consortium in two commands, refused in one sentence where it cannot be."""

import contextlib
import io
import json
import shutil
import sys

import pytest

from cohortium.cli.app import run


def said(capsys):
    out, err = capsys.readouterr()
    return out, err.splitlines()


@pytest.mark.parametrize("command", [["status"], ["down"], ["fault", "heal"]])
def test_where_there_is_no_lab_the_commands_say_how_to_start_one(command, tmp_path, capsys):
    assert run(["lab", *command, "--dir", str(tmp_path)]) == 2
    _, err = said(capsys)
    assert err == [f"error: no lab in '{tmp_path}'", "hint: start one: cohortium lab up, or give --dir DIR"]


@pytest.mark.parametrize("command", ["up", "selfcheck"])
def test_an_engine_that_is_not_installed_is_named_with_what_to_install(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.chdir(tmp_path)
    assert run(["lab", command, "--sites", "2", "--ledger", "replicated"]) == 2
    assert said(capsys)[1][-1] == "error: engine 'replicated' needs etcd: apt-get install etcd-server"


def test_without_the_extra_for_nodes_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    for name in ("grpc", "dialing", "listening"):
        monkeypatch.delitem(sys.modules, f"cohortium.transport.{name}", raising=False)
    assert run(["lab", "up", "--sites", "2", "--dir", str(tmp_path / "lab")]) == 2
    assert said(capsys)[1] == [
        "error: the transport between machines needs the extra 'node': pip install 'cohortium[node]'"
    ]
    assert not (tmp_path / "lab").exists()


def test_own_data_need_a_study_and_a_study_needs_data(folder, files, capsys):
    assert run(["lab", "up", *files[1](folder), "--dir", str(folder / "lab")]) == 2
    assert "needs both --study FILE and --data" in said(capsys)[1][0]
    assert run(["lab", "up", "--study", str(folder / "study.toml"), "--dir", str(folder / "lab")]) == 2
    assert not (folder / "lab").exists()


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """A lab of two nodes of the user's own, started by the command: (its folder, stdout, stderr)."""
    from .conftest import data_of, write

    work = write(tmp_path_factory.mktemp("lab-cli") / "work")
    where = ["--dir", str(work / "lab")]
    out, err = io.StringIO(), io.StringIO()
    command = ["lab", "up", "--study", str(work / "study.toml"), *data_of(work, "bonn", "lund"), "--heartbeat", "0.5"]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            assert run([*command, *where]) == 0, err.getvalue()
        yield work / "lab", out.getvalue(), err.getvalue()
    finally:
        run(["lab", "down", "--remove", *where])


def test_up_says_what_runs_and_what_to_type_next(up):
    folder, out, err = up
    assert out == f"2 nodes are healthy in {folder}\n"
    assert "starting 2 nodes, ledger 'local': bonn, lund" in err
    assert f"next: cohortium run propose {folder / 'study.toml'} --home {folder / 'bonn'}" in err


def test_status_shows_every_node_and_exits_1_when_one_is_ill(up, capsys):
    where = ["--dir", str(up[0])]
    assert run(["lab", "status", *where]) == 0
    rows = [line.split("\t") for line in said(capsys)[0].splitlines()]
    assert rows[0] == ["site", "process", "health", "ledger", "runs"]
    assert [row[0::2] for row in rows[1:]] == [["bonn", "healthy", "none"], ["lund", "healthy", "none"]]
    assert run(["lab", "fault", "kill", "lund", *where]) == 0
    assert run(["lab", "status", "--json", *where]) == 1
    found = json.loads(capsys.readouterr().out.split("\n", 1)[1])
    assert found["sites"]["lund"]["pid"] is None
    assert run(["lab", "fault", "heal", *where]) == 0


def test_a_fault_is_said_as_lines_and_as_json_and_a_clock_may_go_back(up, capsys):
    where = ["--dir", str(up[0])]
    assert run(["lab", "fault", "clock", "lund", "-30m", *where]) == 0
    assert said(capsys)[0] == "the clock of 'lund' is off by -1800 s\n"
    assert run(["lab", "fault", "F2", "lund", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["fault"] == ["F2", "lund"]
    assert run(["lab", "fault", "F99", *where]) == 2
    assert run(["lab", "fault", "heal", *where]) == 0


def test_a_second_lab_in_the_same_folder_is_refused(up, capsys):
    assert run(["lab", "up", "--sites", "2", "--dir", str(up[0])]) == 2
    assert f"hint: stop it first: cohortium lab down --dir {up[0]}" in said(capsys)[1]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_selfcheck_ends_with_0_and_both_digests(capsys):
    pytest.importorskip("sklearn")
    assert run(["lab", "selfcheck", "--sites", "2", "--ledger", "local", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["lab"]["status"] == "complete"
    assert found["lab"]["digest"] == found["simulation"]["digest"]
