"""The bad-input list: each a clear sentence, all of a table's at once, never a patient's value."""

import numpy as np
import pytest

from cohortium.data.mapping import SiteColumn, SiteMapping
from cohortium.data.reading import Reading
from cohortium.data.schema import CohortSchema, Column
from cohortium.data.table import Table
from cohortium.errors import DataError

N = 50
AGE = Column(name="age", kind="number", range=(0, 120))
CRP = Column(name="crp", kind="number")
ILL = Column(name="ill", kind="flag", values=("0", "1"), role="outcome")
KEY = Column(name="id", kind="text", role="patient")
OS = Column(name="os", kind="survival", role="outcome", time="os_months", event="dead", unit="months")


def columns(**changed):
    held = {
        "id": [f"p{i}" for i in range(N)],
        "age": np.linspace(30, 80, N),
        "crp": np.linspace(1, 9, N),
        "ill": np.arange(N) % 2,
        "os_months": np.linspace(1, 60, N),
        "dead": np.arange(N) % 2,
    }
    return {name: value for name, value in {**held, **changed}.items() if value is not None}


def read(schema, mapping=None, **changed):
    reading = Reading(Table.from_columns(columns(**changed)), schema, "porto", mapping or SiteMapping())
    keep, _ = reading.kept_rows(b"secret")
    reading.check_required({name: mask[keep] for name, mask in reading.masks.items()})
    return reading, keep


def refused(schema, mapping=None, **changed):
    with pytest.raises(DataError) as found:
        read(schema, mapping, **changed)
    return str(found.value).splitlines()


def plan(*features, outcome=ILL, **options):
    return CohortSchema(columns=(*features, outcome), **options)


def with_values(name, **at):
    held = np.array(columns()[name], dtype=float)
    for row, value in at.items():
        held[int(row[1:]) - 1] = value
    return held


def test_good_rows_all_stay():
    reading, keep = read(plan(KEY, AGE, CRP))
    assert keep.all()
    assert reading.findings == []


def test_a_missing_outcome_column_is_refused_with_those_found():
    assert refused(plan(AGE), ill=None) == ["site 'porto': no column 'ill'; found: id, age, crp, os_months, dead"]
    assert refused(plan(AGE, outcome=OS), dead=None)[0].startswith("site 'porto': no column 'dead'; found: ")


def test_the_sites_own_name_of_the_outcome_is_the_one_that_is_missed():
    mapping = SiteMapping(columns={"ill": SiteColumn(column="krank")})
    assert refused(plan(AGE), mapping)[0].startswith("site 'porto': no column 'krank'")


def test_an_empty_site_is_refused():
    empty = {name: np.array(values)[:0] for name, values in columns().items()}
    assert refused(plan(AGE), **empty)[0] == "site 'porto': no rows"


def test_a_missing_patient_column_is_refused():
    assert refused(plan(KEY, AGE), id=None)[0].startswith("site 'porto': no patient column 'id'; found: age")


def test_negative_times_are_skipped_under_a_contract_and_refused_without():
    times = with_values("os_months", r3=-1, r8=-0.5, r21=-4, r40=-2)
    reading, keep = read(plan(AGE, outcome=OS), os_months=times)
    assert (~keep).sum() == 4
    sentence = "column 'os_months': 4 negative times (rows 3, 8, 21, ...); follow-up must be >= 0"
    assert [f.sentence for f in reading.findings] == [sentence]
    assert refused(plan(AGE, outcome=OS, bad_records="refuse"), os_months=times) == [f"site 'porto': {sentence}"]


def test_non_finite_values_are_blanked_under_a_contract_and_refused_without():
    crp = with_values("crp", r5=np.inf)
    reading, keep = read(plan(AGE, CRP), crp=crp)
    assert keep.all()
    assert reading.masks["crp"].sum() == 1
    sentence = "site 'porto': column 'crp': 1 non-finite value (row 5); expected finite numbers"
    assert refused(plan(AGE, CRP, bad_records="refuse"), crp=crp) == [sentence]


def test_a_patient_twice_is_kept_once_under_a_contract_and_refused_without():
    ids = [f"p{i}" for i in range(N)]
    ids[10], ids[20] = "P3 ", "p3"
    reading, keep = read(plan(KEY, AGE), id=ids)
    assert np.flatnonzero(~keep).tolist() == [10, 20]
    sentence = "column 'id': 2 rows of patients seen before (rows 11, 21); expected one row per patient"
    assert [f.sentence for f in reading.findings] == [sentence]
    assert refused(plan(KEY, AGE, bad_records="refuse"), id=ids) == [f"site 'porto': {sentence}"]
    assert read(plan(KEY, AGE, rows="visits", bad_records="refuse"), id=ids)[1].all()


