import pytest

from cohortium.data.mapping import SiteMapping, parse_mapping
from cohortium.data.schema import CohortSchema, Column
from cohortium.errors import StudyError

TEXT = """\
[source]
file = "heart.csv"
delimiter = ";"
decimal = ","
missing = ["", "-9"]
[columns]
chol = { column = "CHOL_MMOL", unit = "mmol/L" }
cp   = { column = "pain", values = { "1" = "typical", "2" = "atypical" } }
age  = "Alter"
"""
SCHEMA = CohortSchema(
    columns=(
        Column(name="chol", kind="number", unit="mg/dL"),
        Column(name="cp", kind="category", values=("typical", "atypical")),
        Column(name="age", kind="number"),
        Column(name="ill", kind="flag", values=("0", "1"), role="outcome"),
    )
)


def problems(text, schema=None):
    with pytest.raises(StudyError) as refusal:
        parse_mapping(text, path="cohort.toml", schema=schema)
    return str(refusal.value).splitlines()


def test_columns_units_and_codes_of_a_site_are_read():
    mapping = parse_mapping(TEXT, schema=SCHEMA)
    assert mapping.file == "heart.csv"
    assert mapping.form.delimiter == ";"
    assert mapping.form.missing == ("", "-9")
    assert mapping.source("chol").unit == "mmol/L"
    assert mapping.source("cp").values == {"1": "typical", "2": "atypical"}
    assert mapping.source("age").column == "Alter"
    assert mapping.source("other").column == "other"


def test_unknown_keys_are_errors_with_their_line():
    found = problems('[source]\nfile = "a.csv"\ndelimeter = ";"\n[columns]\nage = { colum = "x" }\n[sauce]\na = 1\n')
    assert found == [
        "cohort.toml:6 sauce: unknown key 'sauce'; did you mean 'source'?",
        "cohort.toml:3 source.delimeter: unknown key 'delimeter'; did you mean 'delimiter'?",
        "cohort.toml:5 columns.age.colum: unknown key 'colum'; did you mean 'column'?",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[source]\nfile = 3", "cohort.toml:2 source.file: expected text, got 3"),
        ("[source]\nmissing = 'NA'", "cohort.toml:2 source.missing: expected a list of texts, got 'NA'"),
        ("[source]\ndecimal = ';'", "cohort.toml:2 source.decimal: decimal must be '.' or ',', got ';'"),
        ("source = 3", "cohort.toml:1 source: expected a table"),
        ("columns = 3", "cohort.toml:1 columns: expected a table"),
        ("[columns]\nage = 3", "cohort.toml:2 columns.age: expected the site's column name, or a table"),
        ("[columns]\nage = { unit = 3 }", "cohort.toml:2 columns.age.unit: expected text, got 3"),
        (
            "[columns]\nsex = { values = { a = 1 } }",
            "cohort.toml:2 columns.sex.values: expected a table from the site's codes to agreed values",
        ),
        ("a = [", "cohort.toml: not valid TOML: Invalid value (at end of document)"),
    ],
)
def test_wrong_types_are_one_sentence_with_a_line(text, sentence):
    assert problems(text) == [sentence]


def test_what_the_study_did_not_agree_is_refused():
    found = problems("[columns]\ncholl = 'x'\ncp = { values = { '1' = 'typcal' } }\nzzz = 'y'\n", SCHEMA)
    assert found == [
        "cohort.toml:2 columns.choll: the study has no column 'choll'; did you mean 'chol'?",
        "cohort.toml:3 columns.cp: 'typcal' is no agreed value; agreed: typical, atypical",
        "cohort.toml:4 columns.zzz: the study has no column 'zzz'; agreed: chol, cp, age, ill",
    ]


def test_a_file_beyond_the_limit_is_refused():
    assert "larger than" in problems("#" * (1 << 20) + "\n")[0]


def test_the_digest_covers_every_entry():
    digest = parse_mapping(TEXT).digest
    assert parse_mapping(TEXT).digest == digest
    assert parse_mapping(TEXT.replace("mmol/L", "g/L")).digest != digest
    assert parse_mapping(TEXT.replace("Alter", "Age")).digest != digest
    assert SiteMapping().digest != digest
