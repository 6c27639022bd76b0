"""The shipped artefact is what the compiler makes of the shipped source."""

import hashlib
import json
from importlib.resources import files

import pytest

from cohortium.errors import VerificationFailed
from cohortium.ledger import contracts
from cohortium.ledger.contracts import MAX_RUNTIME_BYTES, artefact, compile, source


def shipped() -> str:
    return files("cohortium.ledger.contracts").joinpath("Consortium.json").read_text("ascii")


@pytest.mark.slow
def test_the_artefact_equals_a_fresh_compilation():
    pytest.importorskip("vyper", reason="vyper is a development dependency")
    assert compile.compiled() == shipped()


def test_another_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(pytest.importorskip("vyper"), "__version__", "0.4.4")
    with pytest.raises(VerificationFailed, match=r"vyper 0\.4\.4 is installed; the contract is compiled with 0\.4\.3"):
        compile.compiled()


def test_code_that_no_evm_takes_is_refused(monkeypatch):
    compiler = pytest.importorskip("vyper.compiler")
    long = {"abi": [], "bytecode": "0x", "bytecode_runtime": "0x" + "00" * 24_576}
    monkeypatch.setattr(compiler, "compile_code", lambda *_, **__: long)
    with pytest.raises(VerificationFailed, match="runtime code of 24576 bytes; an EVM takes less than 24576"):
        compile.compiled()


def test_compiling_writes_the_artefact_beside_its_module(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compile, "__file__", str(tmp_path / "compile.py"))
    monkeypatch.setattr(compile, "compiled", lambda: "{}\n")
    compile.main()
    assert (tmp_path / "Consortium.json").read_text() == "{}\n"
    assert "written" in capsys.readouterr().out


def test_the_contract_fits_an_evm_and_names_its_source_and_compiler():
    made = artefact()
    assert len(made.runtime) < MAX_RUNTIME_BYTES == 24_576
    assert made.bytecode.endswith(made.runtime) or made.runtime in made.bytecode
    assert made.source_sha256 == hashlib.sha256(source()).hexdigest()
    assert made.compiler.startswith(f"vyper {compile.COMPILER}+commit.")
    assert made.evm_version == "london"


def test_a_source_that_was_changed_after_compilation_is_found(monkeypatch):
    artefact.cache_clear()
    monkeypatch.setattr(contracts, "source", lambda: source() + b"\n")
    with pytest.raises(VerificationFailed, match=r"not compiled from the Consortium\.vy beside it"):
        artefact()
    monkeypatch.undo()
    artefact.cache_clear()
    assert artefact().abi


def test_nothing_in_the_contract_can_be_paid_or_owned():
    for entry in json.loads(shipped())["abi"]:
        if entry["type"] in ("function", "constructor"):
            assert entry["stateMutability"] in ("view", "nonpayable")
            assert "owner" not in entry.get("name", "")


def test_events_carry_no_free_text_but_the_budget_record():
    """Names of sites are String[32] of a closed alphabet; the record of `spend` is bytes."""
    texts = {
        (entry["name"], part["name"])
        for entry in artefact().abi
        if entry["type"] == "event"
        for part in entry["inputs"]
        if part["type"] in ("string", "bytes")
    }
    assert {name for _, name in texts} == {"site", "subject", "leader", "record"}
    assert not any(part["indexed"] for entry in artefact().abi if entry["type"] == "event" for part in entry["inputs"])