def test_text_where_a_number_is_due_is_blanked_under_a_contract_and_refused_without():
    ages = [str(40 + i) for i in range(N)]
    ages[6] = "unknown"
    reading, keep = read(plan(AGE), age=ages)
    assert keep.all()
    assert reading.masks["age"].sum() == 1
    sentence = "site 'porto': column 'age': 1 text where a number is due (row 7); expected numbers"
    assert refused(plan(AGE, bad_records="refuse"), age=ages) == [sentence]


def test_rows_without_outcome_are_always_skipped():
    reading, keep = read(plan(AGE, bad_records="refuse"), ill=with_values("ill", r2=np.nan, r9=np.nan))
    assert np.flatnonzero(~keep).tolist() == [1, 8]
    assert reading.findings[0].sentence == "column 'ill': 2 rows without outcome (rows 2, 9); such rows teach nothing"


def test_an_unknown_outcome_value_skips_its_row_once():
    reading, keep = read(plan(AGE), ill=with_values("ill", r4=7))
    assert (~keep).sum() == 1
    assert [(f.rule, f.action) for f in reading.findings] == [("unknown_value", "skip")]


def test_rows_without_a_patient_are_skipped():
    ids = [f"p{i}" for i in range(N)]
    ids[4] = ""
    reading, keep = read(plan(KEY, AGE), id=ids)
    assert not keep[4]
    assert reading.findings[0].rule == "missing_patient"


def test_more_than_a_fifth_skipped_is_refused_and_a_fifth_is_not():
    gone = {f"r{row}": np.nan for row in range(1, 11)}
    assert read(plan(AGE), ill=with_values("ill", **gone))[1].sum() == 40
    found = refused(plan(AGE), ill=with_values("ill", **gone, r11=np.nan))
    assert found == ["site 'porto': 11 of 50 rows skipped (missing_outcome 11); at most 20 % may be"]
    assert refused(plan(AGE), ill=np.full(N, np.nan)) == ["site 'porto': no row is left of 50 (missing_outcome 50)"]


def test_a_required_column_may_be_half_empty_and_no_more():
    column = Column(name="crp", kind="number", required=True)
    half = np.where(np.arange(N) < 25, np.nan, 1.5)
    assert read(plan(AGE, column), crp=half)[1].all()
    more = np.where(np.arange(N) < 26, np.nan, 1.5)
    assert refused(plan(AGE, column), crp=more) == [
        "site 'porto': column 'crp': 26 of 50 values missing; it is required, at most half may be"
    ]


def test_a_site_with_other_columns_reads_what_it_has_and_is_refused_with_none():
    reading, keep = read(plan(AGE, CRP), crp=None)
    assert keep.all()
    assert reading.absent == ("crp",)
    assert reading.masks["crp"].all()
    assert refused(plan(AGE, CRP), crp=None, age=None) == [
        "site 'porto': none of the 2 features has a value; found: id, ill, os_months, dead"
    ]


def test_columns_that_cannot_be_read_at_all_are_told_together():
    crp = Column(name="crp", kind="number", unit="mg/L")
    mapping = SiteMapping(columns={"crp": SiteColumn(column="crp", unit="spoons")})
    genes = Column(name="genes", kind="block", names=tuple("ABCD"), n=4)
    found = refused(plan(KEY, AGE, crp, genes), mapping, id=None, A=np.ones(N), B=np.ones(N))
    assert [line.removeprefix("site 'porto': ").split(";")[0] for line in found] == [
        "no patient column 'id'",
        "column 'crp': no conversion from 'spoons' to 'mg/L' for 'crp'",
        "block 'genes': 2 of 4 columns absent",
    ]


def test_minus_zero_is_zero_for_telling_equal_rows():
    age = np.array([0.0, -0.0, *range(1, N - 1)])
    reading, _ = read(plan(AGE), age=age)
    keys = reading.kept_rows(b"s")[1]
    assert keys[0] == keys[1]


def test_all_problems_of_a_table_are_told_at_once_without_a_value():
    found = refused(
        plan(KEY, AGE, CRP, outcome=OS, bad_records="refuse"),
        os_months=with_values("os_months", r3=-77.125),
        crp=with_values("crp", r5=np.inf),
        age=[str(40 + i) for i in range(N - 1)] + ["Smith"],
    )
    assert [line.split("': ", 2)[1].split("'")[1] for line in found] == ["age", "crp", "os_months"]
    assert not any(secret in line for line in found for secret in ("77", "Smith", "inf "))
