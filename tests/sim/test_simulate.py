"""One call from tables to a record: the contract of run.json, repeatable by seed, the same on every ledger."""

import json
import logging

import numpy as np
import pytest

from cohortium.core.study_text import study_of
from cohortium.errors import DataError, StudyError, UsageError
from cohortium.sim.folder import FILES
from cohortium.sim.simulate import Options, run_simulation


def document(result):
    return json.loads(result.record.to_json())


def timeless(result):
    return {key: value for key, value in document(result).items() if key not in ("seconds", "timings")}


def test_a_run_leaves_its_four_files_and_nothing_else(finished):
    assert sorted(path.name for path in finished[1].iterdir()) == sorted(FILES)


def test_the_contract_of_run_json(finished):
    result, out, _ = finished
    run = json.loads((out / "run.json").read_text())
    sites = ["bonn", "lund", "porto"]
    assert run["status"] == "complete"
    assert run["sites"] == sites
    assert run["included"] == [sites] * len(run["rounds"])
    assert isinstance(run["seed"], int)
    assert run["seconds"] > 0
    assert {"cohortium", "python", "numpy"} <= set(run["versions"])
    assert len(bytes.fromhex(run["model"]["digest"])) == 32
    assert run["ledger"]["height"] > 0
    assert len(bytes.fromhex(run["ledger"]["head"])) == 32
    test = run["test"]
    for metric in ("auroc", "auroc_within", "accuracy", "brier"):
        assert 0 <= test["swarm"][metric] <= 1
        assert test["single_mean"][metric] == pytest.approx(np.mean([test["single"][site][metric] for site in sites]))
        assert all(0 <= test["per_site"][site][who][metric] <= 1 for site in sites for who in ("swarm", "own"))
        assert test["swarm"][metric] == test["pooled"][metric], "exact sums: the swarm is the pooled model"
        assert run["intervals"]["swarm"][metric]["n"] == sum(len(one.test) for one in result.rows)


def test_auto_is_recorded_by_what_it_chose(finished):
    assert finished[0].record.model.strategy == "exact-sums"
    assert finished[0].record.engine == "sequential"


