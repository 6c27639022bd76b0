import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.inference import agreed_schema, infer_schema
from cohortium.data.schema import Column
from cohortium.data.table import Table
from cohortium.errors import DataError


def table(**columns):
    return Table.from_columns(columns)


N = 40
RNG = np.random.default_rng(0)


def ward(**more):
    return table(
        age=RNG.normal(60, 9, N),
        sex=np.where(np.arange(N) % 2 == 0, "f", "m"),
        smoker=np.arange(N) % 2,
        label=np.arange(N) % 2,
        **more,
    )


def refusal(tables, outcome, **options):
    with pytest.raises(DataError) as found:
        infer_schema(tables, outcome=outcome, **options)
    return str(found.value).splitlines()


def test_kinds_follow_from_the_values_of_all_sites():
    a = ward(stage=np.array(["I", "II"] * 20), code=np.arange(N) % 3, note=[f"n{i}" for i in range(N)], one=np.ones(N))
    b = ward(stage=np.array(["III", ""] * 20), code=np.arange(N) % 2, note=[f"m{i}" for i in range(N)], one=np.ones(N))
    schema = infer_schema({"b": b, "a": a}, outcome="label")
    assert [(c.name, c.kind, c.values) for c in schema.features] == [
        ("age", "number", ()),
        ("sex", "category", ("f", "m")),
        ("smoker", "flag", ("0", "1")),
        ("stage", "category", ("I", "II", "III")),
        ("code", "number", ()),
    ]
    assert schema.excluded == {"note": "text of one value per row", "one": "a single value"}
    assert schema.outcome.values == ("0", "1")
    assert schema.bad_records == "refuse"


def test_the_schema_does_not_depend_on_the_order_of_sites_or_rows():
    a, b = ward(x=RNG.normal(size=N)), ward(x=np.full(N, np.nan))
    first = infer_schema({"a": a, "b": b}, outcome="label")
    assert infer_schema({"b": b.take(RNG.permutation(N)), "a": a}, outcome="label") == first


def test_text_of_many_values_is_left_out_with_its_reason():
    words = np.array([f"w{i % 21}" for i in range(2 * N)])
    t = table(word=words, age=np.arange(2.0 * N), label=np.arange(2 * N) % 2)
    assert infer_schema({"a": t}, outcome="label").excluded == {"word": "text of 21 values"}


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (np.arange(N) % 2, "binary", ("0", "1")),
        (np.where(np.arange(N) % 2 == 0, 1, 2), "binary", ("1", "2")),
        (np.array(["no", "yes"] * 20), "binary", ("no", "yes")),
        (np.array(["a", "b", "c", ""] * 10), "classes", ("a", "b", "c")),
        (np.arange(N) / 3, "number", ()),
    ],
)
def test_the_outcomes_kind_is_inferred(values, kind, classes):
    layout = infer_schema({"a": table(age=np.arange(N) + 0.5, y=values)}, outcome="y").layout()
    assert layout.outcome == kind
    assert layout.classes == classes


def test_survival_times_get_a_horizon_of_whole_years_in_days():
    t = table(age=np.arange(4.0), m=np.array([1, 13, 25, 12]), dead=np.array([0, 1, 1, 0]))
    schema = infer_schema({"a": t}, outcome={"time": "m", "event": "dead", "unit": "months"})
    layout = schema.layout()
    assert layout.outcome == "survival"
    assert layout.horizon == 3 * 365.25  # 25 months
    assert layout.resolution == 30.4375
    assert [c.name for c in schema.features] == ["age"]


def test_features_and_exclusions_are_followed():
    schema = infer_schema({"a": ward()}, outcome="label", features=["age"])
    assert [c.name for c in schema.features] == ["age"]
    assert schema.excluded["sex"] == "not among the study's features"
    schema = infer_schema({"a": ward()}, outcome="label", exclude=["age"])
    assert schema.excluded == {"age": "excluded by the study"}


def test_roles_are_taken_and_a_published_split_is_found_by_itself():
    t = ward(id=[f"p{i}" for i in range(N)], scanner=["x", "y"] * 20, part=["train", "test"] * 20)
    schema = infer_schema({"a": t}, outcome="label", patient="id", group="scanner")
    assert [(c.name, c.role) for c in schema.columns if c.kind == "text"] == [
        ("id", "patient"), ("scanner", "group"), ("part", "part"),
    ]  # fmt: skip
    other = ward(part=["left", "right"] * 20)
    assert infer_schema({"a": other}, outcome="label")["part"].role == "feature"


