"""Little hospitals for labs, and one lab of three real nodes that the tests of this folder share."""

import tomllib

import numpy as np
import pytest

from cohortium.data.table import Table
from cohortium.lab.consortium import Consortium
from cohortium.lab.hospitals import Hospitals
from cohortium.sim.pinning import pin

SITES = ("bonn", "lund", "porto")


def table_of(seed, n=60):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    label = (a - 0.5 * b + rng.normal(0, 0.8, n) > 0).astype(float)
    return Table.from_columns({"a": a, "b": b, "label": label})


def little(sites=SITES, **sections):
    """Three hospitals and a study of few quick rounds. sections: changes of the study."""
    content = {
        "study": {"name": "little", "outcome": "label"},
        "cohort": {"scale": "none", "fill": "none"},
        "model": {"name": "logistic", "learn": "weights"},
        "strategy": {"name": "fedavg", "rounds": 4},
    }
    for name, changes in sections.items():
        content[name] = {**content.get(name, {}), **changes}
    tables = {site: table_of(number) for number, site in enumerate(sites)}
    made = pin(content, tables)
    return Hospitals(study=made.study, text=made.text, tables=tables)


@pytest.fixture(scope="session")
def kit():
    """(hospitals by name and changes of the study, the sites' names)."""
    return little, SITES


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """A lab of three nodes on ledger `local`, healthy; every test leaves it healthy."""
    pytest.importorskip("grpc")
    pytest.importorskip("eth")
    lab = Consortium.create(tmp_path_factory.mktemp("lab"), little(), engine="local", heartbeat_s=0.5)
    try:
        lab.start()
        lab.wait_until_healthy(timeout_s=90)
        yield lab
    finally:
        lab.down()


@pytest.fixture
def lab(running):
    """The running lab, mended before and after."""
    yield running
    running.heal()
    running.wait_until_healthy(timeout_s=90)


@pytest.fixture
def study_of():
    """The study of a lab as a mapping."""
    return lambda lab: tomllib.loads((lab.folder / "study.toml").read_text(encoding="utf-8"))
