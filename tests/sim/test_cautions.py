"""What a simulated run says of its sites' data: gates of all sites, in the record, on the page and on the screen."""

import json

import numpy as np
import pytest

from cohortium.core.codec import decode
from cohortium.core.parameters import Parameters
from cohortium.core.study import Study
from cohortium.core.update import Update
from cohortium.data.table import Table
from cohortium.errors import TrainingFailed
from cohortium.sim.simulate import run_simulation
from cohortium.swarm.program import SiteWork


def hospital(seed, *, n=60, glucose=1.0, reversed_labels=False):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    columns = {
        "glucose": (5.6 + rng.normal(0, 0.8, n) + 0.8 * y).clip(2) * glucose,
        "crp": (12 + rng.normal(0, 4, n) + 6 * y).clip(1),
        "age": (61 + rng.normal(0, 9, n) + 8 * y).clip(18),
        "albumin": (40 + rng.normal(0, 4, n) - 4 * y).clip(10),
    }
    return Table.from_columns({**columns, "label": (1 - y if reversed_labels else y).astype(float)})


def study(**sections):
    content = {
        "study": {"name": "gated", "outcome": "label"},
        "cohort": {"columns": {"glucose": {"kind": "number", "unit": "mmol/L"}}},
        "model": {"name": "logistic", "l2": 0.01},
        "quality": {"gate": "consortium"},
        "evaluation": {"per_site": False, "leave_one_out": False, "recalibrate": False},
    }
    for name, changes in sections.items():
        content[name] = {**content.get(name, {}), **changes}
    return Study.model_validate(content)


def gate_of(record):
    return [(one.id, one.level, one.found) for one in record.checks if one.id in ("units", "polarity", "free-rider")]


def test_a_wrong_unit_and_reversed_labels_are_said_on_screen_in_the_record_and_on_the_page(tmp_path):
    tables = {f"site-{at}": hospital(at) for at in range(8)}
    tables["site-2"], tables["site-5"] = hospital(2, glucose=18.0), hospital(5, reversed_labels=True)
    said = []
    record = run_simulation(study(), tables, out=tmp_path, warn=said.append).record
    units, polarity, riders = gate_of(record)
    assert units[1] == polarity[1] == "warn"
    assert units[2].startswith("site-2: column 'glucose': looks like mg/dL (median 1")
    assert polarity[2] == "site-5: 4 of 4 columns go with the outcome here as they go against it elsewhere"
    assert riders[1:] == (
        "skipped",
        "free-riders were not looked for: the model learns by sums, which have no common directions",
    )
    for sentence in (f"units: {units[2]}", f"polarity: {polarity[2]}"):
        assert sentence in said
        assert sentence in record.notes
    assert json.loads((tmp_path / "run.json").read_text())["rounds"][0]["stage"] == "gate"
    assert "column &#39;glucose&#39;: looks like mg/dL" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_sound_sites_are_cleared_in_two_sentences_and_a_study_without_the_gate_has_none():
    tables = {f"site-{at}": hospital(at) for at in range(8)}
    said = []
    found = gate_of(run_simulation(study(), tables, warn=said.append).record)
    clean = "no site is warned; 8 of 8 could be compared with the others"
    assert found[:2] == [("units", "ok", clean), ("polarity", "ok", clean)]
    assert said == []
    assert gate_of(run_simulation(study(quality={"gate": "site"}), tables).record) == []


def test_a_comparison_that_no_site_could_make_does_not_read_as_an_all_clear():
    units, polarity, _ = gate_of(run_simulation(study(), {f"site-{at}": hospital(at) for at in range(4)}).record)
    assert units[:2] == ("units", "ok")
    few = "needs 3 columns that go clearly with or against the outcome at 5 other sites"
    assert polarity == ("polarity", "skipped", f"no site could be compared with the others; {few}")


@pytest.mark.parametrize("masked", [False, True])
def test_a_free_rider_is_named_where_updates_lie_open_and_the_record_says_why_not_under_masks(masked, monkeypatch):
    tables = {f"site-{at:02}": hospital(at) for at in range(11)}
    rng, train = np.random.default_rng(7), SiteWork.conclude

    def conclude(work, state, fitted):
        update = train(work, state, fitted)
        if work.site != "site-04" or work.program.position(state)[0] < len(work.program.stages) - 1:
            return update
        made = update.parameters.map(lambda a: rng.normal(size=a.shape).astype(a.dtype) * 0.01)
        return Update(site=update.site, parameters=made, weight=update.weight, memory=update.memory)

    monkeypatch.setattr(SiteWork, "conclude", conclude)
    plan = study(
        model={"name": "mlp"},
        strategy={"name": "fedavg", "rounds": 2},
        privacy={"secure_aggregation": masked},
    )
    (*_, riders) = gate_of(run_simulation(plan, tables).record)
    if masked:
        assert riders[1] == "skipped"
        assert "secure aggregation hides single updates" in riders[2]
    else:
        assert riders[1:] == (
            "warn",
            "site 'site-04': its update has nothing in common with the others'; verdict: look",
        )


