"""The local gate at a node: units, images and copies of one site, found without any other, and never a refusal."""

import numpy as np

from cohortium.core.examples import Examples, Layout
from cohortium.data.mapping import SiteColumn, SiteMapping
from cohortium.data.table import Table
from cohortium.node.gate import gate_checks
from cohortium.node.work import open_ward
from cohortium.sim.cohorts import schema_of
from cohortium.sim.pinning import pin

SECRET = bytes(32)
PLAIN = Layout(features=("weight",), outcome="binary", classes=("0", "1"))


def table(factor=1.0, n=40):
    rng = np.random.default_rng(1)
    return {"weight": rng.normal(70, 8, n) * factor, "sick": np.arange(n) % 2}


def study_of_weights():
    columns = {"weight": {"kind": "number", "unit": "kg", "range": [20, 200]}}
    content = {"study": {"name": "w", "outcome": "sick"}, "model": {"name": "logistic"}, "cohort": {"columns": columns}}
    return pin(content, {"a": Table.from_columns(table())}).study


def units(factor, mapping=None):
    content = Table.from_columns(table(factor))
    x = content.column("weight")[:, None].astype(float)
    examples = Examples(layout=PLAIN, x=x, y=np.arange(40.0) % 2)
    schema = schema_of(study_of_weights(), {})
    found = gate_checks(
        schema, content, training=examples, held_out=examples.take(np.arange(0)), secret=SECRET, mapping=mapping
    )
    return [one for one in found if one.id == "units"]


def test_a_column_in_grams_is_named_with_the_factor_and_no_value():
    (one,) = units(1000.0)
    assert one.level == "warn"
    assert one.found == "column 'weight': most values lie outside the agreed range, and times 1/1000 they would not"


def test_the_right_unit_passes_and_a_site_that_says_its_unit_is_not_asked():
    assert [one.level for one in units(1.0)] == ["ok"]
    assert units(1000.0, SiteMapping(columns={"weight": SiteColumn(column="weight", unit="g")})) == []


def test_a_node_finds_the_gate_among_the_checks_of_its_data():
    ward = open_ward(study_of_weights(), Table.from_columns(table()), site="a", secret=SECRET)
    assert [one.level for one in ward.checks if one.id == "units"] == ["ok"]


def pictures(n=30, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, 1, 10, 10)).astype(np.float32) * 0.3
    x[:, :, 3:7, 3:7] += 0.6
    layout = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 10, 10))
    return Examples(layout=layout, x=x, y=(np.arange(n) % 2).astype(float))


def of(training, held_out):
    schema, content = schema_of(study_of_weights(), {}), Table.from_columns({"sick": [0, 1]})
    found = gate_checks(schema, content, training=training, held_out=held_out, secret=SECRET)
    return {(one.id, one.level): one for one in found}


def test_pictures_that_are_as_they_should_be_pass():
    assert set(of(pictures(), pictures(10, seed=1))) == {("image", "ok"), ("copies", "ok")}


def test_inverted_pictures_and_a_copy_in_the_held_out_part_are_warned_of():
    training = pictures()
    turned = Examples(layout=training.layout, x=1 - training.x, y=training.y)
    found = of(turned, turned.take(np.arange(3)))
    assert set(found) == {("image", "warn"), ("copies", "warn")}
    assert "border" in found["image", "warn"].found
    assert "copies" in found["copies", "warn"].found


def test_a_large_table_is_not_searched_for_copies():
    many = pictures(3001)
    assert ("copies", "skipped") in of(many, many.take(np.arange(0)))
