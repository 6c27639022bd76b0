"""L1 to L8 with positive and negative controls, and the traps of the shared data's README."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.data import leakage as lk

SHARED = Path(os.environ.get("COHORTIUM_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"shared real data not found at {SHARED}")


def clinic(n=200, seed=0, p=5) -> Examples:
    """An honest table: one informative column, the rest noise, a tenth missing at random."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(float)
    x = rng.normal(size=(n, p))
    x[:, 0] += y
    x[rng.random(x.shape) < 0.1] = np.nan
    return Examples(layout=Layout(features=names(p), outcome="binary", classes=("no", "yes")), x=x, y=y)


def names(p):
    return tuple(f"c{i}" for i in range(p))


def survivors(n=1000, seed=0) -> Examples:
    rng = np.random.default_rng(seed)
    end, censored = rng.exponential(2, n), rng.uniform(0, 6, n)
    x = np.column_stack([rng.random(n) < 0.3, rng.normal(size=n)]).astype(float)
    layout = Layout(features=("mutation", "age"), outcome="survival", resolution=0.1, horizon=6)
    return Examples(layout=layout, x=x, time=np.minimum(end, censored), event=(end <= censored).astype(np.int8))


def levels(checks, of=None):
    return [check.level for check in checks if of is None or check.id == of]


def blamed(checks, level="fail"):
    return {word for check in checks if check.level == level for word in check.found.split("'")[1::2]}


# L1


def test_parts_drawn_by_patient_pass():
    examples = clinic()
    assert levels(
        lk.check_parts({"train": examples.take(np.arange(140)), "test": examples.take(np.arange(140, 200))})
    ) == ["ok"]


def test_a_patient_in_two_parts_fails():
    """OASIS split by row: several visits per person."""
    examples = replace(clinic(), patient=np.arange(200) // 2)
    odd = np.arange(200) % 2 == 1
    checks = lk.check_parts({"train": examples.take(odd), "test": examples.take(~odd)})
    assert levels(checks) == ["fail"]
    assert checks[0].found == "100 patients are in both 'train' and 'test'"


def test_equal_rows_fail_when_many_and_warn_when_few_or_within_one_part():
    examples = clinic()
    train, test = examples.take(np.arange(140)), examples.take(np.arange(140, 200))
    copied = test.take(np.r_[np.arange(57), 0, 1, 2])
    assert levels(lk.check_parts({"train": train, "test": copied})) == ["warn"]
    stolen = replace(test, x=np.concatenate([train.x[:3], test.x[3:]]))
    many = lk.check_parts({"train": train, "test": stolen})
    assert (levels(many), many[0].found) == (["fail"], "3 pairs of equal feature rows in 'train' and 'test'")
    reason = {"duplicates": "published split"}
    assert levels(lk.check_parts({"train": train, "test": stolen}, acknowledged=reason)) == ["warn"]
    everybody = clinic(2200)
    x = everybody.x.copy()
    x[2000] = x[0]
    large = replace(everybody, x=x)
    parts = {"train": large.take(np.arange(2000)), "test": large.take(np.arange(2000, 2200))}
    assert levels(lk.check_parts(parts)) == ["warn"]


def test_patients_with_the_same_few_codes_are_no_duplicates():
    rng = np.random.default_rng(0)
    x = (rng.random((300, 4)) < 0.5).astype(float)
    examples = Examples(layout=Layout(features=names(4), outcome="number"), x=x, y=rng.normal(size=300))
    assert levels(
        lk.check_parts({"train": examples.take(np.arange(200)), "test": examples.take(np.arange(200, 300))})
    ) == ["ok"]


def test_near_duplicate_images_fail_across_parts_and_warn_within():
    rng = np.random.default_rng(0)
    x = rng.random((120, 1, 28, 28)).astype(np.float32)
    x[5], x[110], x[111], x[112] = x[4], x[7], x[8] * 0.9 + 0.05, x[9]
    layout = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 28, 28))
    images = Examples(layout=layout, x=x, y=np.zeros(120))
    checks = lk.check_parts({"train": images.take(np.arange(100)), "test": images.take(np.arange(100, 120))})
    assert sorted(levels(checks)) == ["fail", "warn"]
    assert {c.found for c in checks} == {
        "3 pairs of near-duplicate images in 'train' and 'test'",
        "1 pair of near-duplicate images within 'train'",
    }


