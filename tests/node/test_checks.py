"""The machine below a node: what is too little, too open or not there, at its limit from both sides."""

import pytest

from cohortium.core.study_text import study_of
from cohortium.node.checks import (
    check_consortium,
    check_disk,
    check_folder,
    check_heads,
    check_keys,
    check_memory,
    check_needs,
    check_paths,
    check_shared_memory,
    check_threads,
    check_versions,
    memory_available,
)
from cohortium.node.survey import own_versions

MIB, GIB = 1 << 20, 1 << 30


def test_a_home_as_it_was_made_passes(porto):
    checks = [check_folder(porto.path), check_keys(porto), check_consortium(porto), *check_paths(porto)]
    assert {check.level for check in checks} == {"ok"}


def test_a_folder_others_can_enter(porto):
    porto.path.chmod(0o755)
    check = check_folder(porto.path)
    assert (check.level, check.fix) == ("fail", f"chmod 700 {porto.path}")


def test_room_is_four_payloads_and_the_reserve(porto):
    need = 4 * 100 * MIB + 5 * GIB
    assert check_disk(porto, payload_bytes=100 * MIB, free_bytes=need).level == "ok"
    check = check_disk(porto, payload_bytes=100 * MIB, free_bytes=need - 1)
    assert (check.level, "disk_reserve_gb" in check.fix) == ("fail", True)
    assert check_disk(porto, payload_bytes=0).level in ("ok", "fail")


def test_memory_for_model_and_table():
    need = 6 * 100 * MIB + 3 * 50 * MIB + 300 * MIB
    facts = {"payload_bytes": 100 * MIB, "table_bytes": 50 * MIB}
    assert check_memory(**facts, available_bytes=need).level == "ok"
    assert check_memory(**facts, available_bytes=need - 1).level == "fail"
    assert check_memory(**facts, available_bytes=None).level == "skipped"


def test_a_containers_limit_counts_before_the_machines(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    assert memory_available(tmp_path / "meminfo", tmp_path) == 8000 * 1024
    (tmp_path / "memory.max").write_text("4096000\n")
    (tmp_path / "memory.current").write_text("96000\n")
    assert memory_available(tmp_path / "meminfo", tmp_path) == 4_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_available(tmp_path / "meminfo", tmp_path) == 8000 * 1024
    assert memory_available(tmp_path / "none", tmp_path / "none") is None
    assert memory_available() is None or memory_available() > 0


@pytest.mark.parametrize(("size", "needed", "level"), [(64, True, "fail"), (64, False, "warn"), (128, True, "ok")])
def test_shared_memory_of_a_container(size, needed, level):
    check = check_shared_memory(needed=needed, size_bytes=size * MIB)
    assert check.level == level
    assert ("--shm-size" in check.fix) == (level != "ok")


def test_a_system_without_shared_memory_is_skipped(tmp_path):
    assert check_shared_memory(needed=True, folder=tmp_path / "none").level == "skipped"


@pytest.mark.parametrize(
    ("threads", "cores", "environment", "level"),
    [
        (1, 2, {}, "ok"),
        (2, 2, {"OMP_NUM_THREADS": "2"}, "ok"),
        (3, 2, {}, "fail"),
        (1, 2, {"OMP_NUM_THREADS": "8"}, "warn"),
    ],
)
def test_threads(threads, cores, environment, level):
    check = check_threads(threads, cores=cores, environment=environment)
    assert check.level == level
    assert bool(check.fix) == (level != "ok")


def test_what_the_study_needs(make_study):
    assert check_needs(None).level == "ok"
    assert check_needs(make_study()).level == "ok"
    check = check_needs(make_study(model={"name": "logistik"}))
    assert (check.level, "study check" in check.fix) == ("fail", True)


def test_what_a_generator_needs(make_study, monkeypatch):
    learns = study_of({"study": {"name": "s", "outcome": "label"}, "synth": {}})
    assert check_needs(learns).level == "ok"
    unknown = study_of({"study": {"name": "s", "outcome": "label"}, "synth": {"generator": "bnn"}})
    assert "unknown generator 'bnn'" in check_needs(unknown).found
    monkeypatch.setattr("cohortium.node.checks.find_spec", lambda name: None)
    assert (check_needs(learns).level, check_needs(learns).fix) == ("warn", "pip install 'cohortium[synth]'")


def answer(**changes):
    return {"versions": own_versions(), "agrees": True, "echo": True, **changes}


def test_versions_against_the_peers():
    assert check_versions({}).level == "skipped"
    assert check_versions({"bonn": answer(), "lund": {"why": "silent"}}).level == "ok"
    check = check_versions({"bonn": answer(versions={**own_versions(), "numpy": "1.2.3"})})
    assert (check.level, "bonn has numpy 1.2.3" in check.found, "pip install" in check.fix) == ("warn", True, True)


@pytest.mark.parametrize(
    ("agrees", "level"),
    [
        ({"bonn": True, "lund": True}, "ok"),
        ({"bonn": True}, "ok"),
        ({"bonn": True, "lund": None}, "warn"),
        ({"bonn": None, "lund": None}, "warn"),
        ({"bonn": True, "lund": False}, "fail"),
        ({}, "skipped"),
    ],
)
def test_the_head_against_two_peers(agrees, level):
    check = check_heads({peer: answer(agrees=value) for peer, value in agrees.items()})
    assert check.level == level
    assert bool(check.fix) == (level in ("warn", "fail"))
