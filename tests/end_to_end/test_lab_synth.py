"""Real processes, one a hospital: they learn a generator under masks, judge its patients and hold the same file."""

import json

import numpy as np
import pytest

from cohortium.cli.app import run as run_command
from cohortium.data.mds_like import simulate
from cohortium.data.partition import take
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.lab.consortium import Consortium
from cohortium.lab.hospitals import Hospitals
from cohortium.ledger.archive import verify
from cohortium.node.run_folder import GENERATOR, SEAL, VALIDATION, VALIDATION_PAGE
from cohortium.sim.pinning import pin
from cohortium.sim.synthesis import train
from cohortium.synth.validation.document import digest_of

from .labs import HEARTBEAT_S

pytest.importorskip("grpc")
pytest.importorskip("eth")
pytest.importorskip("sklearn")
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

SIZES = {"bonn": 260, "lund": 200, "oslo": 180, "porto": 40}
COLUMNS = ("age", "male", "TP53", "SF3B1", "SRSF2", "complex", "blasts", "hb", "wbc", "anc", "os_years", "died")


def hospitals(**sections):
    whole = simulate(seed=1, sites={"a": sum(SIZES.values())}).table
    table = Table({name: whole.column(name) for name in COLUMNS})
    ends = np.cumsum(list(SIZES.values()))
    tables = take(table, {site: np.arange(end - n, end) for (site, n), end in zip(SIZES.items(), ends, strict=True)})
    content = {
        "study": {"name": "mds", "outcome": {"time": "os_years", "event": "died", "unit": "years"}},
        "synth": {"genes": ["TP53", "SF3B1", "SRSF2", "complex"], "rules": ["wbc >= anc"]},
        "swarm": {"silence_s": 20.0, "answer_timeout_s": 200.0, "max_round_s": 900.0},
        **sections,
    }
    made = pin(content, tables)
    return Hospitals(study=made.study, text=made.text, tables=tables)


def test_four_hospitals_learn_the_generator_of_the_simulation_and_seal_it(tmp_path):
    made = hospitals()
    lab = Consortium.create(tmp_path / "lab", made, engine="local", heartbeat_s=HEARTBEAT_S)
    try:
        lab.start()
        lab.wait_until_healthy(timeout_s=240)
        number = lab.propose()
        ended = lab.wait_for_run(number, timeout_s=900.0)
        assert {one["status"] for one in ended.values()} == {"complete"}
        folders = {name: lab.home(name) / "runs" / str(number) for name in lab.lab.names}
        tables = {name: read(lab.home(name) / "table.csv") for name in lab.lab.names}
    finally:
        lab.down()
    expected = train(made.study, tables)
    expected.ledger.close()
    digest = expected.saved.state.digest.hex()
    assert len({(folder / GENERATOR).read_bytes() for folder in folders.values()}) == 1
    seals = {name: json.loads((folder / SEAL).read_text()) for name, folder in folders.items()}
    assert {seal["generator"] for seal in seals.values()} == {digest}
    assert len({seal["table"] for seal in seals.values()}) == 1
    said = verify(folders["porto"] / "ledger.jsonl", evm=False).privacy.audits
    assert {(one.site, one.digest.hex()) for one in said} == {(name, seal["digest"]) for name, seal in seals.items()}
    for name in ("bonn", "lund", "oslo"):
        report = json.loads((folders[name] / VALIDATION).read_text())
        assert digest_of(report).hex() == seals[name]["report"]
        assert (folders[name] / VALIDATION_PAGE).is_file()
    assert seals["porto"]["report"] == "", "eight patients are too few to judge by"
    files = [str(folder / SEAL) for folder in folders.values()]
    assert run_command(["synth", "seals", str(folders["oslo"]), *files]) == 0
    out = tmp_path / "drawn.csv"
    assert run_command(["synth", "sample", str(folders["lund"]), "-n", "640", "-o", str(out)]) == 0
    assert out.read_text().count("\n") == 641
