"""Twelve hospitals under masks: found, kept out by vote, appealed, mended, announced, back, cleared - on one ledger."""

import re

import numpy as np
import pytest

from cohortium.data.csv_writer import csv_bytes
from cohortium.errors import LedgerRefused, UsageError
from cohortium.node.standings import standings_of

SITES = [f"site-{k:02}" for k in range(12)]
ACCUSED = "site-03"


def turned(table):
    return table.with_column("label", 1.0 - np.asarray(table.column("label")))


def standing(world):
    return standings_of(world.ledger.events(0)).get(ACCUSED)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_site_is_kept_out_appeals_mends_its_data_and_comes_back(world):
    world = world(*SITES, on_disk=False)  # nobody is killed
    world.tables = {site: table.take(np.arange(40)) for site, table in world.tables.items()}
    sound, world.tables[ACCUSED] = world.tables[ACCUSED], turned(world.tables[ACCUSED])
    home = world.homes[ACCUSED].path
    toml = (home / "node.toml").read_text()
    (home / "node.toml").write_text(re.sub(r"(?m)^# table .*$", 'table = "table.csv"', toml, count=1))
    masks = {"privacy": {"secure_aggregation": True}}
    asked = {"detector": "out-of-bag", "on_harm": "report", "halves": 6, "passes": 1}
    audit = world.study(**masks, quality=asked)
    again = world.study(privacy={"secure_aggregation": False}, quality=asked)  # as much of an audit in half the time
    training = world.study(**masks, **world.weights(rounds=5, min_sites=6))

    def keep(table):
        (home / "table.csv").write_bytes(csv_bytes(table))
        world.tables[ACCUSED] = table

    async def say(world, **request):
        return await world.services[ACCUSED].commands.handlers()[request["do"]](request)

    async def main(world):
        keep(world.tables[ACCUSED])
        await say(world, do="renew")
        with pytest.raises(UsageError, match="announced before"):
            await say(world, do="renew")
        with pytest.raises(LedgerRefused, match="appeal: run"):
            await say(world, do="appeal", run=1, ground="error")

        await world.propose("site-00", audit)
        await world.ended()
        assert (standing(world).word, standing(world).run) == ("repair", 1)

        world.slow_down(20.0)
        await world.propose("site-00", training)
        await world.round_open_of(2, "site-00", 2)
        run = world.run("site-00", 2)
        assert ACCUSED not in run.view.live
        assert [(one.site, one.reason) for one in run.view.departures] == [(ACCUSED, "harm")]
        with pytest.raises(UsageError, match="announced before"):
            await say(world, do="renew")
        await say(world, do="appeal", run=1, ground="repaired")
        assert standing(world).appeal == 4

        keep(sound)
        assert (await say(world, do="renew"))["ended"] == "repair"
        assert standing(world) is None
        await world.until(lambda: ACCUSED in run.view.live)
        endings = await world.ended(number=2)
        assert {ending.status for ending in endings.values()} == {"partial"}
        finals = run.view.finals
        assert ACCUSED not in finals[0].contributors
        assert ACCUSED in finals[-1].contributors

        await world.propose("site-00", again)
        await world.ended(number=3)
        assert standing(world) is None

    world.play(main)
    told = world.record("site-00", 3)["quality"]["sites"]
    assert told[ACCUSED]["verdict"] == "keep"
    assert world.record("site-00", 1)["quality"]["sites"][ACCUSED]["votes"] == 11