def test_tiny_images_and_empty_parts_are_skipped():
    layout = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 4, 4))
    images = Examples(layout=layout, x=np.zeros((3, 1, 4, 4), dtype=np.float32))
    assert levels(lk.check_parts({"train": images, "test": images.take(np.zeros(0, dtype=int))})) == ["skipped"]
    assert levels(lk.check_parts({"train": images.take(np.zeros(0, dtype=int))})) == ["ok"]


def test_an_undeclared_patient_key_that_repeats_fails():
    visits = {"Subject.ID": ["a", "a", "b"], "Group": ["x", "x", "x"]}
    checks = lk.check_patient_key(visits)
    assert (levels(checks), checks[0].fix[:33]) == (["fail"], 'set cohort.patient = "Subject.ID"')
    assert levels(lk.check_patient_key(visits, patient="Subject.ID")) == ["ok"]
    assert levels(lk.check_patient_key({"MRI.ID": ["1", "2", "3"]})) == ["ok"]


def test_a_column_that_is_no_patient_key_can_be_acknowledged():
    checks = lk.check_patient_key({"ward_id": ["a", "a", "b"]}, acknowledged={"ward_id": "the ward"})
    assert (levels(checks), checks[0].found[-23:]) == (["warn"], "; acknowledged: the ward"[-23:])


@pytest.mark.parametrize("name", ["Patient ID", "PatientID", "patient-id", "Patienten-ID", "Study ID (local)"])
def test_a_patient_key_is_known_however_its_name_is_written(name):
    assert levels(lk.check_patient_key({name: ["a", "a", "b"]})) == ["fail"]


@pytest.mark.parametrize("name", ["acid", "outpatients", "Stroke side"])
def test_a_name_that_only_holds_the_letters_is_no_patient_key(name):
    assert levels(lk.check_patient_key({name: ["a", "a", "b"]})) == ["ok"]


# L2


def test_an_honest_table_passes():
    assert levels(lk.check_features(clinic())) == ["ok"]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_column_that_is_the_outcome_is_refused_in_either_direction(sign):
    examples = clinic()
    x = examples.x.copy()
    x[:, 3] = sign * examples.y + 0.001 * np.random.default_rng(1).normal(size=200)
    checks = lk.check_features(replace(examples, x=x))
    assert blamed(checks) == {"c3"}
    assert levels(lk.check_features(replace(examples, x=x), acknowledged={"c3": "a screening test"})) == ["warn"]


def test_missingness_that_is_the_outcome_is_refused():
    examples = clinic()
    x = examples.x.copy()
    x[examples.y == 0, 2] = np.nan
    checks = lk.check_features(replace(examples, x=x))
    assert blamed(checks) == {"c2"}
    assert "by being missing" in checks[0].found


def test_few_rows_warn_and_very_few_say_nothing():
    examples = clinic(60)
    x = examples.x.copy()
    x[:, 3] = examples.y
    small = replace(examples, x=x)
    assert levels(lk.check_features(small)) == ["warn"]
    assert levels(lk.check_features(small.take(np.arange(12)))) == ["skipped"]


def test_values_of_one_category_are_blamed_as_one_column():
    examples = clinic()
    layout = replace(examples.layout, features=("status=a", "status=b", "x", "y", "z"))
    x = examples.x.copy()
    x[:, 0], x[:, 1] = examples.y, 1 - examples.y
    checks = lk.check_features(replace(examples, x=x, layout=layout))
    assert [c.found.split("'")[1] for c in checks] == ["status"]


def test_classes_numbers_and_survival_times_are_judged_too():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(300, 1))
    three = rng.integers(0, 3, 300).astype(float)
    layout = Layout(features=("copy", "noise"), outcome="classes", classes=("a", "b", "c"))
    copy = Examples(layout=layout, x=np.hstack([(three == 1)[:, None], noise]), y=three)
    assert blamed(lk.check_features(copy)) == {"copy"}
    number = Examples(
        layout=replace(layout, outcome="number", classes=()),
        x=np.hstack([three[:, None] + noise, noise]),
        y=noise[:, 0] * 2,
    )
    assert blamed(lk.check_features(number)) == {"noise"}
    alive = survivors()
    leaking = replace(alive, x=np.column_stack([alive.time, alive.x[:, 1]]))
    assert blamed(lk.check_features(leaking)) == {"mutation"}
    assert levels(lk.check_features(alive)) == ["ok"]


