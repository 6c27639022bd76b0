"""An audit by agreement between four hospitals in virtual time: models shown, verdicts of the simulation."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cohortium.cli.app import run as run_command
from cohortium.core.randomness import Chance
from cohortium.core.verdicts import VERDICTS
from cohortium.errors import UsageError
from cohortium.ledger.archive import verify
from cohortium.node.run_folder import EVIDENCE, SCORES, SUSPECTS
from cohortium.node.standings import left_out, standings_of
from cohortium.node.work import open_ward
from cohortium.quality.agreement import Agreement
from cohortium.quality.study import fewest_audited
from cohortium.sim.auditing import records_of
from cohortium.swarm.view import seed_of

SITES = [f"site-{k}" for k in range(4)]
REVERSED = "site-2"
AUDIT = {"detector": "agreement", "on_harm": "report"}


def turned(table):
    return table.with_column("label", 1.0 - np.asarray(table.column("label")))


def replayed(world, study):
    """The table of one process with the seed that the nodes' ledger has drawn."""
    chance, rows = Chance(study.evaluation.seed, secrets_from_system=False), {}
    for site, table in world.tables.items():
        ward = open_ward(study, table, site=site, secret=chance.secret(32, "patients", site))
        rows[site] = records_of(ward.gathered.rows()[0])
    return Agreement().run(rows, seed=seed_of(world.ledger.events(0), 1))


def audited(world, pinned):
    async def main(world):
        await world.propose("site-0", pinned)
        endings = await world.ended()
        assert {ending.status for ending in endings.values()} == {"complete"}

    world.play(main)


def accusing_the_first(one):
    return replace(one, verdict=4) if one.site == "site-0" else one


def evidence(world, run):
    return world.homes["site-0"].runs / str(run) / EVIDENCE


def test_of_four_hospitals_the_reversed_one_is_named_by_the_three_others_as_in_a_simulation(world, capsys):
    four = world(*SITES, on_disk=False)
    four.tables[REVERSED] = turned(four.tables[REVERSED])
    four.faults["site-1"]["lies"] = accusing_the_first
    pinned = four.study(quality=AUDIT)
    audited(four, pinned)
    expected = replayed(four, pinned.study)
    assert [one.site for one in expected.verdicts if one.left_out] == [REVERSED]
    for site, home in four.homes.items():
        folder, record = home.runs / "1", four.record(site)
        held = json.loads((folder / EVIDENCE).read_text())
        assert held["digest"] == expected.digest.hex()
        assert set(held["aurocs"][REVERSED]) == set(SITES) - {REVERSED}
        told = record["quality"]["sites"]
        assert {name: (one["verdict"], one["reason"], one["repair"]) for name, one in told.items()} == {
            one.site: (one.kind, one.reason, one.repair) for one in expected.verdicts
        }
        assert {name: one["votes"] for name, one in told.items()} == {name: 3 * (name == REVERSED) for name in SITES}
        assert record["quality"]["cost"]["model_transfers"] == 12
        assert "site-1 voted otherwise" in record["notes"][1]
        assert "every hospital's own model was shown to all others" in record["notes"][0]
        assert not any((folder / name).exists() for name in (SUSPECTS, SCORES, "model.safetensors"))
        assert "judges the patients of every other site" in (folder / "report.html").read_text()
    (said,) = [one for one in verify(evidence(four, 1).with_name("ledger.jsonl"), evm=False).harm if one.verdict]
    assert (said.subject, VERDICTS[said.verdict], len(said.votes)) == (REVERSED, "repair", 3)
    standing = standings_of(four.ledger.events(0))
    assert list(standing) == [REVERSED], "one vote accuses nobody"
    folder = evidence(four, 1).parent
    assert left_out(standing, lambda run: folder) == {REVERSED}, "it takes no part in a training"
    at = ["audit", "harm", "table", "1", "--home", str(four.homes["site-0"].path)]
    assert run_command(at) == 0
    assert "1 verdicts on the ledger rest on it; it follows from the AUROCs shown" in capsys.readouterr().out
    whole = json.loads(evidence(four, 1).read_text())
    whole["aurocs"][REVERSED]["site-0"] = 900_000
    evidence(four, 1).write_text(json.dumps(whole))
    assert run_command(at) == 5
    assert "does not follow from the AUROCs that sites have shown" in capsys.readouterr().err
    whole["seed"] = "00" * 32
    evidence(four, 1).write_text(json.dumps(whole))
    assert run_command(at) == 5
    assert "the starts of run 1 do not follow from the seed" in capsys.readouterr().err
    for verb in ("records", "review"):
        assert run_command(["audit", "harm", verb, "1", "--home", str(four.homes["site-0"].path)]) == 2
        assert "no audit of records" in capsys.readouterr().err


@pytest.mark.slow
def test_nobody_is_named_when_nothing_is_wrong(world):
    four = world(*SITES, on_disk=False)
    audited(four, four.study(quality=AUDIT))
    for site in SITES:
        assert {one["verdict"] for one in four.record(site)["quality"]["sites"].values()} == {"keep"}
        assert {one["votes"] for one in four.record(site)["quality"]["sites"].values()} == {0}
    assert standings_of(four.ledger.events(0)) == {}


@pytest.mark.slow
def test_numbers_no_site_can_have_found_end_that_sites_part_by_name(world):
    four = world(*SITES, on_disk=False)

    def forged(parameters):
        if "rankings" not in parameters:
            return parameters
        table = np.array(parameters["rankings"])
        table[1, 1] = 1_000_001
        return type(parameters)({"rankings": table})

    four.faults["site-1"]["sends"] = forged

    async def main(world):
        await world.propose("site-0", four.study(quality=AUDIT))
        await world.ended("site-0", "site-2", "site-3")

    four.play(main)
    assert four.record("site-0")["rounds"][-1]["missing"] == {"site-1": "exchange, unusable"}
    quality = four.record("site-0")["quality"]["sites"]
    assert {one["verdict"] for one in quality.values()} == {"keep"}
    assert quality["site-1"]["reason"] == "not judged: it has not answered to the end; it is in the next audit"


def test_masks_hide_what_agreement_needs_and_three_hospitals_are_enough(world):
    four = world(*SITES)
    study = four.study(quality=AUDIT).study
    assert [fewest_audited(study, n) for n in (3, 4, 5, 9)] == [3, 3, 3, 5]

    async def main(world):
        masked = four.study(quality=AUDIT, privacy={"secure_aggregation": True})
        with pytest.raises(UsageError, match="needs single-site models, but secure aggregation hides them"):
            await world.propose("site-0", masked)

    four.play(main)
