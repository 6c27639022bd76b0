import pytest

from cohortium.data.schema import CohortSchema, Column
from cohortium.errors import StudyError
from cohortium.synth.facts import Facts

SCHEMA = CohortSchema(
    columns=(
        Column(name="age", kind="number", range=(18, 100)),
        Column(name="stage", kind="ordered", values=("I", "II", "III")),
        Column(name="TP53", kind="flag", values=("0", "1")),
        Column(name="id", kind="text", role="patient"),
        Column(name="survival", kind="survival", role="outcome", time="os", event="dead", unit="months"),
    )
)


def test_columns_come_in_order_with_the_outcome_last_and_identifiers_left_out():
    facts = Facts.of(SCHEMA, genes=["TP53"])
    assert facts.names == ("age", "stage", "TP53", "os", "dead")
    assert (facts.time, facts.event) == ("os", "dead")
    assert facts["age"].low == 18
    assert facts["stage"].kind == "categorical"
    assert [f.name for f in facts.of_group("gene")] == ["TP53"]
    assert facts["os"].unit == "months"


def test_only_what_was_declared_or_counts_has_an_order():
    columns = (
        Column(name="risk", kind="category", values=("High", "Int", "Low", "Very-High")),
        Column(name="grade", kind="category", values=("1", "2", "10")),
        Column(name="room", kind="category", values=("1", "10", "2")),
    )
    facts = Facts.of(CohortSchema(columns=(*SCHEMA.columns, *columns)))
    assert [facts[name].ordered for name in ("age", "stage", "TP53", "risk", "grade", "room")] == [
        True, True, True, False, True, False
    ]  # fmt: skip


def test_a_gene_that_is_no_flag_and_an_unknown_column_are_both_named():
    with pytest.raises(StudyError) as wrong:
        Facts.of(SCHEMA, genes=["age"], treatments=["drug"])
    assert "'age' is a number; a gene is a flag" in str(wrong.value)
    assert "no column 'drug'" in str(wrong.value)


def test_derived_columns_are_not_modelled():
    assert "stage" not in Facts.of(SCHEMA, derived={"stage": "age > 70"})


def test_agreed_ranges_are_laid_on_numbers_and_on_nothing_else():
    facts = Facts.of(SCHEMA).ranged({"age": (0, 120, True), "stage": (0, 1, True), "height": (0, 3, False)})
    assert (facts["age"].low, facts["age"].high, facts["age"].whole) == (0, 120, True)
    assert facts["stage"] == Facts.of(SCHEMA)["stage"]
    assert "height" not in facts
