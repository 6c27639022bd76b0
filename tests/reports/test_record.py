import json
from dataclasses import replace

import numpy as np
import pytest

from cohortium.errors import DataError
from cohortium.reports.measure import Measure
from cohortium.reports.record import RunRecord, Timings, flat, mean_of, plain


def test_run_json_keeps_the_contract(small_record):
    document = json.loads(small_record.to_json())
    assert document["status"] == "complete"
    assert document["sites"] == ["bonn", "porto"]
    assert document["included"] == [["bonn", "porto"]] * 2
    assert document["test"]["swarm"]["auroc"] == 0.8
    assert document["test"]["per_site"]["bonn"] == {"own": {"auroc": 0.7}, "swarm": {"auroc": 0.82}}
    assert document["test"]["single"]["porto"]["auroc"] == 0.75
    assert document["model"]["digest"] == "ab" * 32
    assert (document["ledger"]["height"], document["ledger"]["head"]) == (9, "cd" * 32)
    assert (document["seed"], document["seconds"]) == (7, 1.25)
    assert document["versions"] == {"cohortium": "0.1.0"}


def test_a_missing_number_is_null_with_its_reason_beside_it(small_record):
    document = json.loads(small_record.to_json())
    assert document["test"]["swarm"]["auroc_within"] is None
    assert document["intervals"]["swarm"]["auroc_within"]["reason"] == "not available: n = 7"
    assert document["intervals"]["swarm"]["auroc"]["low"] == pytest.approx(0.75)
    assert document["rounds"][0]["metrics"]["loss"] is None
    assert "NaN" not in small_record.to_json()


def test_a_record_survives_its_json(small_record, heart_record):
    for record in (small_record, heart_record):
        again = RunRecord.from_json(record.to_json())
        assert again.to_json() == record.to_json()
        assert again.digest == record.digest


def test_order_of_names_changes_no_byte(small_record):
    turned = replace(small_record, flow=dict(reversed(small_record.flow.items())))
    assert turned.to_json() == small_record.to_json()


def test_times_are_the_only_difference_of_two_equal_runs(small_record):
    slower = replace(small_record, seconds=9.0, timings=Timings(rounds=(4.0, 5.0)))
    assert slower.to_json() != small_record.to_json()
    assert slower.without_times() == small_record.without_times()
    assert replace(slower, seed=8).without_times() != small_record.without_times()


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"format": "other/1"}', '{"format": "cohortium-run/1"}'])
def test_other_json_is_refused(text):
    with pytest.raises(DataError, match="run record"):
        RunRecord.from_json(text)


def test_a_wrong_type_is_refused_by_its_place(small_record):
    document = json.loads(small_record.to_json())
    document["seed"] = "seven"
    with pytest.raises(DataError, match=r"\$\.seed"):
        RunRecord.from_json(json.dumps(document))


def test_numpy_scalars_become_plain_and_anything_else_is_refused():
    assert plain({"a": np.float64(1.5), "b": np.int64(2), "c": np.bool_(True), "d": (np.nan, None)}) == {
        "a": 1.5, "b": 2, "c": True, "d": [None, None],
    }  # fmt: skip
    with pytest.raises(TypeError, match="cannot hold a ndarray"):
        plain(np.zeros(2))


def test_flat_measures_have_intervals_beside():
    found = flat({"auroc": Measure(value=0.8, low=0.7, high=0.9, n=50), "brier": Measure(value=None, n=3)})
    assert found["auroc"] == 0.8
    assert found["brier"] is None
    assert found["intervals"]["auroc"]["high"] == 0.9


def test_mean_over_models_leaves_out_those_without_a_value():
    models = {
        "a": {"auroc": Measure(value=0.8, n=10)},
        "b": {"auroc": Measure(value=0.6, n=10)},
        "c": {"auroc": Measure(value=None, n=10)},
    }
    assert mean_of(models)["auroc"].value == pytest.approx(0.7)
    assert mean_of({"c": models["c"]})["auroc"].value is None