def test_at_most_eight_lines_beside_the_rounds(finished):
    result, _, said = finished
    assert len(said) <= len(result.record.rounds) + 8
    assert said[0] == "secure aggregation off, as the study says: members see each other's updates"
    assert said[0] in result.record.notes
    assert [line.split()[1].partition("/")[0] for line in said[1:4]] == ["1", "2", "3"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_record_and_another_seed_another(study, tables):
    one, same, other = (run_simulation(study, tables, options=Options(seed=seed)) for seed in (4, 4, 5))
    assert timeless(one) == timeless(same)
    assert one.record.without_times().to_json() == same.record.without_times().to_json()
    assert one.record.model.digest != other.record.model.digest
    assert one.record.test.swarm["auroc"] != other.record.test.swarm["auroc"]


@pytest.mark.slow
def test_every_ledger_gives_the_same_model(study, tables, finished):
    pytest.importorskip("eth")
    memory, local = (run_simulation(study, tables, options=Options(ledger=name)).record for name in ("memory", "local"))
    assert memory.model.digest == local.model.digest
    assert memory.test == local.test
    assert [r.merge for r in memory.rounds] == [r.merge for r in local.rounds]
    assert memory.ledger.engine != local.ledger.engine


def test_what_cannot_work_is_refused_before_anything_is_touched(study, tables, make_study, tmp_path):
    out = tmp_path / "run"
    one_site = {"bonn": tables["bonn"]}
    for wrong, data, error in [
        (study, one_site, StudyError),
        (make_study(strategy={"name": "nope"}), tables, StudyError),
        (make_study(model={"name": "cox", "l2": 0.0}), tables, DataError),
        (make_study(study={"outcome": "nope"}), tables, DataError),
    ]:
        with pytest.raises(error):
            run_simulation(wrong, data, out=out)
    assert not out.exists()


@pytest.mark.slow
def test_results_are_replaced_only_by_a_run_that_succeeds(study, tables, make_study, tmp_path):
    run_simulation(study, tables, out=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    diverging = make_study(model={"learning_rate": 1e300}, strategy={"name": "fedavg", "rounds": 2})
    with pytest.raises(
        UsageError, match=rf"holds a finished run of study '{study.name}' \(digest {study.digest.hex()[:16]}\)"
    ):
        run_simulation(diverging, tables, out=tmp_path)
    again = Options(replace=True)
    with np.errstate(all="ignore"), pytest.raises(Exception, match=r"failed \(\w+, train, not_finite\)"):
        run_simulation(diverging, tables, out=tmp_path, options=again)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    run_simulation(study, tables, out=tmp_path, options=Options(seed=7, replace=True))
    assert json.loads((tmp_path / "run.json").read_text())["seed"] == 7


def test_folds_measure_everybody_and_release_the_model_of_all(study, make_study, tables):
    folded = run_simulation(make_study(evaluation={"folds": 3, "leave_one_out": False}), tables)
    n = sum(len(table) for table in tables.values())
    calibration = sum(flow.calibration for flow in folded.record.flow.values())
    assert folded.record.test.swarm["auroc"].n == n - calibration
    assert set(folded.record.test.single) == set(tables)
    assert folded.record.model.digest != run_simulation(study, tables).record.model.digest
    assert any("3-fold cross-validation" in note for note in folded.record.notes)
    assert folded.record.test.swarm["auroc"].value == pytest.approx(folded.record.test.pooled["auroc"].value, abs=1e-12)


def test_many_warnings_are_said_in_three_lines_and_kept_whole(study, make_table):
    tables = {f"site-{i}": make_table(40, seed=i, missing=("b",) if i < 5 else ()) for i in range(6)}
    said = []
    result = run_simulation(study, tables, warn=said.append)
    assert len(said) == 3
    assert said[-1].endswith("more warnings, all of them in the report")
    assert sum("no values for b" in note for note in result.record.notes) == 5


def test_models_that_cannot_be_trained_are_named_in_one_line(study, make_table):
    tables = {site: make_table(60, seed=i) for i, site in enumerate(("bonn", "lund", "porto"))}
    tables["bonn"] = tables["bonn"].with_column("label", np.zeros(60))
    said = []
    result = run_simulation(study, tables, warn=said.append)
    assert sum("not trained: own/bonn" in line for line in said) == 1
    assert any("not trained: own/bonn" in note for note in result.record.notes)
    assert "own" not in result.record.test.per_site["bonn"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ledger": "paper"}, "unknown ledger 'paper'; available: local, memory"),
        ({"ledger": "replicated"}, "needs servers of its own, for nodes; a simulation takes local or memory"),
        ({"engine": "steam"}, "unknown engine 'steam'; available: auto, sequential, stacked"),
        ({"resume": True}, "--resume needs a run on --ledger local"),
        ({"resume": True, "replace": True, "ledger": "local"}, "leave one of them out"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        Options(**options)


def test_nothing_is_logged_behind_the_screens_back(study, tables, caplog):
    with caplog.at_level(logging.WARNING):
        run_simulation(study, tables)
    assert caplog.records == []


def test_a_result_shows_itself_in_a_notebook_and_writes_its_page(finished, tmp_path):
    result, out, _ = finished
    assert result.exit_code == 0
    assert result.sentence == "complete"
    assert result.report(tmp_path / "page.html").read_bytes() == (out / "report.html").read_bytes()
    assert "<html" in result._repr_html_()


def test_a_model_that_ran_out_of_rounds_says_so(make_study, tables):
    said: list[str] = []
    cut = make_study(model={"max_rounds": 2}, evaluation={"per_site": False, "leave_one_out": False})
    result = run_simulation(cut, tables, warn=said.append)
    assert [one for one in result.record.notes if "without reaching its optimum" in one]
    assert [one for one in said if "raise model.max_rounds" in one]
    whole = make_study(evaluation={"per_site": False, "leave_one_out": False})
    assert not [one for one in run_simulation(whole, tables).record.notes if "optimum" in one]


def test_a_generators_study_is_refused_by_the_command_that_learns_it():
    study = study_of({"study": {"name": "s", "outcome": "y"}, "synth": {}})
    with pytest.raises(StudyError, match="learn a generator with: cohortium synth fit"):
        run_simulation(study, dict.fromkeys(("bonn", "lund", "porto")))
