"""The homes of a lab's hospitals: made, founded and signed as by hand, without telephones.

Keys are fresh ones of the operating system, but for the patients' secret: it is the one a simulation with the study's
seed uses, so that a lab run and a simulation see the same patients in every part.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cohortium.core.randomness import Chance
from cohortium.lab.engines import ANVIL_CHAIN_ID, ledger_settings
from cohortium.lab.state import Lab, LabSite
from cohortium.node.founding import Founding, propose_founding
from cohortium.node.home import Home
from cohortium.node.settings import check_settings

__all__ = ["add_home", "found", "make_homes"]


def make_homes(folder: Path, lab: Lab) -> None:
    """A home for every site, one consortium of all of them. Files only; nothing is started."""
    for site in lab.sites:
        add_home(folder, lab, site)
    found(folder, lab)


def add_home(folder: Path, lab: Lab, site: LabSite) -> Home:
    """One site's home: keys, settings, folders."""
    secret = Chance(lab.seed, secrets_from_system=False).secret(32, "patients", site.name)
    path = folder / site.home
    Home.create(path, site=site.name, now=time.time(), engine=lab.engine, patients=secret)
    text = _toml(_settings(folder, lab, site))
    check_settings(text)
    (path / "node.toml").write_text(text, encoding="utf-8")
    return Home.open(path)


def found(folder: Path, lab: Lab) -> Founding:
    """Propose the consortium, let every site sign, give it to all."""
    homes = [Home.open(folder / site.home) for site in lab.sites]
    now = time.time()
    chance = Chance(lab.seed, secrets_from_system=True)
    chain_id = ANVIL_CHAIN_ID if lab.engine == "evm-rpc" else 1 + int.from_bytes(chance.secret(6), "big")
    founding = propose_founding(
        [home.card(now) for home in homes],
        engine=lab.engine,
        host=lab.names[0] if lab.engine == "local" else "",
        chain_id=chain_id,
        time=int(now),
    )
    for home in homes:
        founding = founding.signed(home.site, home.keys.ledger)
    for home in homes:
        home.keep_founding(founding)
    return founding


def _settings(folder: Path, lab: Lab, site: LabSite) -> dict[str, Mapping[str, Any]]:
    address = f"127.0.0.1:{site.port}"
    network: dict[str, Any] = {"listen": address, "advertise": address} if site.port else {}
    return {
        "node": {"site": site.name, "contact": "a hospital of the lab"},
        "network": {**network, "heartbeat_s": lab.heartbeat_s},
        "ledger": ledger_settings(folder, lab, site.name, site.wires),
        "limits": {"disk_reserve_gb": 0.0},
        "consent": {"automatic": True},
        "data": {"table": "table.csv"},
    }


def _toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["# Written by cohortium lab."]
    for section, values in sections.items():
        lines += ["", f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"
