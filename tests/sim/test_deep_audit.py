"""Tier 2: a model that learned its patients by heart is caught, an honest one is not; other tables are refused."""

import numpy as np
import pytest

from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.errors import UsageError
from cohortium.sim.deep_audit import deep_audit
from cohortium.sim.simulate import run_simulation


def tables(n=150, *, columns=4, signal=1.5, sites=("bonn", "lund", "porto")):
    made = {}
    for number, site in enumerate(sites):
        rng = np.random.default_rng(number)
        x = rng.normal(size=(n, columns))
        y = (signal * x[:, 0] + rng.normal(size=n) > 0).astype(float)
        named = {f"c{i}": x[:, i] for i in range(columns)}
        made[site] = Table.from_columns({**named, "sex": np.where(x[:, 1] > 0, "f", "m"), "label": y})
    return made


def study(l2, **sections):
    content = {
        "study": {"name": "deep", "outcome": "label"},
        "model": {"name": "logistic", "l2": l2},
        "cohort": {"subgroups": ["sex"]},
        "evaluation": {"per_site": False, "leave_one_out": False, "recalibrate": False},
    }
    return Study.model_validate({**content, **sections})


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    out = tmp_path_factory.mktemp("deep") / "run"
    run_simulation(study(0.1), tables(), out=out)
    return out


@pytest.mark.slow
def test_an_honest_model_is_not_found_to_leak(honest):
    said = []
    found = deep_audit(honest, tables(), references=6, say=said.append)
    names = [one.name for one in found.attacks]
    assert names[:3] == ["lira-offline", "lira-online", "rmia"]
    assert "lira-online, sex 0" in names
    assert {one.verdict for one in found.attacks[:3]} <= {"pass", "inconclusive"}
    assert found.verdict in ("pass", "inconclusive")
    assert said[0] == "reference 1 of 6"
    assert all(one.tier == 2 and not one.covered_by_dp for one in found.attacks)
    again = deep_audit(honest, tables(), references=6)
    assert again == found, "repeats bit for bit"


@pytest.mark.slow
def test_a_model_with_more_columns_than_patients_is_caught(tmp_path):
    """The planted leak: an overfitted twin, nothing but noise columns and hardly any penalty."""
    noise = tables(60, columns=120, signal=0.0)
    run_simulation(study(1e-4), noise, out=tmp_path / "run")
    found = deep_audit(tmp_path / "run", noise, references=8)
    verdicts = {one.name: one.verdict for one in found.attacks}
    assert verdicts["lira-online"] == "fail"
    assert found.verdict == "fail"


def test_what_is_told_about_a_site_is_told_apart_from_patients(honest):
    found = deep_audit(honest, tables(), references=4)
    (site,) = [one for one in found.attacks if one.name == "prevalence"]
    assert site.site in tables()
    assert site.figure.value > 0.5


def test_tables_that_were_not_trained_on_are_refused(honest):
    with pytest.raises(UsageError, match=r"these are not the tables of the run: .*bonn, lund, porto"):
        deep_audit(honest, tables(90), references=4)
    with pytest.raises(UsageError, match=r"these are not the tables of the run: the model's AUROC on them is 0\.\d{4}"):
        deep_audit(honest, tables(signal=0.3), references=4)
