"""A saved model on new patients: the same figures on the same rows, absent columns as missing, extra ones ignored."""

import numpy as np
import pytest

from cohortium.data.table import Table
from cohortium.errors import DataError, UsageError
from cohortium.sim.evaluate import evaluate_folder, evaluate_model
from cohortium.sim.results import load_model


@pytest.fixture
def saved(finished):
    return load_model(finished[1] / "model.safetensors")


def rows_of(table, part):
    """The rows of a table that a cohort put into one part, by the values of the column `a`."""
    mine = np.isin(table.column("a"), part.x[:, part.layout.features.index("a")])
    return table.take(np.flatnonzero(mine))


def test_the_swarms_test_figures_come_out_again_exactly(finished, saved, make_table):
    result, _, _ = finished
    made = {"bonn": make_table(60, seed=1), "lund": make_table(80, seed=2, shift=0.5), "porto": make_table(70, seed=3)}
    held_out = {one.site: rows_of(made[one.site], one.test) for one in result.rows}
    assert sum(map(len, held_out.values())) == sum(len(one.test) for one in result.rows)
    found = evaluate_model(saved, held_out)
    swarm = result.record.test.swarm
    for name in ("auroc", "auroc_within", "auprc", "brier", "calibration_slope"):
        assert found.measures[name].value == swarm[name].value, name
    assert found.document()["auroc"] == swarm["auroc"].value
    assert found.document()["intervals"]["auroc"]["low"] < found.document()["auroc"]


def test_an_absent_column_is_missing_and_said(saved, make_table):
    table = make_table(50, seed=8)
    whole = evaluate_model(saved, {"oslo": table})
    less = evaluate_model(saved, {"oslo": table.without(["b"])})
    empty = evaluate_model(saved, {"oslo": table.with_column("b", np.full(50, np.nan))})
    assert "site 'oslo': columns absent and treated as missing: b" in less.notes
    assert less.measures["auroc"].value == empty.measures["auroc"].value
    assert less.measures["brier"].value != whole.measures["brier"].value


def test_more_columns_change_nothing(saved, make_table):
    table = make_table(50, seed=8)
    more = table.with_column("shoe_size", np.arange(50.0)).with_column("ward", np.array(["x"] * 50))
    assert evaluate_model(saved, {"oslo": more}).document() == evaluate_model(saved, {"oslo": table}).document()


def test_an_impossible_value_is_counted_and_not_fatal(saved, make_table):
    table = make_table(50, seed=8)
    a = np.array(table.column("a"))
    a[3] = np.inf
    found = evaluate_model(saved, {"oslo": table.with_column("a", a)})
    assert found.n == 50
    assert any("1 non-finite value" in note and "set to missing" in note for note in found.notes)


def test_data_without_the_outcome_cannot_be_measured(saved, make_table):
    with pytest.raises(DataError, match="no column 'label'"):
        evaluate_model(saved, {"oslo": make_table(50, seed=8).without(["label"])})


def test_each_site_has_its_own_figures(saved, make_table):
    found = evaluate_model(saved, {"oslo": make_table(50, seed=8), "riga": make_table(40, seed=9)})
    assert {site: measures["auroc"].n for site, measures in found.per_site.items()} == {"oslo": 50, "riga": 40}
    assert found.document()["n"] == 90
    assert [row[0] for row in found.rows()] == list(found.measures)


def test_one_file_without_a_site_column_is_one_site(finished, tmp_path, make_table):
    table = make_table(40, seed=8)
    lines = ["a,b,sex,label"] + [
        ",".join(str(table.column(name)[i]) for name in ("a", "b", "sex", "label")) for i in range(40)
    ]
    path = tmp_path / "new.csv"
    path.write_text("\n".join(lines) + "\n")
    found = evaluate_folder(finished[1], [str(path)], site_column=None)
    assert list(found.per_site) == ["new"]
    same = evaluate_folder(finished[1] / "model.safetensors", [f"new={path}"], site_column=None)
    assert same.document() == found.document()
    with pytest.raises(UsageError, match="no data named"):
        evaluate_folder(finished[1], [], site_column=None)


@pytest.mark.parametrize(
    ("outcome", "model", "metric"),
    [
        ({"time": "t", "event": "e"}, {"name": "cox"}, "c_index"),
        ("num", {"name": "linear"}, "rmse"),
        ("cls", {"name": "multinomial"}, "auroc"),
    ],
    ids=["survival", "number", "classes"],
)
def test_other_outcomes_come_out_again_too(outcome, model, metric, tmp_path):
    from cohortium.core.study import Study
    from cohortium.sim.simulate import run_simulation

    def table(seed):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(2, 60))
        return Table.from_columns(
            {
                "a": a,
                "b": b,
                "num": a + b + rng.normal(0, 0.5, 60),
                "cls": np.array(["x", "y", "z"])[np.clip((a + b + rng.normal(0, 0.8, 60) + 1.5).astype(int), 0, 2)],
                "t": rng.exponential(np.exp(-0.5 * a)) * 400 + 1,
                "e": (rng.random(60) < 0.8).astype(float),
            }
        )

    made = {"bonn": table(1), "lund": table(2)}
    study = Study.model_validate(
        {
            "study": {"name": "s", "outcome": outcome, "features": ["a", "b"]},
            "model": model,
            "evaluation": {"per_site": False},
        }
    )
    result = run_simulation(study, made, out=tmp_path)
    held_out = {one.site: rows_of(made[one.site], one.test) for one in result.rows}
    found = evaluate_model(load_model(tmp_path / "model.safetensors"), held_out)
    assert found.measures[metric].value == result.record.test.swarm[metric].value
    assert found.measures[metric].value is not None
