import json
from dataclasses import replace

import pytest

from cohortium.data.schema import CohortSchema, Column, Subgroup
from cohortium.errors import StudyError

AGE = Column(name="age", kind="number", unit="years", range=(18, 110))
PAIN = Column(name="pain", kind="category", values=("typical", "atypical", "none"))
SICK = Column(name="sick", kind="flag", values=("no", "yes"), role="outcome")
OS = Column(name="os", kind="survival", role="outcome", time="os_d", event="dead", unit="d", horizon_d=3652.5)


def problems(*columns, **options):
    with pytest.raises(StudyError) as refusal:
        CohortSchema(columns=columns, **options)
    return [(problem.key, problem.message) for problem in refusal.value.problems]


def test_the_layout_names_features_in_order_and_one_per_category():
    fingerprint = Column(name="fp", kind="fingerprint", n=3)
    block = Column(name="genes", kind="block", names=("TP53", "MYC"), n=2)
    layout = CohortSchema(columns=(AGE, PAIN, SICK, fingerprint, block)).layout()
    assert layout.features == (
        "age", "pain=typical", "pain=atypical", "pain=none", "fp:0", "fp:1", "fp:2", "TP53", "MYC",
    )  # fmt: skip
    assert layout.outcome == "binary"
    assert layout.classes == ("no", "yes")
    assert (layout.resolution, layout.horizon) == (0, 0)


def test_survival_is_laid_out_in_days():
    layout = CohortSchema(columns=(AGE, OS)).layout()
    assert layout.outcome == "survival"
    assert layout.resolution == 30.4375
    assert layout.horizon == 3652.5
    assert OS.sources == ("os_d", "dead")


def test_an_image_is_laid_out_alone():
    image = Column(name="x", kind="image", shape=(1, 28, 28))
    layout = CohortSchema(columns=(image, SICK)).layout()
    assert layout.image == (1, 28, 28)
    assert layout.features == ()
    assert problems(image, AGE, SICK) == [("cohort.columns", "image 'x' is learned alone in this release; exclude age")]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (replace(PAIN, role="outcome"), "classes"),
        (replace(PAIN, role="outcome", values=("a", "b")), "binary"),
        (replace(AGE, role="outcome"), "number"),
        (Column(name="n", kind="count", role="outcome"), "count"),
        (OS, "survival"),
    ],
)
def test_the_outcomes_kind_follows_from_its_column(column, kind):
    other = Column(name="other", kind="number")
    assert CohortSchema(columns=(other, column)).outcome_kind == kind


def test_columns_are_found_by_name_and_role():
    key = Column(name="id", kind="text", role="patient")
    left_out = Column(name="late", kind="text", role="excluded", reason="known later")
    schema = CohortSchema(columns=(key, AGE, SICK, left_out))
    assert schema["age"] is AGE
    assert "age" in schema
    assert "other" not in schema
    assert schema.the("patient") is key
    assert schema.the("group") is None
    assert schema.excluded == {"late": "known later"}
    assert schema.features == (AGE,)


def test_json_brings_the_same_schema_and_digest_back():
    schema = CohortSchema(
        columns=(AGE, PAIN, OS, Column(name="x", kind="block", names=("b", "a"), n=2)),
        subgroups=(Subgroup(name="age", column="age", labels=("<50", ">50"), edges=(50.0,)),),
        bad_records="refuse",
        predict_at="admission",
    )
    again = CohortSchema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert again == schema
    assert again.digest == schema.digest
    assert len(schema.digest) == 32


@pytest.mark.parametrize(
    "changed",
    [
        replace(AGE, unit="months"),
        replace(AGE, range=(18, 111)),
        replace(AGE, required=True),
        replace(AGE, role="excluded"),
    ],
)
def test_every_change_of_a_column_changes_the_digest(changed):
    other = Column(name="other", kind="number")
    assert CohortSchema(columns=(other, AGE, SICK)).digest != CohortSchema(columns=(other, changed, SICK)).digest


def test_what_was_not_saved_by_us_is_refused():
    for content in ({}, {"columns": [{"nam": "x"}]}, {"columns": [3]}, {"columns": [{"name": "x", "kind": "odd"}]}):
        with pytest.raises(StudyError):
            CohortSchema.from_dict(content)


def test_all_contradictions_are_told_at_once():
    found = problems(
        Column(name="a", kind="flag", values=("x",)),
        Column(name="b", kind="number", range=(5, 1)),
        Column(name="c", kind="category", values=("x", "x")),
        Column(name="d", kind="image"),
        Column(name="e", kind="text"),
        Column(name="f", kind="fingerprint"),
        Column(name="g", kind="survival", time="t", unit="moons"),
    )
    sentences = dict(found)
    assert [key.removeprefix("cohort.columns.") for key, _ in found][:7] == ["a", "b", "c", "d", "e", "f", "g"]
    assert sentences["cohort.columns.a"] == "a flag has 2 values (for 0, for 1), got 1"
    assert sentences["cohort.columns.b"] == "range must be [lowest, highest] with lowest < highest"
    assert sentences["cohort.columns.c"] == "values holds a value twice"
    assert sentences["cohort.columns.e"] == "text cannot be a feature; name its values"
    assert sentences["study.outcome"] == "exactly one outcome column is needed, found 0"
    assert ("cohort.columns.g", "a survival outcome needs time and event, event is missing") in found


def test_roles_that_exist_once_and_names_that_meet_are_refused():
    key = Column(name="id", kind="text", role="patient")
    assert ("cohort.patient", "one column at most, found id, nr") in problems(key, replace(key, name="nr"), AGE, SICK)
    assert ("cohort.columns.age", "is named twice") in problems(AGE, AGE, SICK)
    assert ("cohort.rows", 'rows = "visits" needs a patient column') in problems(AGE, SICK, rows="visits")
    assert ("study.features", "no feature is left to learn from") in problems(SICK)
    assert problems(replace(PAIN, role="outcome"), SICK, AGE)[0][0] == "study.outcome"
    picture = Column(name="z", kind="image", shape=(1, 2, 2), role="outcome")
    assert problems(picture, AGE) == [("cohort.columns.z", "an image cannot be the outcome")]


def test_subgroups_need_a_fitting_column():
    age = Subgroup(name="age", column="age")
    assert problems(AGE, SICK, subgroups=(age,)) == [
        ("cohort.subgroups.age", "column 'age' is a number; give edges, e.g. 'age:<50,>=50'")
    ]
    assert problems(AGE, SICK, subgroups=(Subgroup(name="s", column="s"),)) == [("cohort.subgroups.s", "no column 's'")]
    cut = Subgroup(name="pain", column="pain", labels=("<1", ">1"), edges=(1.0,))
    assert problems(PAIN, SICK, subgroups=(cut,))[0][1] == "column 'pain' is a category; only numbers are cut at edges"