def test_images_have_no_columns_to_suspect():
    layout = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 9, 9))
    assert levels(lk.check_features(Examples(layout=layout, x=np.zeros((3, 1, 9, 9)), y=np.zeros(3)))) == ["skipped"]


# L3, L7


def test_declaration_outweighs_names():
    features = ["stay_days", "bleed", "transplant"]
    assert blamed(lk.check_timing(features)) == {"stay_days"}
    known = {"stay_days": "history", "bleed": "discharge", "transplant": "baseline"}
    assert blamed(lk.check_timing(features, known=known, predict_at="admission", survival=True)) >= {"bleed"}
    assert "stay_days" not in blamed(lk.check_timing(features, known=known, predict_at="admission"))
    assert levels(lk.check_timing(["age"], predict_at="admission")) == ["ok"]


def test_treatments_by_name_warn_in_survival_studies_only():
    assert blamed(lk.check_timing(["transplant"], survival=True), "warn") == {"transplant"}
    assert levels(lk.check_timing(["transplant"])) == ["ok"]


def test_an_acknowledged_column_only_warns():
    checks = lk.check_timing(["stay_days"], acknowledged={"stay_days": "days before transfer"})
    assert levels(checks) == ["warn"]
    assert checks[0].found.endswith("acknowledged: days before transfer")


def test_carriers_who_cannot_die_early_are_found():
    alive = survivors()
    assert levels(lk.check_time_zero(alive)) == ["ok"]
    x = alive.x.copy()
    x[:, 0] = (alive.time > 0.5) & (np.random.default_rng(1).random(1000) < 0.6)  # given after half a year
    checks = lk.check_time_zero(replace(alive, x=x))
    assert blamed(checks) == {"mutation"}


def test_a_protective_or_a_rare_column_is_not_taken_for_immortal():
    rng = np.random.default_rng(0)
    carrier = rng.random(2000) < 0.3
    end = rng.exponential(np.where(carrier, 8, 1))
    layout = survivors().layout
    examples = Examples(
        layout=layout, x=np.column_stack([carrier, rng.normal(size=2000)]).astype(float),
        time=np.minimum(end, 6), event=(end < 6).astype(np.int8),
    )  # fmt: skip
    assert levels(lk.check_time_zero(examples)) == ["ok"]


def test_entry_after_the_end_is_refused():
    alive = survivors(50)
    late = replace(alive, entry=np.where(np.arange(50) < 4, alive.time, 0.0))
    checks = lk.check_time_zero(late)
    assert (levels(checks), checks[0].found[:6]) == (["fail"], "4 rows")
    assert levels(lk.check_time_zero(clinic())) == ["skipped"]


# L4, L8


def test_scaling_of_test_rows_by_themselves_is_printed_and_only_for_replays():
    assert levels(lk.check_fitting()) == ["ok", "ok"]
    assert levels(lk.check_fitting("train-and-test-separately")) == ["ok", "warn"]
    with pytest.raises(ValueError, match="got 'test'"):
        lk.check_fitting("test")


# L5, L6


def hospitals(shift, shares, n=150):
    sites = {}
    for number, share in enumerate(shares):
        rng = np.random.default_rng(number)
        y = (rng.random(n) < share).astype(float)
        x = rng.normal(size=(n, 4)) + shift * number
        layout = Layout(features=names(4), outcome="binary", classes=("0", "1"))
        sites[f"s{number}"] = Examples(layout=layout, x=x, y=y)
    return sites


def test_a_shortcut_needs_both_a_recognisable_site_and_another_outcome_share():
    assert levels(lk.check_shortcut(hospitals(2, (0.2, 0.8)))) == ["warn"]
    assert levels(lk.check_shortcut(hospitals(2, (0.5, 0.5)))) == ["ok"]
    assert levels(lk.check_shortcut(hospitals(0, (0.2, 0.8)))) == ["ok"]


def test_sites_without_skew_are_recognised_by_chance_only():
    found = lk.check_shortcut(hospitals(0, (0.5, 0.5, 0.5)))[0].found
    assert found.startswith("no shortcut by site, which takes a site recognised with AUROC above 0.90 (here at most 0.")
    assert 0.3 < float(found.split("here at most ")[1][:4]) < 0.65


def test_a_site_is_recognised_by_what_it_does_not_measure():
    sites = hospitals(0, (0.2, 0.8))
    x = sites["s1"].x.copy()
    x[:, 2] = np.nan
    sites["s1"] = replace(sites["s1"], x=x)
    assert levels(lk.check_shortcut(sites)) == ["warn"]