def echoing(seed, n=60):
    """70 columns of few causes, and patients of nobody else."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n, 12)) @ np.random.default_rng(99).normal(size=(12, 70))
    x = causes + 2.0 * rng.normal(size=(n, 70))
    return {**{f"x{at}": x[:, at] for at in range(70)}, "label": (causes[:, 0] + rng.normal(0, 2, n) > 0).astype(float)}


def copies_of(record):
    return [(one.level, one.found) for one in record.checks if one.id == "copies"]


@pytest.mark.parametrize("masked", [False, True])
def test_a_patient_of_two_sites_is_said_of_both_with_its_rows_and_no_file_keeps_a_token(masked, tmp_path):
    columns = {f"site-{at}": echoing(at) for at in range(4)}
    for name, column in columns["site-3"].items():
        column[20] = columns["site-1"][name][40]
    tables = {site: Table.from_columns(held) for site, held in columns.items()}
    plan = study(
        cohort={"columns": {}},
        quality={"gate": "consortium", "copies": True},
        privacy={"secure_aggregation": masked},
    )
    said = []
    record = run_simulation(plan, tables, out=tmp_path, warn=said.append).record
    (first, _), (second, _) = found = copies_of(record)
    assert {first, second} <= {"warn", "fail"}
    for (_, sentence), site, row in zip(found, ("site-1", "site-3"), (41, 21), strict=True):
        assert sentence.startswith(f"{site}: ")
        assert sentence.endswith(f"at other sites (rows {row})" if first == "warn" else f"held-out (rows {row})")
        assert f"copies: {sentence}" in [*said, *record.notes]
    state, _ = decode((tmp_path / "model.safetensors").read_bytes())
    assert [name for name in state if name.startswith("copies/")] == ["copies/model/step", "copies/model/why"]
    assert [one.stage for one in record.rounds].count("copies") == 4
    assert any("no privacy guarantee" in one for one in record.notes)


def test_strangers_are_cleared_in_one_sentence_and_without_the_setting_nothing_is_said():
    tables = {f"site-{at}": Table.from_columns(echoing(at)) for at in range(4)}
    plan = study(cohort={"columns": {}}, quality={"gate": "consortium", "copies": True})
    clean = ("ok", "no site is warned; 4 of 4 could be compared with the others")
    assert copies_of(run_simulation(plan, tables).record) == [clean]
    assert copies_of(run_simulation(study(cohort={"columns": {}}), tables).record) == []


def of_site_3(change):
    """`SiteWork.conclude` with other tokens of one site, which finds nothing wrong in them."""
    conclude, refuse = SiteWork.conclude, SiteWork.refuse

    def concluded(work, state, fitted):
        update = conclude(work, state, fitted)
        sets = update.parameters.get("training", np.zeros(1)).copy()
        if work.site != "site-3" or sets.ndim != 2:
            return update
        change(sets)
        return Update(site=work.site, parameters=update.parameters | Parameters({"training": sets}), weight=1)

    def refused(work, state, shown):
        if work.site != "site-3":
            refuse(work, state, shown)

    return concluded, refused


def twice(sets):
    sets[0, -2] = sets[0, -1]


def failing(sets):
    raise TrainingFailed("no device", code="device")


@pytest.mark.slow
def test_who_tells_tokens_twice_is_voted_out_by_name_also_under_masks_and_costs_no_more_than_one_that_fails(
    monkeypatch,
):
    tables = {f"site-{at}": Table.from_columns(echoing(at)) for at in range(5)}
    records = {}
    for name, change, masked in (("open", twice, False), ("masked", twice, True), ("gone", failing, True)):
        with monkeypatch.context() as patched:
            for method, changed in zip(("conclude", "refuse"), of_site_3(change), strict=True):
                patched.setattr(SiteWork, method, changed)
            quality, privacy = {"gate": "consortium", "copies": True}, {"secure_aggregation": masked}
            plan = study(cohort={"columns": {}}, quality=quality, privacy=privacy)
            records[name] = run_simulation(plan, tables).record
    missing = {name: [dict(one.missing) for one in record.rounds if one.missing] for name, record in records.items()}
    assert missing["open"] == missing["masked"] == [{"site-3": "exchange, unusable"}]
    assert missing["gone"] == [{"site-3": "train, device"}]
    merges = {name: [one.merge for one in record.rounds] for name, record in records.items()}
    assert merges["open"] == merges["masked"]
    assert merges["gone"] == merges["masked"]
    for name in ("open", "masked"):
        assert copies_of(records[name]) == [("ok", "no site is warned; 5 of 5 could be compared with the others")]
