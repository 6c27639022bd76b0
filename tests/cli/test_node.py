"""`cohortium node`: from keys to a founded consortium by files and telephone; what does not compare is not signed."""

import json
import os
import pty
import subprocess
import sys

import pytest

from cohortium.cli.app import run
from cohortium.node.home import Home


def node(*words, home):
    return run(["node", *(str(word) for word in words), "--home", str(home), "--json"])


@pytest.fixture
def said(capsys):
    """(exit code, document, stderr) of one command."""

    def call(*words, home):
        capsys.readouterr()
        code = node(*words, home=home)
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else {}, err

    return call


@pytest.fixture
def trio(tmp_path, monkeypatch, said):
    """Three homes and their request files, as three hospitals made them. porto will host."""
    monkeypatch.chdir(tmp_path)
    for site in ("bonn", "lund", "porto"):
        assert said("init", "--site", site, "--contact", f"it@{site}", home=tmp_path / site)[0] == 0
        assert said("request", home=tmp_path / site)[0] == 0
    return tmp_path


@pytest.fixture
def founded(trio, said):
    """porto has founded; bonn and lund have signed; the whole file is back at porto and bonn."""
    files = [trio / f"{site}.request.json" for site in ("bonn", "lund", "porto")]
    code, told, _ = said("found", *files, home=trio / "porto")
    assert (code, told["missing"]) == (0, ["bonn", "lund"])
    file = told["file"]
    for site in ("bonn", "lund"):
        code, told, _ = said("approve", file, "--fingerprint", told["fingerprint"], home=trio / site)
        assert code == 0
        file = told["file"]
    assert told["missing"] == []
    for site in ("porto", "bonn"):
        code, again, _ = said("approve", file, home=trio / site)
        assert (code, again["missing"]) == (0, [])
    return trio


def test_init_makes_keys_prints_the_fingerprint_and_never_overwrites(tmp_path, said):
    code, told, err = said("init", "--site", "porto", "--listen", "0.0.0.0:443", home=tmp_path / "h")
    assert code == 0
    assert [len(group) for group in told["fingerprint"].split()] == [4] * 8
    assert "next: cohortium node request --home" in err
    code, _, err = said("init", "--site", "porto", home=tmp_path / "h")
    assert (code, "holds a node already" in err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ("--site", "Porto Hospital"),
        ("--site", "porto", "--advertise", "somewhere"),
        ("--site", "porto", "--ledger", "paper"),
    ],
)
def test_wrong_words_end_with_two_and_make_nothing(tmp_path, said, words):
    code, told, err = said("init", *words, home=tmp_path / "h")
    assert (code, told) == (2, {})
    assert err.startswith("error: ")
    assert not (tmp_path / "h").exists()


def test_a_request_is_small_and_holds_no_secret(trio):
    raw = (trio / "porto.request.json").read_bytes()
    keys = Home.open(trio / "porto").keys
    assert len(raw) < 4096
    for secret in (keys.ledger.secret_bytes(), keys.seal_seed, keys.patients):
        assert secret.hex().encode() not in raw


def test_three_hospitals_found_by_files_and_telephone(founded):
    foundings = [Home.open(founded / site).founding for site in ("bonn", "lund", "porto")]
    assert all(one.complete and one == foundings[0] for one in foundings)
    assert {Home.open(founded / site).ledger_host for site in ("bonn", "lund", "porto")} == {"porto"}


def test_what_the_telephone_contradicts_is_not_signed(trio, said):
    code, told, _ = said("found", trio / "bonn.request.json", home=trio / "porto")
    assert code == 0
    wrong = "0000 " + told["fingerprint"][5:]
    code, _, err = said("approve", told["file"], "--fingerprint", wrong, home=trio / "bonn")
    assert code == 1
    assert "another than the one read out" in err
    assert Home.open(trio / "bonn").founding is None


def test_without_a_person_or_a_fingerprint_nothing_is_signed(trio, said):
    _, told, _ = said("found", trio / "bonn.request.json", home=trio / "porto")
    code, _, err = said("approve", told["file"], home=trio / "bonn")
    assert (code, "--fingerprint" in err) == (2, True)


def test_a_request_file_of_other_keys_cannot_found(trio, said, tmp_path):
    assert said("init", "--site", "porto", home=tmp_path / "other")[0] == 0
    code, _, err = said("found", trio / "porto.request.json", home=tmp_path / "other")
    assert (code, "not of this home's keys" in err) == (2, True)
    code, _, err = said("found", trio / "bonn.request.json", trio / "bonn.request.json", home=trio / "porto")
    assert (code, "of the same site" in err) == (2, True)


