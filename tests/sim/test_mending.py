"""A repair of a hospital's own table: the right cells change, nothing else does, and the old file stays."""

import numpy as np
import pytest

from cohortium.core.study_text import study_of
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import UsageError
from cohortium.sim.mending import mend_file, mend_table

STUDY = study_of({"study": {"name": "s", "outcome": "sick"}, "model": {"name": "logistic"}})


def table(**columns):
    return Table.from_columns(
        {"creatinine": [0.9, np.nan, 1.5], "kappa": [1.0, 2.0, 3.0], "sick": [0, 1, 1], **columns}
    )


def test_labels_change_places_and_twice_is_nothing():
    turned = mend_table(table(), "label-polarity", study=STUDY)
    assert turned.column("sick").tolist() == [1, 0, 0]
    assert mend_table(turned, "label-polarity", study=STUDY).digest == table().digest
    words = mend_table(table(sick=["no", "yes", ""]), "label-polarity", study=STUDY)
    assert words.column("sick").tolist() == ["yes", "no", ""]


def test_a_unit_scales_one_column_and_keeps_holes():
    scaled = mend_table(table(), "units:creatinine:x88.4", study=STUDY)
    np.testing.assert_allclose(scaled.column("creatinine"), [79.56, np.nan, 132.6])
    np.testing.assert_array_equal(scaled.column("kappa"), [1, 2, 3])
    back = mend_table(scaled, "units:creatinine:/88.4", study=STUDY)
    np.testing.assert_allclose(back.column("creatinine"), [0.9, np.nan, 1.5])


def test_columns_change_places():
    found = mend_table(table(), "columns:creatinine:kappa", study=STUDY)
    assert found.column("creatinine").tolist() == [1, 2, 3]
    assert found.names == table().names


@pytest.mark.parametrize(
    ("repair", "words"),
    [
        ("axes", "cannot be applied to a table"),
        ("units:creatinine:x7", "no unit has the factor 7; known: 10, 18, 38.67, 88.4, 1000"),
        ("units:urea:x10", "no column 'urea'; it has: creatinine, kappa, sick"),
        ("columns:kappa:lambda", "needs two columns of the table"),
    ],
)
def test_what_does_not_fit_is_named(repair, words):
    with pytest.raises(UsageError) as refused:
        mend_table(table(), repair, study=STUDY)
    assert words in str(refused.value)


def test_an_outcome_of_one_or_three_values_cannot_be_turned():
    for values in ([1, 1, 1], [0, 1, 2]):
        with pytest.raises(UsageError, match="needs an outcome of two values; 'sick' has"):
            mend_table(table(sick=values), "label-polarity", study=STUDY)
    survival = study_of({"study": {"name": "s", "outcome": {"time": "t", "event": "e"}}, "model": {"name": "cox"}})
    with pytest.raises(UsageError, match="not a survival outcome"):
        mend_table(table(), "label-polarity", study=survival)
    with pytest.raises(UsageError, match="holds no numbers"):
        mend_table(table(kappa=["a", "b", "c"]), "units:kappa:x10", study=STUDY)


def test_a_new_file_is_written_and_none_is_overwritten(tmp_path):
    source, target = tmp_path / "porto.csv", tmp_path / "mended.csv"
    source.write_bytes(csv_bytes(table()))
    before = source.read_bytes()
    mend_file(STUDY, "label-polarity", source, target)
    assert source.read_bytes() == before
    assert target.stat().st_mode & 0o777 == 0o600
    assert read(target).column("sick").tolist() == [1, 0, 0]
    with pytest.raises(UsageError, match="overwrites none"):
        mend_file(STUDY, "label-polarity", source, target)
    with pytest.raises(UsageError, match=r"written as \.csv"):
        mend_file(STUDY, "label-polarity", source, tmp_path / "mended.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mended.csv", "porto.csv"]
