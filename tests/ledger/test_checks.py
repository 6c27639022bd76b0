"""Preflight checks: what a healthy place and each broken one look like."""

from importlib.metadata import PackageNotFoundError

from cohortium.ledger import checks
from cohortium.ledger.checks import check_chain, check_coincurve, check_evm, check_file_system, ledger_checks


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
