"""Preflight checks: what a healthy place and each broken one look like."""

import contextlib
import json
import sqlite3
from importlib.metadata import PackageNotFoundError

import pytest

from cohortium.ledger import checks
from cohortium.ledger.checks import (
    check_chain,
    check_coincurve,
    check_etcd,
    check_evm,
    check_file_system,
    check_rpc,
    ledger_checks,
)
from cohortium.ledger.etcd import EtcdClient, EtcdMember
from cohortium.ledger.json_rpc import JsonRpc


def levels(found):
    return {check.id: check.level for check in found}


def test_a_healthy_node_passes_all(local):
    local.ledger.close()
    found = ledger_checks(engine="local", path=local.path)
    assert levels(found) == {"coincurve": "ok", "evm": "ok", "chain-folder": "ok", "chain": "ok"}
    assert "height 1" in found[-1].found
    assert [path.name for path in local.path.parent.glob(".cohortium*")] == []


def test_memory_needs_no_evm_and_no_file():
    assert levels(ledger_checks(engine="memory")) == {"coincurve": "ok"}


def test_a_chain_not_founded_yet_is_fine(tmp_path):
    assert check_chain(tmp_path / "chain.sqlite").level == "ok"


def test_several_institutions_on_one_host_are_warned():
    assert levels(ledger_checks(engine="local", n_institutions=3))["ledger-host"] == "warn"
    assert "ledger-host" not in levels(ledger_checks(engine="local", n_institutions=1))


def test_a_file_that_is_no_chain_fails_with_its_name(tmp_path):
    path = tmp_path / "chain.sqlite"
    path.write_text("hello " * 100)
    check = check_chain(path)
    assert check.level == "fail"
    assert str(path) in check.found
    assert check.fix


def test_a_chain_in_use_says_what_to_do(local):
    check = check_chain(local.path)
    assert check.level == "fail"
    assert "stop the other one first" in check.fix


def test_a_missing_folder_fails(tmp_path):
    check = check_file_system(tmp_path / "nowhere" / "chain.sqlite")
    assert check.level == "fail"
    assert "nowhere" in check.found


def test_missing_packages_are_named_with_the_command(monkeypatch, tmp_path):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(checks, "version", absent)
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    assert check_coincurve().level == check_evm().level == "fail"
    assert "pip install" in check_coincurve().fix
    assert "cohortium[evm]" in check_evm().fix
    (tmp_path / "chain.sqlite").write_bytes(b"x")
    assert check_chain(tmp_path / "chain.sqlite").level == "skipped"


def told(monkeypatch, *troubles, leaders=("7",)):
    """What `check_etcd` makes of members: one a trouble ("" answers)."""
    endpoints = [f"http://n{n}.example:2379" for n in range(len(troubles))]
    members = [
        EtcdMember(endpoint=f"https{url[4:]}", trouble=trouble, leader="" if trouble else leaders[n % len(leaders)])
        for n, (url, trouble) in enumerate(zip(endpoints, troubles, strict=True))
    ]
    monkeypatch.setattr(EtcdClient, "members", lambda client: members)
    return check_etcd(endpoints)


def test_etcd_is_well_with_three_members_and_one_leader(monkeypatch):
    assert told(monkeypatch, "", "", "").level == "ok"


def test_a_member_of_etcd_that_is_away_is_named_and_a_majority_goes_on(monkeypatch):
    check = told(monkeypatch, "", "connection refused", "")
    assert (check.level, "https://n1.example:2379: connection refused" in check.found) == ("warn", True)
    check = told(monkeypatch, "", "timed out", "timed out")
    assert (check.level, "start etcd there" in check.fix) == ("fail", True)


def test_etcd_without_a_leader_with_two_or_with_few_members(monkeypatch):
    assert "no leader" in told(monkeypatch, "", "", "", leaders=("0",)).found
    assert "different etcd clusters" in told(monkeypatch, "", "", "", leaders=("7", "8")).found
    assert (told(monkeypatch, "").level, "three or more" in told(monkeypatch, "").fix) == ("warn", True)


