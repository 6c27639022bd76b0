import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.cohort import build_cohort, check_cohorts
from cohortium.data.inference import infer_schema
from cohortium.data.mapping import SiteColumn, SiteMapping
from cohortium.data.partition import by_column, iid, take
from cohortium.data.parts import PartBook, Split
from cohortium.data.readers import read
from cohortium.data.schema import CohortSchema, Column
from cohortium.data.table import Table
from cohortium.errors import DataError

N = 60


def ward(n=N, seed=0, **more):
    rng = np.random.default_rng(seed)
    columns = {"id": [f"p{seed}-{i}" for i in range(n)], "age": rng.normal(60, 9, n), "crp": rng.gamma(2, 3, n)}
    return Table.from_columns({**columns, "label": np.arange(n) % 2, **more})


def cohort_of(table, *, outcome="label", site="a", split=None, earlier=None, **options):
    schema = infer_schema({site: table}, outcome=outcome, **options)
    return build_cohort(table, schema, site=site, secret=b"s", split=split, earlier=earlier)


def test_parts_are_disjoint_complete_and_stratified():
    cohort = cohort_of(ward(), patient="id")
    rows = {part: set(cohort.rows(part).tolist()) for part in ("train", "calibration", "test")}
    assert {part: len(found) for part, found in rows.items()} == {"train": 36, "calibration": 6, "test": 18}
    assert set.union(*rows.values()) == set(range(N))
    assert cohort.examples("test").y.mean() == 0.5
    assert len(cohort.examples("all")) == len(cohort) == N
    with pytest.raises(ValueError, match="part must be one of train, calibration, test or all, got 'exam'"):
        cohort.rows("exam")


def test_nothing_of_the_test_part_can_be_reached_through_the_training_part():
    cohort = cohort_of(ward(), patient="id")
    train = cohort.examples("train")
    for array in (train.x, train.y, train.patient):
        base = array
        while base.base is not None:
            base = base.base
        assert len(base) == len(train)
    train.x[:] = 0  # a copy: the cohort keeps its values
    assert cohort.examples("train").x.all()


def test_a_cohort_is_frozen():
    cohort = cohort_of(ward())
    for array in (*cohort.columns.values(), *cohort.masks.values(), cohort.parts):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(TypeError):
        cohort.columns["age"] = np.zeros(N)  # type: ignore[index]
    with pytest.raises(AttributeError):
        cohort.site = "b"  # type: ignore[misc]


@settings(max_examples=25, deadline=None)
@given(st.permutations(list(range(30))), st.booleans())
def test_the_order_of_rows_does_not_decide_who_tests(order, named):
    table = ward(30)
    schema = infer_schema({"a": table}, outcome="label", patient="id" if named else None)
    plain = build_cohort(table, schema, site="a", secret=b"s")
    mixed = build_cohort(table.take(np.array(order)), schema, site="a", secret=b"s")
    assert (plain.parts[np.array(order)] == mixed.parts).all()
    np.testing.assert_array_equal(plain.examples("all").x[np.array(order)], mixed.examples("all").x)


def test_equal_rows_and_equal_patients_are_never_in_two_parts():
    table = Table.stacked([ward(), ward().take(np.array([3, 3]))])
    cohort = cohort_of(table.without(["id"]))
    assert len({int(cohort.parts[row]) for row in (3, 60, 61)}) == 1
    assert len(set(cohort.examples("all").patient.tolist())) == N
    visits = Table.from_columns({**ward().columns, "id": [f"p{i // 3}" for i in range(N)]})
    columns = (
        Column(name="id", kind="text", role="patient"),
        Column(name="age", kind="number"),
        Column(name="label", kind="flag", values=("0", "1"), role="outcome"),
    )
    cohort = build_cohort(visits, CohortSchema(columns=columns, rows="visits"), site="a", secret=b"s")
    for patient in range(20):
        assert len(set(cohort.parts[3 * patient : 3 * patient + 3].tolist())) == 1


def test_a_later_version_only_adds_and_a_lost_book_is_not_redrawn_alike():
    first = cohort_of(ward(), patient="id")
    grown = Table.stacked([ward(25, seed=1), ward()])
    book = PartBook.from_json(first.book.to_json())
    second = cohort_of(grown, patient="id", earlier=book)
    assert (second.parts[25:] == first.parts).all()
    assert second.n_rows("test") == round(0.3 * 85)


def test_a_published_split_wins():
    words = np.array(["train", "test", "calibration", "train", ""] * 12)
    cohort = cohort_of(ward(part=words), patient="id")
    assert (cohort.parts[1::5] == 2).all()
    assert (cohort.parts[2::5] == 1).all()
    assert (cohort.parts[0::5] == 0).all()


