"""A private run of four real hospitals stops by itself; the record says what it cost, what left, what attacks found."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from cohortium.core.study import Study
from cohortium.data.readers import read
from cohortium.errors import RunFailed
from cohortium.reports.record import RunRecord
from cohortium.sim.accounts import check_budgets
from cohortium.sim.purses import PatientSet, code_of_study, patients_of
from cohortium.sim.results import load_model
from cohortium.sim.simulate import Options, run_simulation

SHARED = Path(os.environ.get("COHORTIUM_DATA") or Path(__file__).parents[3] / "shared" / "data")
RANGES = {
    "age": [20.0, 90.0], "trestbps": [80.0, 200.0], "chol": [0.0, 600.0], "thalach": [60.0, 220.0],
    "oldpeak": [-3.0, 7.0], "*": [0.0, 4.0],
}  # fmt: skip
MARKER = 7311.4711


def hospitals():
    path = SHARED / "heart_uci.parquet"
    if not path.exists():
        pytest.skip("heart_uci.parquet is not there (set COHORTIUM_DATA)")
    whole = read(path).without(["num"])
    site = np.asarray(whole.column("site"))
    return {str(s): whole.take(np.flatnonzero(site == s)).without(["site"]) for s in np.unique(site)}


def heart(**sections):
    content = {
        "study": {"name": "heart", "outcome": "label"},
        "model": {"name": "logistic"},
        "strategy": {"rounds": 16},
        "cohort": {"scale": "public", "fill": "none", "ranges": RANGES},
        "evaluation": {"per_site": False, "leave_one_out": False},
    }
    for name, changes in sections.items():
        content[name] = {**content.get(name, {}), **changes}
    return Study.model_validate(content)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Four hospitals of heart_uci with a cap of 1.0 on a study that promises 3.0."""
    pytest.importorskip("dp_accounting", reason="needs the extra 'dp'")
    out = tmp_path_factory.mktemp("heart") / "run"
    study = heart(privacy={"secure_aggregation": True, "dp": {"epsilon": 3.0}})
    return run_simulation(study, hospitals(), out=out, options=Options(cap=1.0)), out


def test_a_run_of_four_hospitals_stops_by_itself_before_the_cap(stopped):
    result, out = stopped
    assert result.record.status == "partial (4/4 sites, budget)"
    assert result.exit_code == 3
    privacy = result.record.privacy
    assert {one.site for one in privacy.spending} == set(result.record.sites)
    for one in privacy.spending:
        assert 0.5 < one.total <= one.cap == 1.0
        assert one.rounds == len(result.record.rounds) < 16
        assert list(one.history) == sorted(one.history)
    assert len(load_model(out / "model.safetensors").digest) == 64, "the model of the last paid round is kept"


def test_a_cap_below_the_first_round_fails_by_site_stage_and_reason():
    pytest.importorskip("dp_accounting", reason="needs the extra 'dp'")
    study = heart(privacy={"dp": {"epsilon": 3.0}})
    with pytest.raises(RunFailed, match=r"^failed \([a-z]+, train, budget\)$"):
        run_simulation(study, hospitals(), options=Options(cap=0.6))


def test_the_totals_are_rebuilt_offline_from_the_export(stopped):
    from cohortium.sim.accounts import check_budgets

    result, out = stopped
    found = check_budgets(out / "ledger.jsonl")
    assert found.faults == ()
    assert {one.site: one.total for one in found.statements} == {
        one.site: one.total for one in result.record.privacy.spending
    }


def test_the_record_names_protection_rounds_and_everything_that_left(stopped):
    privacy = stopped[0].record.privacy
    assert (privacy.method, privacy.colluders, privacy.promise.epsilon) == ("masks", 1, 3.0)
    assert privacy.noise == "seeded (simulation)"
    assert [one.threshold for one in privacy.rounds] == [3] * len(privacy.rounds)
    kinds = {(one.kind, one.what) for one in privacy.egress}
    assert {("offer", "masked"), ("offer", "shares"), ("ledger", "commit"), ("ledger", "spend")} <= kinds
    assert ("offer", "updates") not in kinds, "no update left in the open"
    assert all(one.bytes > 0 and len(one.digest) == 64 for one in privacy.egress)