def test_a_subgroup_may_be_a_column_nobody_learns_from():
    schema = infer_schema({"a": ward()}, outcome="label", exclude=["sex"], subgroups=["sex", "age:<60,>=60"])
    assert schema["sex"].role == "subgroup"
    assert [c.name for c in schema.features] == ["age", "smoker"]


def test_declared_columns_win_over_what_the_data_suggest():
    declared = Column(name="smoker", kind="number", range=(0, 1))
    assert infer_schema({"a": ward()}, outcome="label", columns={"smoker": declared})["smoker"] is declared


def test_arrays_become_images_blocks_and_fingerprints():
    y = np.arange(6) % 2
    image = infer_schema({"a": table(images=np.zeros((6, 4, 5), np.uint8), age=np.arange(6), y=y)}, outcome="y")
    assert image.layout().image == (1, 4, 5)
    assert image.excluded == {"age": "image and table are not learned together in this release"}
    bits = infer_schema({"a": table(fp=np.zeros((6, 2), np.uint8), y=y)}, outcome="y")
    assert bits.layout().n_features == 16
    block = infer_schema({"a": table(genes=np.zeros((6, 3), np.float32), y=y)}, outcome="y")
    assert block.layout().features == ("genes:0", "genes:1", "genes:2")
    four = table(v=np.zeros((6, 1, 2, 2, 2), np.float32), age=np.arange(6), y=y)
    assert infer_schema({"a": four}, outcome="y").excluded == {"v": "arrays of 4 dimensions"}


def test_arrays_of_different_shape_are_refused():
    y = np.arange(6) % 2
    found = refusal(
        {"a": table(i=np.zeros((6, 4, 4), np.uint8), y=y), "b": table(i=np.zeros((6, 4, 5), np.uint8), y=y)}, "y"
    )
    assert found == ["column 'i': arrays of different shape at different sites"]


def test_a_missing_outcome_is_named_with_what_there_is():
    assert refusal({"a": ward()}, "lable") == ["no column 'lable' at any site; did you mean 'label'?"]
    assert refusal({"a": ward()}, "xyz") == ["no column 'xyz' at any site; found: age, sex, smoker, label"]
    assert refusal({"lund": ward().without(["label"]), "bonn": ward()}, "label") == [
        "outcome column 'label': missing at lund; every site needs it"
    ]


def test_a_time_without_event_is_refused():
    assert refusal({"a": ward()}, {"time": "age"}) == [
        "outcome: survival needs time and event columns, 'event' is missing"
    ]
    assert refusal({"a": ward()}, {"time": "age", "event": "smoker", "unit": "moons", "x": "y"}) == [
        "outcome: unknown key 'x'; known: time, event, entry, unit",
        "outcome: unit 'moons' is unknown; known: d, weeks, months, years",
    ]


def test_text_among_numbers_is_refused_with_its_rows():
    ages = [str(20 + i) for i in range(N)]
    ages[2] = ages[7] = ages[20] = ages[30] = "unknown"
    said = [
        "site 'lund': column 'age': 4 texts where a number is due (rows 3, 8, 21, ...); expected numbers; "
        "correct them, or declare the column"
    ]
    assert refusal({"lund": table(age=ages, label=np.arange(N) % 2), "bonn": ward()}, "label") == said
    assert refusal({"lund": table(age=ages, label=np.arange(N) % 2)}, "label") == said
    words = [("young", "old")[i % 2] for i in range(N)]
    assert refusal({"lund": table(age=words, label=np.arange(N) % 2), "bonn": ward()}, "label") == [
        "column 'age': holds text at lund and numbers at bonn; expected numbers everywhere, or declare the column",
    ]


def test_codes_and_short_scales_are_no_mistaken_numbers():
    zeros = [f"0{i:02d}" for i in range(15)] * 4
    scale = ["0", "1", "2", "3+"] * 15
    schema = infer_schema({"a": table(code=zeros, scale=scale, label=np.arange(60) % 2)}, outcome="label")
    assert schema["code"].kind == "category"
    assert schema["scale"].values == ("0", "1", "2", "3+")