def test_groups_are_part_of_the_strata():
    cohort = cohort_of(ward(scanner=["x"] * 20 + ["y"] * 40), patient="id", group="scanner")
    assert (cohort.parts[:20] == 2).sum() == 6
    assert (cohort.parts[20:] == 2).sum() == 12


def test_folds_cover_every_row_once_as_test():
    cohort = cohort_of(ward(), patient="id")
    folds = [cohort.fold(i, 5, seed=2) for i in range(5)]
    assert sorted(np.concatenate([fold.rows("test") for fold in folds]).tolist()) == list(range(N))
    assert all(fold.n_rows("test") == 12 for fold in folds)
    assert all(set(fold.rows("calibration")) <= set(cohort.rows("calibration")) for fold in folds)


def test_a_site_that_lacks_a_column_sees_nan_and_is_told():
    a, b = ward(), ward(seed=1).without(["crp"])
    schema = infer_schema({"a": a, "b": b}, outcome="label", patient="id")
    cohort = build_cohort(b, schema, site="b", secret=b"s")
    assert np.isnan(cohort.examples("all").x[:, 1]).all()
    assert cohort.flow.absent == ("crp",)
    assert cohort.warnings == ("site 'b': no values for crp",)


def test_the_sites_mapping_gives_the_same_cohort():
    table = ward()
    schema = CohortSchema(
        columns=(
            Column(name="id", kind="text", role="patient"),
            Column(name="age", kind="number", unit="years"),
            Column(name="label", kind="flag", values=("no", "yes"), role="outcome"),
        )
    )
    mapping = SiteMapping(
        columns={
            "id": SiteColumn(column="pid"),
            "age": SiteColumn(column="age_m", unit="months"),
            "label": SiteColumn(column="y", values={"0": "no", "1": "yes"}),
        }
    )
    theirs = Table.from_columns(
        {"pid": table.column("id"), "age_m": table.column("age") * 12, "y": table.column("label")}
    )
    found = build_cohort(theirs, schema, site="a", secret=b"s", mapping=mapping).examples("all")
    np.testing.assert_allclose(found.x[:, 0], table.column("age"), rtol=1e-14)
    assert found.y.tolist() == table.column("label").tolist()


def test_survival_examples_are_in_days_with_entry():
    table = Table.from_columns(
        {"x": np.arange(20) + 0.5, "t": np.arange(20) + 1.0, "e": np.arange(20) % 2, "s": np.full(20, 0.5)}
    )
    outcome = {"time": "t", "event": "e", "entry": "s", "unit": "weeks"}
    examples = cohort_of(table, outcome=outcome).examples("all")
    assert examples.y is None
    assert examples.time.tolist() == [7.0 * (i + 1) for i in range(20)]
    assert examples.entry.tolist() == [3.5] * 20
    assert examples.event.dtype == np.int8
    assert examples.event.tolist() == [0, 1] * 10


def test_a_site_of_one_class_trains_when_others_have_both_and_a_study_of_one_class_does_not():
    a, b = ward(), ward(20, seed=1, label=np.zeros(20))
    schema = infer_schema({"a": a, "b": b}, outcome="label", patient="id")
    cohorts = [build_cohort(t, schema, site=s, secret=b"s") for s, t in (("a", a), ("b", b))]
    assert cohorts[1].warnings == ("site 'b': one class only among its training rows; it learns from the others",)
    check_cohorts(cohorts)
    with pytest.raises(DataError, match="outcome 'label': one class only in the training rows of all 1 sites"):
        check_cohorts(cohorts[1:])
    with pytest.raises(DataError, match="no site has a cohort"):
        check_cohorts([])


def test_a_study_without_an_event_is_refused():
    table = Table.from_columns({"x": np.arange(9.0), "t": np.arange(9) + 1.0, "e": np.zeros(9)})
    cohort = cohort_of(table, outcome={"time": "t", "event": "e"})
    assert "no event among its training rows" in cohort.warnings[0]
    with pytest.raises(DataError, match="no event among the training rows of all 1 sites; nothing to learn from"):
        check_cohorts([cohort])


def test_the_digest_covers_values_parts_and_site():
    table = ward()
    digest = cohort_of(table).digest
    assert cohort_of(table).digest == digest
    assert cohort_of(table, site="b").digest != digest
    assert cohort_of(table, split=Split(seed=1)).digest != digest
    ages = table.column("age").copy()
    ages[5] += 1
    assert cohort_of(table.with_column("age", ages)).digest != digest
    ages[5] = np.nan
    assert cohort_of(table.with_column("age", ages)).digest != digest


# --- the real files of the shared folder ---

