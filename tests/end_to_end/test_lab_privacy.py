"""Five real processes under masks and under noise: a hospital killed in mid-round costs what the simulation says.

The kill is where it hurts: around the masked vector. Once it was sent, the others' shares of its self mask open the sum
with it. Before, the others go on without: within the attempt, in the range of all, or, if it led the round, in another
attempt among themselves, in their own range. Who leads is for the ledger to say, so the twin is chosen by what it said.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from cohortium.core.study_text import parse_study
from cohortium.data.readers import read
from cohortium.lab.consortium import Consortium
from cohortium.lab.hospitals import Hospitals, own_hospitals
from cohortium.lab.site_faults import Death, SiteFaults, deaths_died
from cohortium.sim.faults import Crash, Scenario
from cohortium.sim.pinning import pin
from cohortium.sim.simulate import Options, run_simulation

from .labs import HEARTBEAT_S, QUICK, SITES, table_of

pytest.importorskip("grpc")
pytest.importorskip("eth")
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

HEART = """
[study]
name = "heart"
outcome = "label"
exclude = ["num"]
[model]
name = "logistic"
learn = "weights"
[strategy]
name = "fedavg"
rounds = 4
round_timeout_s = 8.0
[swarm]
silence_s = 8.0
max_round_s = 600.0
answer_timeout_s = 300.0
"""
VICTIM_AT, LAST_ROUNDS = 3, 3
SENT = ("stepped", "unmask")
NOT_SENT = ("stepped", "masked")
NOT_IN_THE_ATTEMPT = ("stepped", "shares")
"""What a lost leader's vector comes to: the attempt goes with it, and the next one is among the others."""


def heart(folder):
    """920 patients of heart_uci, dealt to five hospitals."""
    pytest.importorskip("pyarrow")
    default = Path(__file__).parents[3] / "shared" / "data"
    path = Path(os.environ.get("COHORTIUM_DATA", default)) / "heart_uci.parquet"
    if not path.exists():
        pytest.skip(f"no real data at {path}; set COHORTIUM_DATA")
    (folder / "heart.toml").write_text(HEART)
    return own_hospitals(folder / "heart.toml", [str(path)], site_column=None, n_sites=5)


