"""`co.simulate`: a whole swarm from Python objects, and every wrong call one sentence."""

import asyncio
import json
import re

import numpy as np
import pytest

import cohortium as co
from cohortium.data.table import Table
from cohortium.errors import DataError, StudyError, UsageError
from cohortium.ledger.archive import verify


def network():
    """A linear unit."""
    import torch

    return torch.nn.Linear(2, 1)


def _sites():
    def site(n, seed):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=n), rng.normal(size=n)
        return {"a": a, "b": b, "label": (a - b + rng.normal(size=n) > 0).astype(float)}

    return {"porto": site(60, 1), "bonn": site(80, 2)}


@pytest.fixture
def sites():
    return _sites()


@pytest.fixture(scope="module")
def result():
    return co.simulate(sites=_sites(), outcome="label")


def test_three_arguments_are_enough(result):
    assert result.record.status == "complete"
    assert result.record.sites == ("bonn", "porto")
    assert result.record.model.name == "logistic"
    assert 0.7 < result.record.test.swarm["auroc"].value < 1


def test_it_works_where_an_event_loop_is_running(sites, result):
    async def notebook():
        return co.simulate(sites=sites, outcome="label")

    assert asyncio.run(notebook()).record.model.digest == result.record.model.digest


def test_dicts_data_frames_and_tables_are_the_same(sites, result):
    pandas = pytest.importorskip("pandas")
    mixed = {"porto": pandas.DataFrame(sites["porto"]), "bonn": Table.from_columns(sites["bonn"])}
    assert co.simulate(sites=mixed, outcome="label").record.model.digest == result.record.model.digest


@pytest.mark.slow
def test_keywords_and_a_study_file_give_one_study_and_one_model(sites, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        '[study]\nname = "simulation"\noutcome = "label"\nfeatures = ["a"]\n[model]\nname = "logistic"\nl2 = 0.5\n'
        "[strategy]\nrounds = 7\n[evaluation]\nseed = 3\n"
    )
    by_file = co.simulate(sites=sites, study=path)
    by_words = co.simulate(sites=sites, outcome="label", features=["a"], l2=0.5, rounds=7, seed=3)
    assert by_file.study.digest == by_words.study.digest
    assert by_file.record.model.digest == by_words.record.model.digest
    assert co.simulate(sites=sites, study=by_file.study).record.model.digest == by_file.record.model.digest


def test_the_order_of_sites_changes_nothing(sites, result):
    turned = dict(reversed(sites.items()))
    assert co.simulate(sites=turned, outcome="label").record.model.digest == result.record.model.digest


def test_another_seed_draws_other_test_patients(sites, result):
    assert co.simulate(sites=sites, outcome="label", seed=1).record.model.digest != result.record.model.digest


def test_out_names_the_folder_of_four_files(sites, tmp_path):
    result = co.simulate(sites=sites, outcome="label", out=tmp_path / "run")
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written == {"run.json", "report.html", "model.safetensors", "ledger.jsonl"}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["model"]["digest"] == result.record.model.digest
    assert verify(tmp_path / "run" / "ledger.jsonl", evm=False).runs[-1].study == result.study.digest
    with pytest.raises(UsageError, match="holds a finished run of study 'simulation'"):
        co.simulate(sites=sites, outcome="label", out=tmp_path / "run")
    again = co.simulate(sites=sites, outcome="label", out=tmp_path / "run", replace=True)
    assert again.record.model.digest == result.record.model.digest


def test_a_result_writes_and_shows_its_report(result, tmp_path):
    page = result.report(tmp_path / "report.html").read_text()
    assert "<html" in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert not re.search(r'<script(?! type="application/json")', result._repr_html_())


def test_say_hears_a_line_a_round(sites):
    lines = []
    co.simulate(sites=sites, outcome="label", say=lines.append)
    assert sum("round" in line for line in lines) >= 3


def test_survival_outcomes_are_named_by_two_columns():
    def site(n, seed):
        rng = np.random.default_rng(seed)
        a = rng.normal(size=n)
        return {"a": a, "days": np.ceil(rng.exponential(300 * np.exp(-a))), "died": (rng.random(n) < 0.8).astype(float)}

    result = co.simulate(
        sites={"porto": site(80, 1), "bonn": site(90, 2)}, outcome={"time": "days", "event": "died"}, model="cox"
    )
    assert 0.6 < result.record.test.swarm["c_index"].value < 1


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"outcome": None}, UsageError, "name the outcome column, or give a study"),
        ({"outcome": "labell"}, DataError, "labell"),
        ({"model": "logistik"}, StudyError, "did you mean 'logistic'"),
        ({"l3": 1.0}, StudyError, "model 'logistic' has no option 'l3'"),
        ({"strategy": "fedavgg"}, StudyError, "did you mean 'fedavg'"),
        ({"rounds": 0}, StudyError, "strategy.rounds"),
        ({"features": ["a"], "exclude": ["b"]}, StudyError, "either features or exclude"),
        ({"ledger": "paper"}, UsageError, "unknown ledger 'paper'"),
        ({"engine": "ray"}, UsageError, "unknown engine 'ray'"),
        ({"study": "none.toml"}, UsageError, "cannot read study 'none.toml'"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_leaves_nothing(sites, tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        co.simulate(**{"sites": sites, "outcome": "label", "out": tmp_path / "run", **changes})
    assert not (tmp_path / "run").exists()


def test_a_network_of_ones_own_is_named_by_its_function(sites):
    pytest.importorskip("torch")
    found = co.simulate(sites=sites, outcome="label", model="module", factory=network, rounds=2)
    assert found.study.model.options["factory"] == f"{__name__}:network"
    assert found.record.model.n_parameters == 3


def test_a_function_that_no_study_can_name_is_refused(sites):
    for factory in (lambda: None, lambda layout: None):
        with pytest.raises(UsageError, match="factory: a study names functions by module and name"):
            co.simulate(sites=sites, outcome="label", model="module", factory=factory)


def test_one_site_is_no_swarm(sites):
    with pytest.raises(StudyError, match="at least 2 sites, found 1"):
        co.simulate(sites={"porto": sites["porto"]}, outcome="label")


def test_a_site_without_the_outcome_is_named(sites):
    sites["bonn"].pop("label")
    with pytest.raises(DataError, match="bonn"):
        co.simulate(sites=sites, outcome="label")


def test_what_is_no_table_is_refused(sites):
    with pytest.raises(DataError):
        co.simulate(sites={**sites, "bonn": 7}, outcome="label")