def test_a_damaged_file_is_refused_in_a_sentence(trio, said):
    (trio / "bad.request.json").write_bytes((trio / "bonn.request.json").read_bytes().replace(b"it@bonn", b"it@evil"))
    code, _, err = said("approve", trio / "bad.request.json", "--fingerprint", "x", home=trio / "porto")
    assert (code, "not signed by all three" in err) == (1, True)
    code, _, err = said("approve", trio / "nothing.json", home=trio / "porto")
    assert (code, "cannot read" in err) == (2, True)


def test_before_the_founding_votes_say_what_is_missing(trio, said):
    print_ = Home.open(trio / "bonn").card(1.0).fingerprint
    code, _, err = said("approve", trio / "bonn.request.json", "--fingerprint", print_, home=trio / "porto")
    assert (code, "belongs to no consortium yet" in err) == (2, True)


def test_the_host_votes_without_a_running_node_and_others_are_told_to_start_one(founded, said):
    assert said("init", "--site", "oslo", home=founded / "oslo")[0] == 0
    _, told, _ = said("request", home=founded / "oslo")
    print_ = told["fingerprint"].upper()
    code, told, _ = said("approve", "oslo.request.json", "--fingerprint", print_, home=founded / "porto")
    assert (code, told["did"], told["count"], told["need"], told["decided"]) == (0, "admit", 1, 2, False)
    code, _, err = said("approve", "oslo.request.json", "--fingerprint", print_, home=founded / "porto")
    assert (code, "this site has voted on it" in err) == (1, True)
    code, _, err = said("approve", "oslo.request.json", "--fingerprint", print_, home=founded / "bonn")
    assert code == 2
    assert "hosted by 'porto' and reached only by a running node" in err
    assert "hint: cohortium node start" in err


def test_a_newcomer_keeps_the_whole_consortium_only(founded, trio, said):
    assert said("init", "--site", "oslo", home=founded / "oslo")[0] == 0
    whole = founded / "porto" / "consortium.json"
    print_ = Home.open(founded / "porto").founding.fingerprint
    assert said("approve", whole, "--fingerprint", print_, home=founded / "oslo")[0] == 0
    assert Home.open(founded / "oslo").founding.complete


def test_exclusion_needs_evidence_that_is_kept(founded, said):
    (founded / "why.txt").write_text("two merges signed")
    code, told, _ = said("exclude", "lund", "--evidence", founded / "why.txt", home=founded / "porto")
    assert (code, told["did"], told["need"]) == (0, "exclude", 2)
    assert (founded / "porto" / "evidence" / told["evidence"]).read_text() == "two merges signed"
    assert said("exclude", "lund", "--evidence", founded / "none.txt", home=founded / "porto")[0] == 2
    assert said("exclude", "nobody", "--evidence", founded / "why.txt", home=founded / "porto")[0] == 1


def test_rotation_without_a_node_says_whom_to_tell(founded, said):
    before = Home.open(founded / "porto").card(1.0)
    code, told, err = said("rotate", home=founded / "porto")
    assert (code, told["announced"]) == (0, False)
    assert "send porto.request.json to the others" in err
    after = Home.open(founded / "porto").card(1.0)
    assert after.tls != before.tls
    code, told, _ = said("approve", "porto.request.json", "--fingerprint", after.fingerprint, home=founded / "porto")
    assert (code, told["did"]) == (0, "kept")


def test_leaving_is_confirmed_and_keeps_the_chain(founded, said):
    code, _, err = said("leave", home=founded / "porto")
    assert (code, "--yes" in err) == (2, True)
    assert said("leave", "--yes", home=founded / "porto")[0] == 0
    assert (founded / "porto" / "chain.sqlite").exists()
    code, _, err = said("leave", "--yes", home=founded / "porto")
    assert (code, "no active member" in err) == (1, True)


def test_a_home_in_use_is_refused_by_name(founded, said):
    with Home.open(founded / "porto").lock("somebody"):
        code, _, err = said("leave", "--yes", home=founded / "porto")
    assert (code, "in use by somebody" in err) == (1, True)


def test_no_home_says_how_to_make_one(tmp_path, said):
    code, _, err = said("request", home=tmp_path / "none")
    assert (code, "cohortium node init" in err) == (2, True)