def test_wide_tables_and_single_sites():
    sites = hospitals(0, (0.5, 0.5), n=20)
    wide = {
        s: replace(e, x=np.random.default_rng(0).normal(size=(20, 50)), layout=replace(e.layout, features=names(50)))
        for s, e in sites.items()
    }
    assert levels(lk.check_shortcut(wide)) == ["ok"]
    assert levels(lk.check_shortcut({"s0": sites["s0"]})) == ["skipped"]


def test_outcome_and_site_that_cannot_be_told_apart_are_refused():
    assert levels(lk.check_confounding({"gains": [0, 1540], "finrisk": [518, 0], "ship": [991, 0]})) == ["fail"]
    assert levels(lk.check_confounding({"a": [0, 40], "b": [30, 2]})) == ["warn"]
    assert levels(lk.check_confounding({"a": [5, 40], "b": [30, 2]})) == ["ok"]
    assert levels(lk.check_confounding({"a": [0, 40], "b": [0, 2]})) == [
        "ok"
    ]  # one class in all: another check's matter
    assert levels(lk.check_confounding({"a": [9, 0], "empty": [0, 0]})) == ["ok"]
    assert levels(lk.check_confounding({})) == ["ok"]


def test_class_counts_of_every_kind_of_outcome():
    assert lk.class_counts(clinic(10)).sum() == 10
    assert lk.class_counts(survivors(10)).sum() == 10
    assert len(lk.class_counts(replace(clinic(), y=None))) == 0


# The shared files, README forgotten


def read(name, *, outcome="", time="", event="", site="", drop=()):
    """A shared table as Examples: texts of at most 20 values become 0/1 columns. Returns (examples, site)."""
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(SHARED / f"{name}.parquet")
    columns, found = [], []
    for column in table.columns.difference([outcome, time, event, site, *drop], sort=False):
        values = table[column]
        if pandas.api.types.is_numeric_dtype(values):
            columns.append(values.to_numpy(float))
            found.append(column)
        elif values.nunique() <= 20:
            for value in sorted(values.dropna().unique()):
                columns.append(np.where(values.isna(), np.nan, (values == value).to_numpy(float)))
                found.append(f"{column}={value}")
    classes = tuple(sorted(map(str, table[outcome].unique()))) if outcome else ()
    kind = ("binary" if len(classes) == 2 else "classes") if outcome else "survival"
    examples = Examples(
        layout=Layout(features=tuple(found), outcome=kind, classes=classes),
        x=np.column_stack(columns),
        y=np.searchsorted(classes, table[outcome].astype(str)).astype(float) if outcome else None,
        time=table[time].to_numpy(float) if time else None,
        event=table[event].to_numpy(np.int8) if event else None,
    )
    return examples, table[site].astype(str).to_numpy() if site else None


TRAPS = [
    ("heart_uci", {"outcome": "label", "drop": ["site"]}, {"num"}),
    ("tb_blood_expression", {"outcome": "label", "drop": ["site", "study"]}, {"status"}),
    ("tb_africa_gse37250", {"outcome": "label"}, {"status"}),
    ("covid19_tongji", {"outcome": "death", "drop": ["site"]}, {"stay_days"}),
    ("flchain", {"outcome": "death"}, {"chapter", "futime_days"}),
    ("aml_amlsg", {"time": "os_days", "event": "os_event", "drop": ["trial"]}, {"efs_days", "efs_event", "transplant"}),
    ("mds_tp53", {"time": "os_years", "event": "os_event"}, {"aml_years", "aml_event"}),
]


@needs_shared
@pytest.mark.parametrize(("name", "roles", "traps"), TRAPS, ids=[trap[0] for trap in TRAPS])
def test_traps_of_the_readme_are_refused_and_nothing_else(name, roles, traps):
    examples, _ = read(name, **roles)
    outcome = [roles[role] for role in ("outcome", "time", "event") if role in roles]
    survival = examples.time is not None
    checks = [
        *lk.check_features(examples),
        *lk.check_timing(examples.layout.features, outcome=outcome, survival=survival),
        *lk.check_time_zero(examples),
    ]
    assert {column for check in checks if check.level == "fail" for column in check.found.split("'")[1:2]} == traps