SHARED = Path(os.environ.get("COHORTIUM_DATA") or Path(__file__).parents[3] / "shared" / "data")
OS_DAYS = {"time": "os_days", "event": "os_event"}
TIME = {"time": "time", "event": "event"}
REAL = [
    # file, site column, outcome, exclude, sites, rows, features, kind
    ("heart_uci.parquet", "site", "label", ["num"], 4, 920, 13, "binary"),
    ("aml_amlsg.parquet", "trial", OS_DAYS, ["efs_days", "efs_event", "transplant", "center"], 3, 1540, 73, "survival"),
    (
        "aml_amlsg.parquet",
        "center",
        OS_DAYS,
        ["efs_days", "efs_event", "transplant", "trial"],
        45,
        1540,
        73,
        "survival",
    ),
    ("tb_blood_expression.parquet", "site", "label", ["status", "study"], 9, 572, 41, "binary"),
    ("autism_brain_mri.parquet", "site", "label", ["qc"], 25, 793, 206, "binary"),
    (
        "breast_tcga_regions.parquet",
        "region",
        {"time": "days", "event": "event"},
        ["tss", "fold"],
        7,
        1096,
        39,
        "survival",
    ),
    ("pbc3_hospitals.parquet", "unit", TIME, [], 6, 349, 18, "survival"),
    ("ercp_trial_sites.parquet", "site", "outcome", ["bleed"], 4, 602, 61, "binary"),
    ("leukaemia_nwengland.parquet", "district", TIME, ["xcoord", "ycoord"], 24, 1043, 5, "survival"),
    ("tb_africa_gse37250.parquet", "region", "label", ["status"], 2, 537, 12, "binary"),
    ("solubility_aqsoldb.parquet", "source", "Solubility", [], 5, 8935, 24, "number"),
    (
        "mds_tp53.parquet",
        None,
        {"time": "os_years", "event": "os_event", "unit": "years"},
        ["aml_years", "aml_event", "transplant", "hma", "lenalidomid"],
        3,
        2381,
        75,
        "survival",
    ),
    ("pneumonia_xray28.npz", None, "label", [], 3, 5856, 784, "binary"),
]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"real data folder {SHARED} is absent")
@pytest.mark.parametrize(
    ("file", "column", "outcome", "exclude", "n_sites", "n_rows", "n_features", "kind"),
    REAL,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_real_files_load_into_cohorts_in_their_short_form(
    file, column, outcome, exclude, n_sites, n_rows, n_features, kind
):
    table = read(SHARED / file)
    rows = by_column(table, column) if column else iid(len(table), 3, rng=np.random.default_rng(0))
    tables = take(table, rows, without=[column] if column else [])
    schema = infer_schema(tables, outcome=outcome, exclude=exclude)
    cohorts = [build_cohort(t, schema, site=site, secret=site.encode()) for site, t in tables.items()]
    check_cohorts(cohorts)
    assert len(cohorts) == n_sites
    assert sum(len(cohort) for cohort in cohorts) == n_rows
    assert schema.layout().n_features == n_features
    assert schema.outcome_kind == kind
    parts = np.concatenate([cohort.parts for cohort in cohorts])
    if "part" not in table:
        assert (parts == 2).mean() == pytest.approx(0.3, abs=0.006)
    for cohort in cohorts:
        examples = cohort.examples("train")
        assert not np.isinf(examples.x).any()
        assert examples.layout == schema.layout()


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"real data folder {SHARED} is absent")
def test_the_published_split_of_the_x_rays_is_kept():
    table = read(SHARED / "pneumonia_xray28.npz")
    cohort = cohort_of(table)
    assert [cohort.n_rows(part) for part in ("train", "calibration", "test")] == [4708, 524, 624]
    images = cohort.examples("test").x
    assert images.shape == (624, 1, 28, 28)
    np.testing.assert_array_equal(images, np.float32(table.column("images")[-624:, None]) / np.float32(255))
    assert len(set(cohort.keys)) < len(cohort)  # the exact duplicates share a key


@pytest.mark.parametrize(
    ("name", "unit", "said"),
    [
        ("os_years", "d", "is read in days, but its name says years"),
        ("OS.Months", "years", "is read in years, but its name says months"),
        ("os_years", "years", ""),
        ("survival", "months", ""),
    ],
)
def test_a_unit_that_contradicts_the_name_of_the_time_column_is_told(name, unit, said):
    rng = np.random.default_rng(0)
    table = Table.from_columns(
        {"age": rng.normal(60, 9, N), name: rng.uniform(0.1, 20, N), "dead": (rng.random(N) < 0.5).astype(float)}
    )
    cohort = cohort_of(table, outcome={"time": name, "event": "dead", "unit": unit})
    told = [one for one in cohort.warnings if "its name says" in one]
    assert [said in one for one in told] == ([True] if said else [])


def test_places_count_rows_of_the_sites_own_table_from_one():
    cohort = cohort_of(ward(), patient="id")
    places = cohort.places()
    assert places["training"] == (cohort.sources("train") + 1).tolist()
    assert sorted(places["training"] + places["held_out"]) == sorted((cohort.sources("all") + 1).tolist())
