"""A site's own half of the record: swarm against own model on its own patients, and a model that can be used again."""

from dataclasses import replace

import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.study_text import parse_study
from cohortium.node.own_record import site_record, withheld
from cohortium.node.work import open_ward, ward_work
from cohortium.reports.record import RunRecord
from cohortium.sim.plain import learn
from cohortium.sim.results import load_model


@pytest.fixture
def trained(kit):
    lines_of, table_of, pinned_text = kit

    def make(**sections):
        lines = lines_of(1, 200)
        study = parse_study(pinned_text(lines, **sections))
        ward = open_ward(study, table_of(lines), site="bonn", secret=bytes(32))
        work = ward_work(ward, sites=["bonn", "lund"])
        return ward, work, learn(work.program, [work], engine="sequential")

    return make


def test_the_record_holds_both_models_on_the_own_patients_and_no_pooled_one(trained, tmp_path):
    ward, work, state = trained()
    record = RunRecord.from_json(site_record(ward, work.program, state, Parameters(), model=tmp_path / "m"))
    assert set(record.test.per_site["bonn"]) == {"swarm", "own"}
    assert record.test.pooled == {}
    assert record.test.per_site["bonn"]["swarm"]["auroc"].value > 0.6
    assert record.comparison.sites[0].site == "bonn"
    assert record.flow["bonn"].read == 200
    assert record.model.digest == state.digest.hex()
    assert load_model(tmp_path / "m").digest == state.digest.hex()


def test_a_study_without_own_models_gets_none(trained, tmp_path):
    ward, work, state = trained(evaluation={"per_site": False})
    record = RunRecord.from_json(site_record(ward, work.program, state, Parameters(), model=tmp_path / "m"))
    assert set(record.test.per_site["bonn"]) == {"swarm"}


def test_figures_on_few_patients_or_few_of_a_class_stay_at_home(trained, kit):
    lines_of, table_of, pinned_text = kit
    ward, _, _ = trained()
    (many,) = ward.gathered.rows()
    assert withheld(many) == ""
    study = parse_study(pinned_text(lines_of(1, 50)))
    few = open_ward(study, table_of(lines_of(1, 50)), site="bonn", secret=bytes(32)).gathered.rows()[0]
    assert withheld(few) == "fewer than 20 patients are held back"
    rare = many.test.take([i for i, y in enumerate(many.test.y) if y == 0 or i < 3])
    assert withheld(replace(many, test=rare)) == "fewer than 5 patients of a class"
