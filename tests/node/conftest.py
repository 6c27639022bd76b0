"""Little hospitals: their homes, made once a session and copied for each test that changes them; their studies."""

import shutil

import pytest

from cohortium.core.study import Study
from cohortium.node.founding import propose_founding
from cohortium.node.home import Home

NOW = 1_800_000_000.0
SITES = ("bonn", "lund", "porto")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The folder with the three homes; porto listens, lund and bonn dial out; all have signed the founding."""
    folder = tmp_path_factory.mktemp("hospitals")
    homes = {
        site: Home.create(
            folder / site,
            site=site,
            now=NOW,
            listen="127.0.0.1:0" if site == "porto" else "",
            advertise="localhost:4430" if site == "porto" else "",
            contact=f"it@{site}.example",
        )
        for site in SITES
    }
    cards = [home.card(NOW) for home in homes.values()]
    founding = propose_founding(cards, engine="local", host="porto", chain_id=7001, time=int(NOW))
    for site, home in homes.items():
        founding = founding.signed(site, home.keys.ledger)
    for home in homes.values():
        home.keep_founding(founding)
    return folder


@pytest.fixture
def homes(made, tmp_path):
    """The three homes, each test's own copy."""
    folder = shutil.copytree(made, tmp_path / "hospitals")
    return {site: Home.open(folder / site) for site in SITES}


@pytest.fixture
def porto(homes):
    return homes["porto"]


@pytest.fixture
def make_study():
    def make(**sections):
        content = {"study": {"name": "little", "outcome": "label"}, "model": {"name": "logistic"}}
        for name, changes in sections.items():
            content[name] = {**content.get(name, {}), **changes}
        return Study.model_validate(content)

    return make
