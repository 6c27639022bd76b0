import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.data.table import Table
from cohortium.errors import DataError
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.rows import rows_of_examples, rows_of_table, table_of_rows

FACTS = Facts(
    columns=(
        Fact(name="age", kind="numeric"),
        Fact(name="sex", kind="categorical", levels=("f", "m")),
        Fact(name="os", kind="time", group="outcome", unit="years"),
        Fact(name="dead", kind="event", group="outcome", levels=("0", "1")),
    )
)


def table(**changed):
    columns = {"age": [50.0, np.nan], "sex": ["m", ""], "os": [1.0, 2.0], "dead": [1.0, 0.0]}
    return Table.from_columns({**columns, **changed})


def test_a_table_becomes_codes_and_comes_back():
    rows = rows_of_table(table(), FACTS)
    assert rows["sex"][0] == 1
    assert np.isnan(rows["sex"][1])
    back = table_of_rows(rows)
    assert back.column("sex").tolist() == ["m", ""]
    assert back.column("dead").tolist() == [1.0, 0.0]


def test_examples_give_the_same_rows_as_the_table_with_times_in_the_study_unit():
    layout = Layout(features=("age", "sex=f", "sex=m"), outcome="survival")
    examples = Examples(
        layout=layout,
        x=np.array([[50.0, 0, 1], [np.nan, np.nan, np.nan]]),
        time=np.array([365.25, 730.5]),
        event=np.array([1, 0], dtype=np.int8),
    )
    ours, theirs = rows_of_examples(examples, FACTS), rows_of_table(table(), FACTS)
    assert all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in FACTS.names)


def test_every_wrong_column_is_named_without_its_values():
    wrong = Table.from_columns({"age": ["old"] * 6, "sex": ["f", "m", "", "m", "x", "f"], "os": [1.0] * 6})
    with pytest.raises(DataError) as error:
        rows_of_table(wrong, FACTS)
    said = str(error.value)
    assert "column 'age': 6 values that are not a number (rows 1, 2, 3, ...)" in said
    assert "column 'sex': 1 value that is not one of f, m (row 5)" in said
    assert "column 'dead' is missing" in said
    assert "old" not in said


def test_rows_cannot_be_written_to():
    rows = rows_of_table(table(), FACTS)
    with pytest.raises(ValueError, match="read-only"):
        rows["age"][0] = 1
