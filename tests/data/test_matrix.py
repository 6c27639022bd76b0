import numpy as np

from cohortium.data.cohort import build_cohort
from cohortium.data.matrix import feature_matrix, image_array, subgroup_codes
from cohortium.data.schema import CohortSchema, Column, Subgroup
from cohortium.data.table import Table

NAN = np.nan


def cohort(table, *columns, **options):
    y = Column(name="y", kind="flag", values=("0", "1"), role="outcome")
    schema = CohortSchema(columns=(*columns, y), **options)
    return build_cohort(table, schema, site="a", secret=b"s")


def test_every_kind_has_its_columns_and_missing_is_nan():
    table = Table.from_columns(
        {
            "age": [61, NAN, 50],
            "cp": ["b", "a", ""],
            "sick": ["no", "yes", "yes"],
            "stage": ["II", "", "I"],
            "fp": np.array([[0b10100000], [0b01000000], [0]], np.uint8),
            "y": [0, 1, 0],
        }
    )
    held = cohort(
        table,
        Column(name="age", kind="number"),
        Column(name="cp", kind="category", values=("a", "b")),
        Column(name="sick", kind="flag", values=("no", "yes")),
        Column(name="stage", kind="ordered", values=("I", "II", "III")),
        Column(name="fp", kind="fingerprint", n=3),
    )
    x = feature_matrix(held.schema, held.columns, held.masks, np.array([0, 1, 2]))
    expected = [
        [61, 0, 1, 0, 1, 1, 0, 1],
        [NAN, 1, 0, 1, NAN, 0, 1, 0],
        [50, NAN, NAN, 1, 0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(x, expected)


def test_whole_number_pixels_become_shares_and_floats_stay():
    for pixels, first in ((np.full((3, 2, 2), 51, np.uint8), 0.2), (np.full((3, 2, 2), 13107, np.uint16), 0.2)):
        held = cohort(
            Table.from_columns({"i": pixels, "y": [0, 1, 0]}), Column(name="i", kind="image", shape=(1, 2, 2))
        )
        images = image_array(held.schema, held.columns, held.masks, np.array([2]))
        assert images.dtype == np.float32
        assert images.shape == (1, 1, 2, 2)
        np.testing.assert_allclose(images, first, rtol=1e-6)
    held = cohort(
        Table.from_columns({"i": np.full((3, 2, 2), 7, np.float32), "y": [0, 1, 0]}),
        Column(name="i", kind="image", shape=(1, 2, 2)),
    )
    assert image_array(held.schema, held.columns, held.masks, np.array([0])).max() == 7


def test_subgroups_hold_their_lower_edge_and_unknown_is_minus_one():
    table = Table.from_columns({"age": [49, 50, 70, 71, NAN], "sex": ["f", "m", "f", "", "m"], "y": [0, 1, 0, 1, 0]})
    cuts = Subgroup(name="age", column="age", labels=("<50", "50-70", ">70"), edges=(50.0, 70.0))
    least = Subgroup(name="old", column="age", labels=("<50", "50-70", ">=70"), edges=(50.0, 70.0))
    sex = Subgroup(name="sex", column="sex")
    held = cohort(
        table,
        Column(name="age", kind="number"),
        Column(name="sex", kind="category", values=("f", "m"), role="subgroup"),
        subgroups=(cuts, least, sex),
    )
    codes = {s.name: subgroup_codes(held.schema, s, held.columns, held.masks).tolist() for s in held.schema.subgroups}
    assert codes == {"age": [0, 1, 1, 2, -1], "old": [0, 1, 2, 2, -1], "sex": [0, 1, 0, -1, 1]}
    assert {name: codes.dtype for name, codes in held.examples("all").subgroups.items()} == dict.fromkeys(
        ("age", "old", "sex"), np.dtype(np.int8)
    )