def test_endpoints_that_cannot_be_used_point_to_the_settings():
    check = check_etcd(["https://n0.example:2379"])
    assert (check.level, "node.toml" in check.fix) == ("fail", True)
    assert check_etcd([]).level == "fail"


def test_etcd_says_its_versions_and_what_is_wrong_with_a_cluster_that_works(monkeypatch):
    def well(**changed):
        url = changed.pop("endpoint", "https://n.example:2379")
        members = [
            EtcdMember(endpoint=url, leader="7", **{"version": "3.4.23", "size_bytes": 5 << 20, **changed})
            for _ in range(3)
        ]
        monkeypatch.setattr(EtcdClient, "members", lambda client: members)
        return check_etcd(["http://n.example:2379"] * 3)

    assert well().found == "3 etcd members answer under one leader, version 3.4.23"
    check = well(size_bytes=1900 << 20)
    assert (check.level, "1900 MiB" in check.found, "defragment" in check.fix) == ("warn", True, True)
    check = well(endpoint="http://n.example:2379")
    assert (check.level, "without TLS" in check.found) == ("warn", True)
    assert well(endpoint="http://127.0.0.1:2379").level == "ok"


def test_the_file_of_an_outside_chain_says_how_far_it_goes_and_how_to_mend_it(hospitals, tmp_path, request):
    one = hospitals.found("evm-rpc", tmp_path, request=request)
    one.put("bonn", "heartbeat")
    one.ledger.sync()
    one.ledger.close()
    path = tmp_path / "bonn.sqlite"
    assert levels(ledger_checks(engine="evm-rpc", path=path)) == {
        "coincurve": "ok",
        "chain-folder": "ok",
        "chain": "ok",
    }
    assert "block 2" in check_chain(path, engine="evm-rpc").found
    path.write_bytes(b"")
    check = check_chain(path, engine="evm-rpc")
    assert (check.level, "read again from the chain" in check.fix) == ("fail", True)


@pytest.mark.parametrize(("engine", "fix"), [("local", "any other member"), ("replicated", "read again from etcd")])
def test_a_corrupt_chain_is_mended_as_its_engine_allows(local, engine, fix):
    local.ledger.close()
    with contextlib.closing(sqlite3.connect(local.path)) as db:
        db.execute("DELETE FROM nodes")
        db.commit()
    check = check_chain(local.path, engine=engine)
    assert check.level == "fail"
    assert fix in check.fix


def test_a_chain_of_another_contract_is_refused_by_name(local):
    local.ledger.close()
    with contextlib.closing(sqlite3.connect(local.path)) as db:
        facts = json.loads(db.execute("SELECT value FROM about WHERE name = 'genesis'").fetchone()[0])
        facts["code_hash"] = "00" * 32
        db.execute("UPDATE about SET value = ? WHERE name = 'genesis'", (json.dumps(facts),))
        db.commit()
    check = check_chain(local.path)
    assert (check.level, "another contract code" in check.found) == ("fail", True)


def test_a_closed_port_of_etcd_is_away():
    assert check_etcd(["http://127.0.0.1:1"], attempt_s=0.5).level == "fail"


def test_chain_nodes_are_asked_for_their_chain(monkeypatch):
    def judged(*told):
        monkeypatch.setattr(JsonRpc, "chains", lambda rpc: list(told))
        return check_rpc(["http://n0.example:8545"], chain_id=7001)

    assert judged(("a", 7001, ""), ("b", 7001, "")).level == "ok"
    assert judged(("a", 7001, ""), ("b", 0, "connection refused")).level == "warn"
    check = judged(("a", 0, "connection refused"))
    assert (check.level, "start the chain node there" in check.fix) == ("fail", True)
    check = judged(("a", 1, ""))
    assert (check.level, "a is of chain 1; the consortium is on chain 7001" in check.found) == ("fail", True)
    assert check_rpc([], chain_id=7001).level == "fail"
