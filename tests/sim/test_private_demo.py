"""The private half of the demonstration: booked, attacked, shown beside the exact one - or said to be missing."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")

from cohortium.assembly import check_study
from cohortium.errors import MissingExtra
from cohortium.sim import private_demo
from cohortium.sim.demonstration import demo_study, demo_tables
from cohortium.sim.private_demo import add_private_study, private_demo_study, private_sentence, with_private
from cohortium.sim.simulate import Options, run_simulation


@pytest.mark.parametrize(
    ("n_sites", "mode", "rounds"),
    [(2, "local", 4), (3, "distributed", 20), (8, "distributed", 20), (20, "distributed", 8)],
)
def test_the_study_is_possible_with_so_many_hospitals(n_sites, mode, rounds):
    study = private_demo_study(n_sites=n_sites, seed=0)
    assert check_study(study, n_sites=n_sites) == ()
    assert (study.privacy.dp.mode, study.strategy.rounds, study.privacy.dp.epsilon) == (mode, rounds, 3.0)


def test_every_column_has_a_public_range_that_holds_all_patients():
    study = private_demo_study(n_sites=8, seed=0)
    for name in study.study.features:
        low, high = study.cohort.ranges[name]
        values = [value for table in demo_tables(n_sites=3, seed=0).values() for value in table.column(name)]
        inside = sum(low <= value <= high for value in values) / len(values)
        assert inside > 0.99, f"{name} is cut for more than one patient in a hundred"


@pytest.fixture(scope="module")
def two_hospitals(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    tables, options, said = demo_tables(n_sites=2, seed=0), Options(seed=0, replace=True), []
    exact = run_simulation(demo_study(model="logistic", seed=0), tables, out=out, options=options)
    return add_private_study(exact, tables, out=out, options=options, say=said.append), exact, out, said


def test_record_and_page_of_the_demonstration_hold_the_private_study(two_hospitals):
    record, exact, out, said = two_hospitals
    held = record.private_study
    written = json.loads((out / "run.json").read_text(encoding="utf-8"))["private_study"]
    assert (
        written["digest"] == held.digest == json.loads((out / "private" / "run.json").read_bytes())["model"]["digest"]
    )
    assert held.digest != exact.record.model.digest
    assert {one.site for one in held.privacy.spending} == set(exact.record.sites)
    assert all(2.9 < one.total <= 3.0 < one.cap for one in held.privacy.spending)
    assert held.privacy.audit is not None
    assert any("simulated" in note for note in held.notes), "nobody may take a seeded epsilon for a guarantee"
    assert "The same question with differential privacy" in (out / "report.html").read_text(encoding="utf-8")
    assert record.timings.stages["the private study"] > 0
    assert said[-2] == private_sentence(record)


def test_without_the_accountant_the_demonstration_goes_on_and_says_so(two_hospitals, monkeypatch, tmp_path):
    _, exact, _, _ = two_hospitals

    def missing():
        raise MissingExtra("differential privacy", extra="dp")

    monkeypatch.setattr(private_demo, "require_accountant", missing)
    said = []
    assert add_private_study(exact, {}, out=tmp_path, options=Options(), say=said.append) is exact.record
    assert said[0].startswith("no private study: ")
    assert "cohortium[dp]" in said[0]


def test_a_record_without_a_promise_says_so(two_hospitals):
    record, exact, _, _ = two_hospitals
    assert private_sentence(exact.record) == "no private study"
    assert with_private(exact.record, replace(exact.record, privacy=None), seconds=1.0) is exact.record
    assert not any("labels" in note for note in record.private_study.notes), "nothing was reversed here"
    assert private_sentence(record).startswith(
        "private study complete: epsilon 3.00 of each site's 10 spent (simulated)"
    )


def test_where_labels_were_repaired_the_reader_learns_that_the_private_study_had_right_ones(two_hospitals):
    record, exact, _, _ = two_hospitals
    found = replace(exact.record, privacy=record.private_study.privacy)
    audited = SimpleNamespace(repaired={"porto": "label-polarity"})
    assert (
        "as after the repair in section 6"
        in with_private(replace(exact.record, quality=audited), found, seconds=1.0).private_study.notes[0]
    )
