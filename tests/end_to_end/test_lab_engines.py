"""Five real processes on every ledger: the digest of the simulation, on real patients of two kinds."""

import os
from pathlib import Path

import pytest

from cohortium.errors import CohortiumError
from cohortium.lab.consortium import Consortium
from cohortium.lab.engines import ENGINES, why_not
from cohortium.lab.hospitals import demo_hospitals, own_hospitals
from cohortium.lab.selfcheck import simulated_digest

from .labs import digests, leader_of_etcd, one_chain, watch

pytest.importorskip("grpc")
pytest.importorskip("eth")
pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

HEART = '[study]\nname = "heart"\noutcome = "label"\nexclude = ["num"]\n[model]\nname = "logistic"\n'


def nuclei(folder):
    pytest.importorskip("sklearn")
    return demo_hospitals(5, seed=0)


def heart(folder):
    """920 patients of four hospitals, dealt to five."""
    pytest.importorskip("pyarrow")
    default = Path(__file__).parents[3] / "shared" / "data"
    path = Path(os.environ.get("COHORTIUM_DATA", default)) / "heart_uci.parquet"
    if not path.exists():
        pytest.skip(f"no real data at {path}; set COHORTIUM_DATA")
    (folder / "heart.toml").write_text(HEART)
    return own_hospitals(folder / "heart.toml", [str(path)], site_column=None, n_sites=5)


@pytest.mark.parametrize(
    ("engine", "patients"),
    [(engine, patients) for engine in ENGINES for patients in (nuclei, heart)],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_five_processes_end_with_the_digest_of_the_simulation(engine, patients, tmp_path):
    if reason := why_not(engine):
        pytest.skip(reason)
    lab = Consortium.create(tmp_path / "lab", patients(tmp_path), engine=engine)
    try:
        lab.start()
        simulated = simulated_digest(lab)
        lab.wait_until_healthy(timeout_s=120)
        number = lab.propose()
        if engine == "replicated":
            kill_the_leader_of_etcd(lab, number)
        ended = lab.wait_for_run(number, timeout_s=240)
        assert {held["sentence"] for held in ended.values()} == {"complete"}
        assert digests(lab, number) == {simulated["digest"]}
        one_chain(lab)
    finally:
        lab.down()
    assert not any(proc.is_alive for proc in lab.lab.procs)


def kill_the_leader_of_etcd(lab, number):
    """In mid-run; the others elect a new one, and no transaction is lost."""
    watch(lab, number, at=lab.lab.names[0], until=lambda line: line["event"] == "round" and line["turn"] >= 2)
    leader = leader_of_etcd(lab)
    lab.kill(leader)
    with pytest.raises(CohortiumError, match=f"'{leader}' does not run"):
        lab.kill(leader)