def test_text_for_a_time_is_refused():
    t = table(age=np.arange(4.0), t=["1", "x", "2", "3"], dead=np.array([0, 1, 1, 0]))
    assert refusal({"a": t}, {"time": "t", "event": "dead"}) == ["column 't': holds text at a; expected numbers"]


def test_an_outcome_nobody_can_learn_is_refused():
    t = table(age=np.arange(4.0), y=np.ones(4), name=list("abcd"), x=np.zeros((4, 2), np.float32))
    ending = "expected two classes, a few, or numbers"
    assert refusal({"a": t}, "y") == [f"outcome column 'y': a single value; {ending}"]
    assert refusal({"a": t}, "name") == [f"outcome column 'name': text of one value per row; {ending}"]
    assert refusal({"a": t}, "x") == ["outcome column 'x': holds an array per row; expected one value"]
    assert refusal({}, "y") == ["no site has a table"]


def test_all_problems_are_told_at_once():
    found = refusal({"a": ward()}, "lable", features=["aeg"], patient="id")
    assert len(found) == 3


def test_a_study_file_in_either_form_gives_a_schema():
    short = agreed_schema({"study": {"outcome": "label", "exclude": ["sex"]}}, {"a": ward()})
    assert short.bad_records == "refuse"
    assert [c.name for c in short.features] == ["age", "smoker"]
    columns = {"label": {"kind": "flag"}, "age": {"kind": "number", "range": [0, 120]}}
    full = agreed_schema({"study": {"outcome": "label"}, "cohort": {"columns": columns}}, {"a": ward()})
    assert full.bad_records == "skip"
    assert [c.name for c in full.features] == ["age"]
    mixed = agreed_schema(
        {"study": {"outcome": "label"}, "cohort": {"columns": {"age": columns["age"]}}}, {"a": ward()}
    )
    assert mixed["age"].range == (0, 120)
    assert [c.name for c in mixed.features] == ["age", "sex", "smoker"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["", "a", "b", "c", "1", "2.5"]), min_size=4, max_size=30), st.integers(1, 3))
def test_sharing_rows_among_sites_does_not_change_the_schema(words, n_sites):
    y = np.arange(len(words)) % 2
    whole = table(word=words, age=np.arange(len(words)) + 0.5, y=y)
    pieces = {f"s{i}": whole.take(np.arange(len(words)) % n_sites == i) for i in range(n_sites)}
    assert infer_schema(pieces, outcome="y") == infer_schema({"all": whole}, outcome="y")


@pytest.mark.parametrize(
    ("longest", "unit", "cell", "horizon"),
    [
        (400.0, "d", 30.4375, 2 * 365.25),
        (200.0, "d", 7.0, 3 * 84.0),
        (28.0, "d", 1.0, 36.0),
        (5.0, "d", 1 / 24, 5.0),
        (20.4, "years", 30.4375, 21 * 365.25),
    ],
)
def test_short_follow_up_gets_finer_cells_so_that_order_in_time_is_kept(longest, unit, cell, horizon):
    t = table(age=np.arange(20.0), t=np.linspace(longest / 20, longest, 20), dead=np.arange(20) % 2)
    layout = infer_schema({"a": t}, outcome={"time": "t", "event": "dead", "unit": unit}).layout()
    assert layout.resolution == cell
    assert layout.horizon == pytest.approx(horizon)
    assert len(np.unique(t.column("t") * {"d": 1.0, "years": 365.25}[unit] // layout.resolution)) >= 12


def test_what_the_study_says_of_rows_and_bad_records_holds_in_the_short_form_too():
    visits = ward(id=["p1", "p1"] * (N // 2))
    study = {"study": {"outcome": "label"}, "cohort": {"patient": "id", "rows": "visits"}}
    schema = agreed_schema(study, {"a": visits})
    assert (schema.rows, schema.bad_records, schema.predict_at) == ("visits", "refuse", "")
    study["cohort"] |= {"bad_records": "skip", "predict_at": "admission"}
    schema = agreed_schema(study, {"a": visits})
    assert (schema.bad_records, schema.predict_at) == ("skip", "admission")
