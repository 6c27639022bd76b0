"""The folder of a run: old results stay until new ones are whole; what was interrupted is neither lost nor mixed."""

import json
import os
from contextlib import suppress

import pytest

from cohortium.errors import RunFailed, UsageError
from cohortium.sim.folder import FILES, fingerprint, kept_state, resumed_by, run_folder, write_together, write_whole

RUN = {"study": "a", "data": "b", "ledger": "local", "engine": "auto"}


def opened(out, run_of=RUN, *, keeps_state=True, command="", **how):
    return run_folder(out, run_of, keeps_state=keeps_state, command=command, **{"resume": False, **how})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def interrupted(out, **how):
    with suppress(KeyboardInterrupt), opened(out, **how) as home:
        (home / "chain").write_text("so far")
        raise KeyboardInterrupt


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old")

    def pieces():
        yield b"half"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_whole(path, pieces())
    assert path.read_text() == "old"
    assert names(tmp_path) == ["run.json"]
    write_whole(path, [b"n", b"ew"])
    assert path.read_text() == "new"


def test_when_one_file_cannot_be_written_none_is(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot write .*b': "):
        write_together({tmp_path / "a": [b"new"], tmp_path / "file" / "b": [b"new"]})
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a", "file"]


def test_written_files_obey_the_users_mask(tmp_path):
    before = os.umask(0o077)
    try:
        write_whole(tmp_path / "report.html", [b"x"])
    finally:
        os.umask(before)
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o600


def test_a_finished_run_leaves_no_state(tmp_path):
    with opened(tmp_path / "run") as home:
        assert home.stat().st_mode & 0o077 == 0
        write_whole(tmp_path / "run" / "run.json", [b"{}"])
    assert names(tmp_path / "run") == ["run.json"]


def test_a_memory_run_keeps_no_state(tmp_path):
    with opened(tmp_path / "run", keeps_state=False) as home:
        assert home is None


def test_a_run_that_fails_leaves_the_disk_as_it_was(tmp_path):
    with pytest.raises(RunFailed), opened(tmp_path / "run"):
        raise RunFailed("bonn", "train", "separation")
    assert names(tmp_path) == []


def test_an_interrupted_run_is_kept_and_resumed(tmp_path):
    interrupted(tmp_path)
    assert kept_state(tmp_path) is not None
    with opened(tmp_path, resume=True) as home:
        assert (home / "chain").read_text() == "so far"
    assert kept_state(tmp_path) is None


def test_an_interrupted_run_is_not_overwritten_by_mistake(tmp_path):
    interrupted(tmp_path, command="cohortium simulate s.toml --resume")
    assert resumed_by(tmp_path) == "cohortium simulate s.toml --resume"
    with pytest.raises(UsageError, match="was interrupted") as caught, opened(tmp_path):
        pass
    assert caught.value.hint.endswith("begin again with --replace, or go on with: cohortium simulate s.toml --resume")
    with opened(tmp_path, replace=True) as home:
        assert not (home / "chain").exists()


def test_no_command_is_named_where_none_goes_on(tmp_path):
    assert resumed_by(tmp_path) == ""
    interrupted(tmp_path)
    assert resumed_by(tmp_path) == ""
    with pytest.raises(UsageError) as caught, opened(tmp_path):
        pass
    assert caught.value.hint.endswith("begin again with --replace")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            {"name": "mds", "study_digest": "0123456789abcdef01"},
            r"run of study 'mds' \(digest 0123456789abcdef\); choose",
        ),
        ({}, "holds a run.json; choose another --out, or overwrite it with --replace"),
        ([], "holds a run.json; choose"),
    ],
)
def test_a_finished_run_is_replaced_only_when_asked(record, words, tmp_path):
    (tmp_path / "report.html").write_text("somebody's")
    with pytest.raises(UsageError, match=r"holds 'report\.html' without a run; choose"), opened(tmp_path):
        pytest.fail("the run began")
    (tmp_path / "report.html").unlink()
    (tmp_path / "run.json").write_text(json.dumps(record))
    for keeps_state in (True, False):
        with pytest.raises(UsageError, match=words), opened(tmp_path, keeps_state=keeps_state):
            pytest.fail("the run began")
    with pytest.raises(UsageError, match=r"nothing to resume in '.*', it holds a "), opened(tmp_path, resume=True):
        pytest.fail("the run began")
    assert names(tmp_path) == ["run.json"]
    with opened(tmp_path, replace=True) as home:
        assert home is not None


@pytest.mark.parametrize("keeps_state", [True, False])
def test_a_run_that_replaces_an_interrupted_one_leaves_nothing_of_it(keeps_state, tmp_path):
    interrupted(tmp_path)
    with opened(tmp_path, keeps_state=keeps_state, replace=True):
        write_whole(tmp_path / "run.json", [b"{}"])
    assert names(tmp_path) == ["run.json"]


def test_a_run_that_replaces_a_finished_one_is_resumed_like_any_other(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    interrupted(tmp_path, replace=True)
    with opened(tmp_path, resume=True) as home:
        assert (home / "chain").read_text() == "so far"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"study": "x"}, "another study or seed"),
        ({"data": "x", "engine": "stacked"}, "other data and another engine"),
        ({"faults": "f1"}, "another failure played on it"),
    ],
)
def test_another_run_is_not_mixed_into_an_interrupted_one(change, words, tmp_path):
    interrupted(tmp_path)
    with pytest.raises(UsageError, match=words), opened(tmp_path, RUN | change, resume=True):
        pass
    assert (kept_state(tmp_path) / "chain").exists()


def test_a_damaged_mark_is_said(tmp_path):
    interrupted(tmp_path)
    (tmp_path / "state" / "run-of.json").write_bytes(b"\x00")
    with pytest.raises(UsageError, match="is damaged"), opened(tmp_path, resume=True):
        pass


def test_what_is_in_the_way_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "run" / "run.json").mkdir(parents=True)
    for out, sentence in [
        (tmp_path / "file", "is a file; results need a folder"),
        (tmp_path / "file" / "below", "cannot write results"),
        (tmp_path / "run", "is a folder"),
        (tmp_path / "new", "nothing to resume"),
    ]:
        with pytest.raises(UsageError, match=sentence), opened(out, resume=out.name == "new"):
            pytest.fail("the run began")
    assert names(tmp_path) == ["file", "run"]


def test_the_fingerprint_knows_study_data_ledger_and_engine(study, tables, make_table):
    one = fingerprint(study, tables, ledger="local", engine="auto")
    assert one == fingerprint(study, dict(reversed(tables.items())), ledger="local", engine="auto")
    assert one["study"] != fingerprint(study.with_seed(5), tables, ledger="local", engine="auto")["study"]
    other = tables | {"bonn": make_table(60, seed=9)}
    assert one["data"] != fingerprint(study, other, ledger="local", engine="auto")["data"]


def test_the_files_of_a_run_are_those_of_the_contract():
    assert FILES == ("run.json", "report.html", "model.safetensors", "ledger.jsonl")
