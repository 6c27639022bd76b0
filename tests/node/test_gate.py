"""The local gate at a node: in the own table alone, then beside the sums and updates of all; never a refusal."""

import json

import numpy as np
import pytest
from tests.sim.test_cautions import hospital

from cohortium.core.codec import decode
from cohortium.core.examples import Examples, Layout
from cohortium.data.mapping import SiteColumn, SiteMapping
from cohortium.data.table import Table
from cohortium.node.gate import gate_checks
from cohortium.node.work import open_ward
from cohortium.quality.gate_copies_stage import NO_GUARANTEE
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


def played(world, tables, *, masked, **sections):
    """One run of a gated study at these hospitals."""
    made = world(*tables, on_disk=False)
    made.tables.update(tables)
    usual = {
        "quality": {"gate": "consortium"},
        "cohort": {"columns": {"glucose": {"kind": "number", "unit": "mmol/L"}}},
    }
    study = made.study(privacy={"secure_aggregation": masked}, **{**usual, **sections})

    async def main(world):
        await world.propose(min(tables), study)
        await world.ended()

    made.play(main)
    return made


def gate_of(world, site):
    return {
        one["id"]: (one["level"], one["found"])
        for one in world.record(site)["checks"]
        if one["id"] in ("units", "polarity", "free-rider")
    }


def logged(world, site):
    """What the site's log warns of."""
    logs = (world.homes[site].path / "logs").glob("node*.jsonl")
    lines = [json.loads(line) for path in logs for line in path.read_text().splitlines()]
    return [
        one["what"]
        for one in lines
        if one["level"] == "warn" and one["what"].startswith(("units:", "polarity:", "copies:"))
    ]


def test_a_hospital_is_warned_of_its_own_columns_and_the_others_get_one_word(world):
    tables = {f"site-{at}": hospital(at) for at in range(7)}
    tables["site-2"], tables["site-5"] = hospital(2, glucose=18.0), hospital(5, reversed_labels=True)
    made = played(world, tables, masked=True)
    assert gate_of(made, "site-2")["units"][1].startswith("column 'glucose': looks like mg/dL (median 1")
    assert gate_of(made, "site-5")["polarity"][1].startswith(
        "4 of 4 columns go with the outcome here as they go against"
    )
    for site in tables:
        found = {name: level for name, (level, _) in gate_of(made, site).items()}
        units, polarity = "warn" if site == "site-2" else "ok", "warn" if site == "site-5" else "ok"
        assert found == {"units": units, "polarity": polarity, "free-rider": "skipped"}
        assert len(logged(made, site)) == (site in ("site-2", "site-5"))
        told = {name: one["gate"] for name, one in made.record(site)["shared"].items()}
        assert told["site-2"] == {"polarity": "pass", "units": "warn"}
        assert told["site-5"] == {"polarity": "warn", "units": "pass"}
        assert told["site-0"] == {"polarity": "pass", "units": "pass"}
        whole = (made.homes[site].runs / "1" / "run.json").read_text()
        assert ("looks like mg/dL" in whole) == (site == "site-2")
        sent = [json.loads(line) for line in (made.homes[site].runs / "1" / "egress.jsonl").read_text().splitlines()]
        assert {one["what"] for one in sent if one["kind"] == "offer"} == {"keys", "masked", "shares", "unmask"}
        assert {one["kind"] for one in sent} <= {"offer", "step", "ledger", "bye"}
    page = (made.homes["site-0"].runs / "1" / "report.html").read_text()
    assert "Warned of its data" in page
    shown = made.services["site-2"].runs.by_number[1].document()["findings"]["checks"]
    assert [one["id"] for one in shown] == ["units"]


