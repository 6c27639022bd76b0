import tomllib

import pytest

from cohortium.data.schema import CohortSchema
from cohortium.data.schema_text import parse_column, parse_subgroups, schema_from_study
from cohortium.errors import DataError, StudyError

STUDY = """
[study]
outcome = "os"
[cohort]
patient = "patient_id"
group = "scanner"
predict_at = "admission"
fill = "mean"
subgroups = ["sex", "age:<50,50-70,>70"]
columns.age   = { kind = "number", unit = "years", range = [18, 110], missing = "required" }
columns.sex   = { kind = "flag", values = ["f", "m"] }
columns.chol  = { kind = "number", unit = "mg/dL", range = [50, 700], quantity = "cholesterol" }
columns.stage = { kind = "ordered", values = [1, 2.0, 3] }
columns.late  = { excluded = "known after admission" }
columns.os    = { kind = "survival", time = "os_days", event = "os_event", unit = "d", resolution_d = 91.3125 }
columns.genes = { kind = "block", names = ["TP53", "MYC"] }
"""


def read(text):
    return schema_from_study(tomllib.loads(text), path="study.toml")


def problems(text):
    with pytest.raises(StudyError) as refusal:
        read(text)
    return str(refusal.value).splitlines()


def test_the_contract_of_a_study_is_read():
    schema = read(STUDY)
    assert schema.bad_records == "skip"
    assert schema.predict_at == "admission"
    assert schema.outcome.name == "os"
    assert schema.outcome.resolution_d == 91.3125
    assert schema["age"].required
    assert not schema["chol"].required
    assert schema["stage"].values == ("1", "2", "3")
    assert schema["genes"].features == ("TP53", "MYC")
    assert schema.excluded == {"late": "known after admission"}
    patient, group = schema.the("patient"), schema.the("group")
    assert patient is not None
    assert patient.name == "patient_id"
    assert group is not None
    assert group.name == "scanner"
    assert [(s.column, s.labels, s.edges) for s in schema.subgroups] == [
        ("sex", (), ()),
        ("age", ("<50", "50-70", ">70"), (50.0, 70.0)),
    ]
    assert CohortSchema.from_dict(schema.to_dict()) == schema


def test_a_time_and_an_event_in_the_study_make_the_outcome():
    schema = read(
        '[study]\noutcome = { time = "t", event = "e", unit = "months" }\n[cohort.columns.age]\nkind = "number"'
    )
    assert schema.outcome.sources == ("t", "e")
    assert schema.outcome.unit == "months"
    assert schema.outcome.role == "outcome"


def test_a_flag_is_zero_and_one_unless_said_otherwise():
    schema = read('[study]\noutcome = "ill"\n[cohort.columns]\nill = { kind = "flag" }\nage = { kind = "number" }')
    assert schema.layout().classes == ("0", "1")


def test_every_problem_is_told_with_its_place():
    found = problems(
        """
[study]
outcome = "sick"
[cohort]
pateint = "id"
rows = "days"
bad_records = "hide"
subgroups = ["age:old"]
columns.a = { kind = "numbr" }
columns.b = { kind = "number", rang = [1, 2] }
columns.c = { kind = "number", range = [1] }
columns.d = { kind = "flag", values = 3 }
columns.e = { unit = "kg" }
columns.f = { kind = "number", missing = "maybe", role = "king" }
columns.ill = { kind = "flag" }
"""
    )
    assert found == [
        "study.toml cohort.pateint: unknown key 'pateint'; did you mean 'patient'?",
        "study.toml cohort.columns.a.kind: unknown kind 'numbr'; known: number, count, days, flag, category, ordered, "
        "survival, block, fingerprint, image, text",
        "study.toml cohort.columns.b.rang: unknown key 'rang'; did you mean 'range'?",
        "study.toml cohort.columns.c.range: expected 2 numbers, got [1]",
        "study.toml cohort.columns.d.values: has the wrong type, got 3",
        "study.toml cohort.columns.e.kind: kind is missing; known: number, count, days, flag, category, ordered, "
        "survival, block, fingerprint, image, text",
        "study.toml cohort.columns.f.missing: must be one of allowed, required, got 'maybe'",
        "study.toml cohort.columns.f.role: must be one of feature, outcome, patient, group, subgroup, part, excluded, "
        "got 'king'",
        "study.toml study.outcome: no column 'sick'; declare it under [cohort.columns]",
        "study.toml cohort.rows: must be one of patients, visits, got 'days'",
        "study.toml cohort.bad_records: must be one of skip, refuse, got 'hide'",
        "study.toml cohort.subgroups: subgroup 'age:old': expected cuts such as '<50,50-70,>70'",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[cohort.columns.age]\nkind = 'number'", "study.toml study.outcome: is missing"),
        (
            "[study]\noutcome = { time = 't', even = 'e' }\n[cohort.columns.age]\nkind = 'number'",
            "study.toml study.outcome.even: unknown key 'even'; did you mean 'event'?",
        ),
        (
            "[study]\noutcome = { time = 't' }\n[cohort.columns.age]\nkind = 'number'",
            "study.toml cohort.columns.t: a survival outcome needs time and event, event is missing",
        ),
    ],
)
def test_an_outcome_that_is_not_complete_is_refused(text, sentence):
    assert sentence in problems(text)


def test_an_entry_that_is_no_table_is_refused():
    with pytest.raises(StudyError, match="expected a table such as"):
        parse_column("age", "number")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["age:<50", "age:50-70,<50", "age:<50,<40", "age:<50,50-40,>70", 3])
def test_cuts_that_do_not_rise_are_refused(text):
    with pytest.raises(DataError, match="subgroup"):
        parse_subgroups([text])


def test_cuts_may_be_at_least():
    assert parse_subgroups(["age:<50,>=50"])[0].edges == (50.0,)