def leader_at_first(folder, round):
    """Who led the first attempt of a round, by the ledger that a site keeps beside its record."""
    lines = (json.loads(one) for one in (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines())
    told = (event for line in lines for name, event in line.get("events", ()) if name == "Closed")
    return next(event["leader"] for event in told if event["round"] == round and event["attempt"] == 1)


def simulated(lab, monkeypatch, *, crash=None, text=None):
    """The same study on the same tables in virtual time, with the same loss: its result."""
    study = parse_study(text or (lab.folder / "study.toml").read_text(encoding="utf-8"))
    tables = {name: read(lab.home(name) / "table.csv") for name in lab.lab.names}
    names = tuple(lab.lab.names)
    played = Scenario(name="loss", sites=names, rounds=99, faults=(crash,) if crash else ())
    monkeypatch.setattr("cohortium.sim.simulate.published", lambda name: played)
    return run_simulation(study, tables, options=Options(faults="loss" if crash else ""))


@pytest.mark.parametrize(("point", "in_the_sum"), [(SENT, True), (NOT_SENT, False)], ids=["sent", "not-sent"])
def test_a_hospital_killed_around_its_masked_vector_leaves_the_survivors_mean_bit_for_bit(
    point, in_the_sum, tmp_path, monkeypatch
):
    lab = Consortium.create(tmp_path / "lab", heart(tmp_path), engine="local", heartbeat_s=HEARTBEAT_S)
    try:
        undisturbed = simulated(lab, monkeypatch)
        assert undisturbed.record.privacy.method == "masks"
        n_rounds = len(undisturbed.record.rounds)
        at, victim = n_rounds - LAST_ROUNDS + 1, lab.lab.names[VICTIM_AT]
        lab.start()
        lab.wait_until_healthy(timeout_s=200)
        lab.fault(victim, SiteFaults(deaths=(Death(fact=point[0], step=point[1], round=at),)))
        number = lab.propose()
        others = [site for site in lab.lab.names if site != victim]
        ended = lab.wait_for_run(number, sites=others, timeout_s=500)
        assert deaths_died(lab.home(victim)), "the victim was not killed at its point"
        records = {site: lab.record(site, number) for site in others}
        led = leader_at_first(lab.home(others[0]) / "runs" / str(number), at) == victim
        fact, step = NOT_IN_THE_ATTEMPT if led and not in_the_sum else point
        crash = Crash(site=victim, fact=fact, step=step, round=at, back_after_s=None)
        expected = simulated(lab, monkeypatch, crash=crash).record
    finally:
        lab.down()
    every = set(lab.lab.names)
    assert {held["sentence"] for held in ended.values()} == {f"partial ({len(others)}/{len(every)} sites)"}
    for record in records.values():
        included = [set(one) for one in record["included"]]
        assert included[at - 1] == (every if in_the_sum else set(others))
        assert included[at:] == [set(others)] * (n_rounds - at)
        assert [one["merge"] for one in record["rounds"]] == [one.merge for one in expected.rounds]
        assert record["model"]["digest"] == expected.model.digest
        assert record["model"]["digest"] != undisturbed.record.model.digest
    how = "killed as leader" if led else "killed"
    print(f"round {at} of {n_rounds}: {victim} {how}, merge {expected.rounds[at - 1].merge[:16]}")


def test_masks_change_a_merge_by_less_than_a_hundred_millionth(tmp_path, monkeypatch):
    lab = Consortium.create(tmp_path / "lab", heart(tmp_path), engine="local", heartbeat_s=HEARTBEAT_S)
    text = (lab.folder / "study.toml").read_text(encoding="utf-8")
    masked = simulated(lab, monkeypatch)
    plain = simulated(lab, monkeypatch, text=text + "\n[privacy]\nsecure_aggregation = false\n")
    one, other = (
        np.concatenate([array.reshape(-1).astype(float) for array in found.model.state.under("model/model").values()])
        for found in (masked, plain)
    )
    assert 0 < np.abs(one - other).max() <= 1e-8 * np.abs(other).max()


def private_hospitals(mode):
    """Five little hospitals, and a study that promises epsilon 3 to every patient."""
    content = {
        **QUICK,
        "cohort": {"scale": "public", "fill": "none", "ranges": {"a": [-3.0, 3.0], "b": [-3.0, 3.0]}},
        "strategy": {"name": "auto", "rounds": 4, "round_timeout_s": 60.0},
        "swarm": {"silence_s": 60.0, "answer_timeout_s": 600.0, "max_round_s": 600.0},
        "privacy": {"dp": {"mode": mode, "epsilon": 3.0, "delta": 1e-5, "sample_rate": 0.25}},
    }
    tables = {site: table_of(number) for number, site in enumerate(SITES)}
    made = pin(content, tables)
    return Hospitals(study=made.study, text=made.text, tables=tables)


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_a_private_run_of_real_nodes_spends_what_it_promised_under_noise_of_the_system(mode, tmp_path):
    pytest.importorskip("dp_accounting")
    lab = Consortium.create(tmp_path / "lab", private_hospitals(mode), engine="local", heartbeat_s=HEARTBEAT_S)
    try:
        lab.start()
        lab.wait_until_healthy(timeout_s=200)
        number = lab.propose()
        ended = lab.wait_for_run(number, timeout_s=800)
        records = {site: lab.record(site, number) for site in SITES}
    finally:
        lab.down()
    assert {held["sentence"] for held in ended.values()} == {"complete"}
    assert len({record["model"]["digest"] for record in records.values()}) == 1
    for site, record in records.items():
        privacy = record["privacy"]
        assert (privacy["method"], privacy["noise"]) == ("masks", "operating system")
        assert privacy["promise"]["epsilon"] == 3.0
        spent = {one["site"]: one["colluders"] for one in privacy["spending"]}
        assert site in spent
        assert all(0 < epsilon <= 3.0 + 1e-6 for epsilon in spent.values())
    print(mode, spent)