@pytest.mark.slow
def test_hospitals_name_a_free_rider_from_first_updates_and_one_that_sends_an_old_update(world):
    tables = {f"site-{at:02}": hospital(at) for at in range(11)}
    rng, kept = np.random.default_rng(7), []

    def noise(parameters):
        return parameters.map(lambda a: (0.01 * rng.normal(size=a.shape)).astype(a.dtype) if a.dtype.kind == "f" else a)

    def replay(parameters):
        if any(array.dtype.kind != "f" for array in parameters.values()):
            return parameters
        kept.append(parameters)
        return kept[0]

    def prepared(*sites, **options):
        made = world(*sites, **options)
        made.faults["site-04"], made.faults["site-08"] = {"sends": noise}, {"sends": replay}
        return made

    strategy = {"name": "fedavg", "rounds": 2, "min_sites": 2}
    made = played(prepared, tables, masked=False, model={"name": "mlp"}, strategy=strategy)
    for site in tables:
        found = [one["found"] for one in made.record(site)["checks"] if one["id"] == "free-rider"]
        assert found == [
            "site 'site-04': its update has nothing in common with the others'; verdict: look",
            "site 'site-08': its update is that of an earlier round; verdict: look",
        ]
        assert all("free-rider" not in one["gate"] for one in made.record(site)["shared"].values())


def wide(seed, n=60):
    """A hospital of 70 columns, patients of nobody else; each one's columns are an echo of few causes, as in images."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n, 12)) @ np.random.default_rng(99).normal(size=(12, 70))
    x = causes + 2.0 * rng.normal(size=(n, 70))
    label = (causes[:, 0] + rng.normal(0, 2, n) > 0).astype(float)
    return {**{f"x{at}": x[:, at] for at in range(70)}, "label": label}


def copies_of(made, site):
    checks = [one for one in made.record(site)["checks"] if one["id"] == "copies" and "at other sites" in one["found"]]
    return [(one["level"], one["found"]) for one in checks]


@pytest.mark.slow
def test_two_hospitals_with_one_patient_are_told_their_own_rows_and_no_model_keeps_a_token(world):
    hospitals = {f"site-{at}": wide(at) for at in range(4)}
    for name, column in hospitals["site-2"].items():
        column[11] = hospitals["site-0"][name][4] * (1.0 if name == "label" else 1.02)
    tables = {site: Table.from_columns(columns) for site, columns in hospitals.items()}

    made = played(world, tables, masked=True, quality={"gate": "consortium", "copies": True}, cohort={})
    rows, clean = {"site-0": 5, "site-2": 12}, "no record has a near-copy at other sites"
    for site in tables:
        ((level, sentence),) = copies_of(made, site)
        assert (level in ("warn", "fail")) == (site in rows)
        assert sentence.endswith(f"(rows {rows[site]})" if site in rows else clean)
        told = {name: one["gate"].get("copies") for name, one in made.record(site)["shared"].items()}
        assert {name for name, word in told.items() if word != "pass"} == set(rows)
        folder = made.homes[site].runs / "1"
        assert NO_GUARANTEE in made.record(site)["notes"]
        assert "no privacy guarantee" in (folder / "report.html").read_text()
        head, *lines = (folder / "copies.csv").read_text().splitlines()
        assert head == "row,part,near_copy"
        assert [int(line.split(",")[0]) for line in lines] == ([rows[site]] if site in rows else [])
        assert (folder / "copies.csv").stat().st_mode & 0o077 == 0
        state, _ = decode((folder / "model.safetensors").read_bytes())
        assert [name for name in state if name.startswith("copies/")] == ["copies/model/step", "copies/model/why"]
    assert len(logged(made, "site-0")) == 1


@pytest.mark.slow
def test_a_hospital_that_is_killed_after_it_has_compared_still_knows_what_it_found(world):
    hospitals = {f"site-{at}": wide(at, n=50) for at in range(4)}
    for name, column in hospitals["site-2"].items():
        column[11] = hospitals["site-0"][name][4]
    made = world(*hospitals, on_disk=True)
    made.tables.update({site: Table.from_columns(columns) for site, columns in hospitals.items()})
    sections = made.weights() | {"quality": {"gate": "consortium", "copies": True}}
    study = made.study(**sections)

    async def main(world):
        world.slow_down(10.0)
        await world.propose("site-0", study)
        run = await world.first("site-2")
        await world.until(lambda: "site-2" in world.services and len(run.view.finals) >= 8)
        await world.kill("site-2")
        await world.start("site-2")
        await world.ended()

    made.play(main)
    ((level, sentence),) = copies_of(made, "site-2")
    assert level in ("warn", "fail")
    assert sentence.endswith("(rows 12)")
