"""Three hospitals on loopback: real homes, TLS, the chain hosted by one of them, a worker process each.

The same study with the same seed ends with the digest of the simulation, under masks and without; a hospital that is
killed in the middle goes on where it was.
"""

import asyncio
import contextlib
import json
import socket
import time

import numpy as np
import pytest

from cohortium.core.randomness import Chance
from cohortium.data.table import Table
from cohortium.node.founding import propose_founding
from cohortium.node.home import Home
from cohortium.node.log import Log
from cohortium.node.service import Wrap, open_service
from cohortium.node.studies import Parcel
from cohortium.sim.pinning import pin
from cohortium.sim.simulate import run_simulation

pytest.importorskip("grpc")
pytest.importorskip("eth")

SITES = ("bonn", "lund", "porto")
WITHIN_S = 90


def table(seed, n):
    rng = np.random.default_rng(seed)
    a, b = np.round(rng.normal(size=(2, n)), 5)
    label = (a - 0.5 * b + rng.normal(0, 0.8, n) > 0).astype(float)
    return Table.from_columns({"a": a, "b": b, "label": label})


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def written(path, held):
    names = list(held.names)
    rows = zip(*(held.texts(name).tolist() for name in names), strict=True)
    path.write_text("\n".join([",".join(names), *(",".join(row) for row in rows)]) + "\n")


class Consortium:
    """Homes of three hospitals that have founded a consortium, and their running services."""

    def __init__(self, folder):
        chance, now = Chance(0, secrets_from_system=False), int(time.time())
        self.tables = {site: table(number, 90) for number, site in enumerate(SITES)}
        self.services, self._ends = {}, {}
        for site in SITES:
            port = f"127.0.0.1:{free_port()}"
            secret = chance.secret(32, "patients", site)
            home = Home.create(folder / site, site=site, now=now, listen=port, advertise=port, patients=secret)
            written(home.path / "table.csv", self.tables[site])
            text = (home.path / "node.toml").read_text()
            for was, becomes in [
                ("# automatic = false", "automatic = true"),
                ("# heartbeat_s = 15.0", "heartbeat_s = 0.5"),
                ('# table = ""', 'table = "table.csv"'),
            ]:
                assert was in text
                text = text.replace(was, becomes)
            (home.path / "node.toml").write_text(text)
        homes = [Home.open(folder / site) for site in SITES]
        founding = propose_founding([h.card(now) for h in homes], engine="local", host="lund", chain_id=7, time=now)
        for home in homes:
            founding = founding.signed(home.site, home.keys.ledger)
        for home in homes:
            home.keep_founding(founding)
        self.folder = folder

    async def start(self, site):
        stack = contextlib.AsyncExitStack()
        home = Home.open(self.folder / site)
        stack.enter_context(home.lock())
        service = await stack.enter_async_context(open_service(home, wrap=Wrap(), log=Log(home.log)))
        up = asyncio.Event()
        task = asyncio.get_running_loop().create_task(service.run(ready=up.set))
        self.services[site], self._ends[site] = service, (task, stack)
        await up.wait()

    async def kill(self, site):
        """End it in mid-air: no goodbye, nothing passed on."""
        task, stack = self._ends.pop(site)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stack.aclose()

    async def stop(self):
        for site, (task, stack) in self._ends.items():
            self.services[site].stop()
            await task
            await stack.aclose()

    async def ended(self):
        async with asyncio.timeout(WITHIN_S):
            while not all((run := self.run(site)) and run.folder.ending() for site in SITES):
                await asyncio.sleep(0.05)
        return {site: self.run(site).folder.ending().sentence for site in SITES}

    def run(self, site):
        return self.services[site].runs.by_number.get(1)

    def digests(self):
        records = [json.loads((self.folder / site / "runs" / "1" / "run.json").read_text()) for site in SITES]
        return {record["model"]["digest"] for record in records}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("masks", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["masks", "plain"])
def test_real_nodes_end_with_the_model_of_the_simulation_through_a_kill(tmp_path, masks):
    consortium = Consortium(tmp_path)
    sections = {"privacy": {"secure_aggregation": masks}, "evaluation": {"per_site": False, "leave_one_out": False}}
    plan = {"study": {"name": "little", "outcome": "label"}, "model": {"name": "logistic"}, **sections}
    pinned = pin(plan, consortium.tables)

    async def main():
        for site in SITES:
            await consortium.start(site)
        await consortium.services["bonn"].runs.propose(Parcel(pinned.text))
        async with asyncio.timeout(WITHIN_S):
            while not (consortium.run("porto") and consortium.run("porto").view.finals):
                await asyncio.sleep(0.02)
        await consortium.kill("porto")
        await consortium.start("porto")
        sentences = await consortium.ended()
        status = consortium.services["bonn"].status()
        await consortium.stop()
        return sentences, status

    sentences, status = asyncio.run(main())
    assert set(sentences.values()) == {"complete"}
    assert consortium.digests() == {run_simulation(pinned.study, consortium.tables).record.model.digest}
    assert status["peers"]["porto"]["path"] == "direct"
    assert status["peers"]["porto"]["same_chain"] is True
    folder = tmp_path / "bonn"
    assert {path.stat().st_mode & 0o077 for path in (folder / "keys").iterdir()} <= {0, 0o044}
    assert not (folder / "control.sock").exists()