@needs_shared
def test_endotype_score_is_refused_as_a_feature():
    examples, _ = read("sepsis_blood_srs", outcome="SRS", drop=["Study", "Assay"])
    assert "SRSq" in blamed(lk.check_features(examples))


@needs_shared
def test_drugs_given_later_are_pointed_out_by_name_and_refused_once_declared():
    examples, _ = read("mds_tp53", time="os_years", event="os_event")
    features = examples.layout.features
    drugs = {"hma", "lenalidomid", "transplant"}
    assert blamed(lk.check_timing(features, survival=True), "warn") == drugs
    known = dict.fromkeys(drugs, "treatment")
    assert drugs <= blamed(lk.check_timing(features, survival=True, known=known, predict_at="diagnosis"))


@needs_shared
def test_bleeding_after_the_procedure_is_only_caught_when_declared():
    examples, _ = read("ercp_trial_sites", outcome="outcome", drop=["site"])
    assert "bleed" not in blamed([*lk.check_features(examples), *lk.check_timing(examples.layout.features)])
    declared = lk.check_timing(examples.layout.features, known={"bleed": "follow-up"}, predict_at="admission")
    assert blamed(declared) >= {"bleed"}


@needs_shared
def test_sepsis_against_healthy_cohorts_is_confounded_with_the_study():
    pandas = pytest.importorskip("pandas")
    study = pandas.read_parquet(SHARED / "sepsis_blood_srs.parquet", columns=["Study"])["Study"]
    counts = {s: np.bincount((study[study == s] == "GAinS").astype(int), minlength=2) for s in study.unique()}
    assert levels(lk.check_confounding(counts)) == ["fail"]


@needs_shared
def test_hospitals_of_the_heart_study_are_a_shortcut_and_its_parts_are_clean():
    examples, site = read("heart_uci", outcome="label", site="site", drop=["num"])
    assert levels(lk.check_shortcut({s: examples.take(site == s) for s in np.unique(site)})) == ["warn"]
    train = np.random.default_rng(0).random(len(examples)) < 0.7
    checks = lk.check_parts({"train": examples.take(train), "test": examples.take(~train)})
    assert "fail" not in levels(checks)


@needs_shared
def test_xray_copies_within_training_warn_and_those_shared_with_validation_fail():
    with np.load(SHARED / "pneumonia_xray28.npz") as held:
        arrays = {part: held[f"{part}_images"] for part in ("train", "val", "test")}
    layout = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 28, 28))
    x = np.concatenate(list(arrays.values()))[:, None].astype(np.float32) / 255
    images = Examples(layout=layout, x=x)
    ends = np.cumsum([0, *map(len, arrays.values())])
    parts = {p: images.take(np.arange(a, b)) for p, a, b in zip(arrays, ends, ends[1:], strict=False)}
    assert {(c.level, c.found) for c in lk.check_parts(parts)} == {
        ("warn", "18 pairs of near-duplicate images within 'train'"),
        ("fail", "10 pairs of near-duplicate images in 'train' and 'val'"),
        ("warn", "3 pairs of near-duplicate images within 'test'"),
    }
    without = {p: parts[p] for p in ("train", "test")}
    assert "fail" not in levels(lk.check_parts(without))


def followed(scale, n=60, seed=0) -> Examples:
    rng = np.random.default_rng(seed)
    layout = Layout(features=("a",), outcome="survival", resolution=30.4375)
    time = rng.weibull(1.2, n) * 1500 * scale
    return Examples(layout=layout, x=np.zeros((n, 1)), time=time, event=(rng.random(n) < 0.6).astype(np.int8))


@pytest.mark.parametrize(("scale", "word"), [(1 / 30.4375, "30"), (1 / 365.25, "365"), (30.4375, "30")])
def test_l7_one_site_in_another_unit_of_time_is_named(scale, word):
    sites = {"bonn": followed(1.0), "lund": followed(scale, seed=1), "porto": followed(1.3, seed=2)}
    checks = [check for check in lk.check_follow_up(sites) if check.level == "warn"]
    assert any("site 'lund'" in check.found and f"near {word}" in check.found for check in checks)


def test_l7_sites_followed_for_different_spans_are_honest():
    sites = {"bonn": followed(1.0), "lund": followed(3.0, seed=1), "porto": followed(0.3, seed=2)}
    assert levels(lk.check_follow_up(sites)) == ["ok"]
    assert levels(lk.check_follow_up({"bonn": followed(1.0), "tiny": followed(0.03, n=5)})) == ["skipped"]