def test_a_person_is_asked_on_a_terminal(trio, said):
    """The fingerprint is not shown beside the question, or it would be copied from there."""
    _, told, _ = said("found", trio / "bonn.request.json", home=trio / "porto")
    command = [sys.executable, "-m", "cohortium", "node", "approve", told["file"], "--home", str(trio / "bonn")]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as asking:
        os.write(ours, told["fingerprint"].encode() + b"\n")
        out, err = asking.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert asking.returncode == 0, err
    assert "as read out on the telephone" in err
    assert told["fingerprint"] not in err.partition("as read out")[0]
    assert "all have signed" in out


def test_doctor_ends_with_one_when_a_check_fails_and_prints_the_fix(founded, said, capsys):
    code, told, _ = said("doctor", home=founded / "bonn")
    assert (code, told["failed"]) == (0, 0)
    assert told["seconds"] < 20
    (founded / "bonn" / "keys" / "tls.key").chmod(0o644)
    code, told, _ = said("doctor", home=founded / "bonn")
    assert (code, told["failed"]) == (1, 1)
    [check] = [one for one in told["checks"] if one["level"] == "fail"]
    assert check["fix"].startswith("chmod 600")
    assert run(["node", "doctor", "--home", str(founded / "bonn")]) == 1
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["keys", "fail"] in [row[:2] for row in rows]


def test_doctor_reads_a_study_with_its_lines(founded, said):
    (founded / "study.toml").write_text('[study]\nname = "x"\noutcome = "label"\n[model]\nname = "logistik"\n')
    code, _, err = said("doctor", "--study", founded / "study.toml", home=founded / "bonn")
    assert (code, "study.toml:5" in err) == (2, True)


def test_a_started_node_answers_until_it_is_told_to_stop(founded, said, tmp_path, capsys):
    home = founded / "porto"
    command = [sys.executable, "-m", "cohortium", "node", "start", "--home", str(home), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        lines = iter(started.stdout.readline, "}\n")
        assert json.loads("".join(lines) + "}") == {"home": str(home), "port": 0, "site": "porto"}
        code, told, _ = said("status", home=home)
        assert (code, told["site"], told["healthy"]) == (1, "porto", False)
        assert told["problems"] == ["no other member was heard within 60 s"]
        assert run(["node", "status", "--home", str(home)]) == 1
        out = capsys.readouterr().out
        assert "node 'porto': not healthy" in out
        assert "problem: no other member was heard" in out
        assert said("init", "--site", "ulm", home=tmp_path / "ulm")[0] == 0
        code, card, _ = said("request", home=tmp_path / "ulm")
        code, vote, _ = said("approve", "ulm.request.json", "--fingerprint", card["fingerprint"], home=home)
        assert (code, vote["did"], vote["count"]) == (0, "admit", 1), "the running node votes"
        code, _, err = said("start", home=home)
        assert (code, "is in use by cohortium node" in err) == (1, True)
        started.terminate()
        assert started.wait(15) == 0
    assert not (home / "control.sock").exists()
    code, _, err = said("status", home=home)
    assert (code, "no node runs in" in err) == (1, True)


def test_a_node_without_a_consortium_does_not_start(trio, said):
    code, _, err = said("start", home=trio / "bonn")
    assert (code, "belongs to no consortium yet" in err) == (2, True)


@pytest.mark.slow
def test_a_node_runs_answers_and_stops(tmp_path, said, monkeypatch):
    """One founder alone: a whole process, its socket, its lock; nobody has to vouch for it."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "porto"
    assert said("init", "--site", "porto", home=home)[0] == 0
    assert said("request", home=home)[0] == 0
    assert said("found", "porto.request.json", home=home)[0] == 0
    code, told, _ = said("status", home=home)
    assert (code, told["healthy"]) == (1, False)
    assert "cohortium node start" in json.dumps(told) or "no node runs" in told["problems"][0]

    command = [sys.executable, "-m", "cohortium", "node", "start", "--home", str(home), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            text = ""
            while not text.rstrip().endswith("}"):  # one document, once commands are answered
                line = process.stdout.readline()
                assert line, "the node ended before it was ready"
                text += line
            code, told, _ = said("status", home=home)
            assert (code, told["healthy"], told["certificate"]["state"]) == (0, True, "ok")
            code, told, _ = said("members", home=home)
            assert (code, [one["site"] for one in told["members"]]) == (0, ["porto"])
            code, told, _ = said("doctor", home=home)
            assert (code, {one["id"]: one["level"] for one in told["checks"]}["node"]) == (0, "ok")
            second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            assert second.returncode == 1
            assert f"in use by cohortium node, process {process.pid}" in second.stderr
        finally:
            process.terminate()
        assert process.wait(timeout=20) == 0
    assert said("status", home=home)[0] == 1
