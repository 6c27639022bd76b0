import shutil
import sys

import pytest

from cohortium.errors import CohortiumError, UsageError
from cohortium.lab import engines
from cohortium.lab.engines import (
    engine_ports,
    ledger_settings,
    member_names,
    prepare_engine,
    start_member,
    wait_for_member,
    why_not,
)
from cohortium.lab.processes import spawn
from cohortium.lab.state import FORMAT, Lab, LabSite

SITES = (LabSite(name="bonn", home="bonn", port=1), LabSite(name="lund", home="lund", port=2))


def lab_of(engine):
    return Lab(format=FORMAT, engine=engine, seed=0, sites=SITES, heartbeat_s=1.0, ports=engine_ports(engine, taken=[]))


def test_what_is_missing_is_said_in_one_sentence_with_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert why_not("local") == ""
    assert why_not("replicated") == "engine 'replicated' needs etcd: apt-get install etcd-server"
    assert why_not("evm-rpc").startswith("engine 'evm-rpc' needs anvil: npm install @foundry-rs/anvil here")
    assert why_not("paper") == "unknown ledger engine 'paper'; available: local, replicated, evm-rpc"


def test_anvil_is_looked_for_where_the_user_says_and_in_node_modules(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(shutil, "which", asked.append)
    engines._anvil()
    assert asked[0] == "node_modules/.bin/anvil"
    assert asked[-1] == "anvil"
    asked.clear()
    monkeypatch.setenv("COHORTIUM_ANVIL", "/opt/anvil")
    engines._anvil()
    assert asked == ["/opt/anvil", "anvil"]


def test_npms_script_is_passed_by_for_the_program_beside_it(monkeypatch, tmp_path):
    script, program = tmp_path / "@foundry-rs/anvil/bin.mjs", tmp_path / "@foundry-rs/anvil-linux-amd64/bin/anvil"
    for one in (script, program):
        one.parent.mkdir(parents=True)
        one.touch(mode=0o755)
    monkeypatch.setenv("COHORTIUM_ANVIL", str(script))
    assert engines._anvil() == str(program)
    program.unlink()
    assert engines._anvil() == str(script)


def test_an_engine_that_cannot_be_started_is_refused_before_anything_is_made(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="needs etcd"):
        prepare_engine(tmp_path, lab_of("replicated"))
    assert list(tmp_path.iterdir()) == []


def test_sites_are_told_how_to_reach_the_members_over_their_own_wires(tmp_path):
    lab = lab_of("replicated")
    told = ledger_settings(tmp_path, lab, "bonn", {"n1": 5, "n2": 6, "n3": 7})
    assert told["endpoints"] == ["https://127.0.0.1:5", "https://127.0.0.1:6", "https://127.0.0.1:7"]
    assert told["certificate"] == str(tmp_path / "etcd/bonn.crt")
    assert ledger_settings(tmp_path, lab_of("local"), "bonn", {}) == {"engine": "local"}
    assert ledger_settings(tmp_path, lab_of("evm-rpc"), "bonn", {"anvil": 9})["endpoints"] == ["http://127.0.0.1:9"]


@pytest.mark.parametrize("engine", ["replicated", "evm-rpc"])
def test_the_processes_of_an_engine_start_take_connections_and_end(engine, tmp_path):
    if reason := why_not(engine):
        pytest.skip(reason)
    lab = lab_of(engine)
    (tmp_path / "logs").mkdir()
    prepare_engine(tmp_path, lab)
    started = [start_member(tmp_path, lab, name) for name in member_names(engine)]
    try:
        for proc in started:
            wait_for_member(lab, proc, log=tmp_path / "logs")
    finally:
        for proc in started:
            proc.end()
    assert not any(proc.is_alive for proc in started)


def test_a_process_that_ends_at_once_is_named_with_its_log(tmp_path):
    lab = lab_of("evm-rpc")
    proc = spawn("anvil", "anvil", [sys.executable, "-c", ""], log=tmp_path / "log", cwd=tmp_path)
    with pytest.raises(CohortiumError, match="anvil 'anvil' ended at once; see"):
        wait_for_member(lab, proc, log=tmp_path / "log")
