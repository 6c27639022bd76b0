"""Seals of a generator hold for this generator, this study and a site that has signed, and for nothing else."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from cohortium.cli.app import run as run_command
from cohortium.core.study_text import study_of
from cohortium.data.mds_like import simulate
from cohortium.data.partition import by_column, take
from cohortium.data.table import Table
from cohortium.errors import DataError, UsageError, VerificationFailed
from cohortium.node.seals import FORMAT, check_seals
from cohortium.sim.synthesis import fit, open_generator
from cohortium.synth.validation.document import digest_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    whole = simulate(seed=0, sites={"a": 60, "b": 50, "c": 40}).table
    table = Table({name: whole.column(name) for name in ("site", "age", "TP53", "os_years", "died")})
    study = study_of(
        {
            "study": {"name": "s", "outcome": {"time": "os_years", "event": "died", "unit": "years"}},
            "synth": {"genes": ["TP53"]},
        }
    )
    out = tmp_path_factory.mktemp("generator")
    fit(study, take(table, by_column(table, "site"), without=["site"]), out=out)
    return out


@dataclass
class Said:
    site: str
    run: int
    tier: int
    verdict: int
    digest: bytes


@pytest.fixture
def sealed(folder, monkeypatch, tmp_path):
    """(seal, write, said): a seal of bonn, what writes one to a file, and what stands on the ledger."""
    saved = open_generator(folder)
    seal = {"format": FORMAT, "study": saved.study.digest.hex(), "site": "bonn",
            "generator": saved.state.digest.hex(), "table": "ab" * 32, "report": ""}  # fmt: skip
    said = [Said("bonn", 7, 2, 3, digest_of(seal))]
    found = SimpleNamespace(privacy=SimpleNamespace(audits=said))
    monkeypatch.setattr("cohortium.node.seals.verify", lambda path, evm: found)

    def write(held, name="seal.json"):
        (tmp_path / name).write_text(json.dumps(held))
        return tmp_path / name

    return seal, write, said


def test_a_seal_that_stands_on_the_ledger_holds(folder, sealed, capsys):
    seal, write, said = sealed
    (found,) = check_seals(folder, [write({**seal, "digest": "of no importance"})])
    assert (found.site, found.run, found.report) == ("bonn", 7, False)
    assert found.privacy == "privacy neither passed nor failed"
    other = {**seal, "site": "lund", "report": "cd" * 32}
    said.append(Said("lund", 7, 2, 1, digest_of(other)))
    files = [str(write(seal)), str(write(other, "lund.json"))]
    assert run_command(["synth", "seals", str(folder), *files]) == 0
    assert "lund sealed this generator in run 7: privacy passed\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"generator": "12" * 32}, "is of generator 1212121212121212, here is"),
        ({"study": "12" * 32}, "under another study than 's'"),
        ({"table": "12" * 32}, "bonn has not put it on this ledger"),
        ({"site": "lund"}, "lund has not put it on this ledger"),
    ],
)
def test_a_seal_of_anything_else_does_not_hold(folder, sealed, changes, words):
    seal, write, _ = sealed
    with pytest.raises(VerificationFailed, match=words):
        check_seals(folder, [write({**seal, **changes})])


def test_another_word_of_the_site_is_no_seal(folder, sealed):
    seal, write, said = sealed
    said[0].tier = 1
    with pytest.raises(VerificationFailed, match="has not put it"):
        check_seals(folder, [write(seal)])


@pytest.mark.parametrize("held", [[], {"format": FORMAT}, {"format": 3}, "x"])
def test_a_file_that_is_no_seal_is_said_so(folder, sealed, held):
    with pytest.raises(DataError, match="is no seal of a generator"):
        check_seals(folder, [sealed[1](held)])


def test_what_is_not_there_is_named(folder, sealed, tmp_path):
    with pytest.raises(UsageError, match="cannot read seal"):
        check_seals(folder)
    with pytest.raises(UsageError, match="there is no ledger"):
        check_seals(folder, ledger=tmp_path / "none.jsonl")
