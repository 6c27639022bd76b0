"""A small study with real processes and in simulation with the same seed: the same model, or it says so."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cohortium.core.study_text import parse_study
from cohortium.data.readers import read
from cohortium.lab.consortium import Consortium
from cohortium.lab.hospitals import Hospitals
from cohortium.sim.simulate import run_simulation

__all__ = ["compare_with_simulation", "simulated_digest"]

_RUN_S = 300.0


def compare_with_simulation(
    hospitals: Hospitals, *, engine: str, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Start a lab in a folder of its own, run the study, stop it; simulate it.

    lab.status and lab.digest are the first site's, and `equal` holds only where all sites have the simulation's digest.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cohortium-lab-") as folder:
        lab = Consortium.create(Path(folder), hospitals, engine=engine)
        try:
            say(f"starting {len(lab.lab.sites)} nodes, ledger '{engine}'")
            lab.start()
            simulated = simulated_digest(lab)
            lab.wait_until_healthy()
            say("all nodes are healthy; proposing the study")
            number = lab.propose()
            ended = lab.wait_for_run(number, timeout_s=_RUN_S)
            digests = {site: str(lab.record(site, number)["model"]["digest"]) for site in lab.lab.names}
        finally:
            lab.down()
    first = min(digests)
    return {
        "engine": engine,
        "seconds": round(time.monotonic() - began, 1),
        "equal": set(digests.values()) == {simulated["digest"]},
        "lab": {"status": ended[first]["status"], "digest": digests[first], "sites": digests},
        "simulation": simulated,
    }


def simulated_digest(lab: Consortium) -> dict[str, str]:
    """Status and model digest of a simulation of the lab's study on its sites' own tables."""
    study = parse_study((lab.folder / "study.toml").read_text(encoding="utf-8"))
    tables = {name: read(lab.home(name) / "table.csv") for name in lab.lab.names}
    found = run_simulation(study, tables).record
    return {"status": found.status, "digest": found.model.digest}