def test_the_ledger_holds_each_sites_verdicts(stopped):
    from cohortium.ledger.archive import verify

    said = verify(stopped[1] / "ledger.jsonl", evm=False).privacy.audits
    assert {(one.site, one.tier) for one in said} == {(s, t) for s in stopped[0].record.sites for t in (0, 1)}
    attacks = stopped[0].record.privacy.audit.attacks
    assert {(one.name, one.verdict) for one in attacks if not one.site and one.name == "control"} == {
        ("control", "pass")
    }
    bound = next(one.figure.value for one in attacks if not one.site and one.name == "one-run")
    assert bound <= 3.0


def test_the_record_goes_through_json_and_repeats(stopped):
    result, out = stopped
    assert RunRecord.from_json((out / "run.json").read_text()) == RunRecord.from_json(result.record.to_json())
    again = run_simulation(result.study, hospitals(), options=Options(cap=1.0))
    assert again.record.privacy == result.record.privacy


def test_a_planted_value_of_a_patient_is_nowhere(tmp_path):
    tables = hospitals()
    for site, table in tables.items():
        chol = np.array(table.column("chol"), dtype=float)
        chol[::7] = MARKER
        tables[site] = table.with_column("chol", chol)
    study = heart(cohort={"scale": "standard", "fill": "mean", "ranges": {}}, model={"l2": 0.1})
    result = run_simulation(study, tables, out=tmp_path / "run")
    assert result.record.privacy.audit is not None
    for name in ("run.json", "report.html", "ledger.jsonl"):
        assert str(MARKER).encode() not in (tmp_path / "run" / name).read_bytes()


def test_what_trained_and_whose_patients_are_said_without_saying_who(stopped):
    result = stopped[0]
    assert code_of_study(result.study).startswith("cohortium 0.")
    assert code_of_study(heart(model={"code_digest": "ab" * 32})) == "sha256:" + "ab" * 32
    sets = patients_of(result.gathered)
    assert sets["cleveland"].keys is None, "without a patient column nobody can tell two tables apart"
    assert sets["cleveland"] == PatientSet(table=result.gathered.tables["cleveland"].digest, n=sets["cleveland"].n)


def test_without_noise_nothing_is_booked_and_every_attack_still_made():
    result = run_simulation(heart(cohort={"scale": "standard", "fill": "mean", "ranges": {}}), hospitals())
    privacy = result.record.privacy
    assert (privacy.promise, privacy.spending, privacy.method) == (None, (), "masks")
    assert {one.name for one in privacy.audit.attacks} == {"inversion", "model", "one-run", "control"}
    assert privacy.audit.verdict == "pass"
    json.loads(result.record.to_json())


def test_a_run_that_hides_its_sites_is_not_stopped_by_the_smaller_delta_of_patients(make_table, tmp_path):
    pytest.importorskip("dp_accounting", reason="needs the extra 'dp'")
    study = Study.model_validate(
        {
            "study": {"name": "sites", "outcome": "label", "features": ["a", "b"]},
            "cohort": {"scale": "public", "fill": "none", "ranges": {"*": [-3.0, 3.0]}},
            "model": {"name": "logistic", "learn": "weights", "l2": 0.0},
            "strategy": {"name": "fedavg", "rounds": 3},
            "privacy": {
                "dp": {"unit": "site", "epsilon": 8.0, "delta": 1e-3, "clip": "quantile", "accept_site_level": True}
            },
            "evaluation": {"per_site": False, "leave_one_out": False},
        }
    )
    tables = {f"s{i}": make_table(40, seed=i) for i in range(6)}
    record = run_simulation(study, tables, out=tmp_path / "run").record
    assert record.status == "complete"
    assert len(record.rounds) == 3
    assert all((one.delta, one.rounds) == (1e-3, 3) and 7.9 < one.colluders <= 8.0 for one in record.privacy.spending)
    assert any("clipping norm 1 at first, " in note for note in record.notes)
    assert check_budgets(tmp_path / "run" / "ledger.jsonl").faults == ()
