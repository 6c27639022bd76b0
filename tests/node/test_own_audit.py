"""An audit between hospitals in virtual time: the simulation's verdicts, sums on the wire, own records at home."""

import csv
import io
import json
import stat

import numpy as np
import pytest

from cohortium.core.verdicts import VERDICTS
from cohortium.errors import UsageError
from cohortium.ledger.archive import verify
from cohortium.node.run_folder import EVIDENCE, SUSPECTS
from cohortium.node.standings import standings_of
from cohortium.quality.study import fewest_audited, least_half
from cohortium.sim.simulate import run_simulation
from cohortium.swarm.ports import Judged

SITES = [f"site-{k}" for k in range(8)]
REVERSED = "site-3"
AUDIT = {"detector": "out-of-bag", "on_harm": "report", "halves": 6, "passes": 1}


def turned(table):
    label = np.asarray(table.column("label"))
    return table.with_column("label", 1.0 - label)


@pytest.fixture
def eight(world):
    found = world(*SITES)
    found.tables[REVERSED] = turned(found.tables[REVERSED])
    return found


def studied(world, **quality):
    return world.study(privacy={"secure_aggregation": True}, quality={**AUDIT, **quality})


@pytest.mark.slow
def test_eight_hospitals_come_to_the_verdicts_of_the_simulation_bit_for_bit(eight):
    pinned = studied(eight)

    async def main(world):
        await world.propose("site-0", pinned)
        endings = await world.ended()
        assert {ending.status for ending in endings.values()} == {"complete"}

    eight.play(main)
    expected = run_simulation(pinned.study, eight.tables).record.quality
    assert expected.sites[REVERSED].repair == "label-polarity"
    digests = set()
    for site, home in eight.homes.items():
        quality = eight.record(site)["quality"]
        for name, one in quality["sites"].items():
            same = {key: held for key, held in vars(expected.sites[name]).items() if key != "votes"}
            assert {key: one[key] for key in same} == same
        assert quality["sites"][REVERSED]["votes"] == 7
        assert quality["records_flagged"] == dict(expected.records_flagged)
        assert quality["cost"]["training_steps_ratio"] == expected.cost.training_steps_ratio
        assert quality["cost"]["model_transfers"] == expected.cost.model_transfers
        folder = home.runs / "1"
        digests.add(json.loads((folder / EVIDENCE).read_text())["digest"])
        assert not (folder / "model.safetensors").exists()
        assert stat.S_IMODE((folder / SUSPECTS).stat().st_mode) == 0o600
        rows = list(csv.DictReader(io.StringIO((folder / SUSPECTS).read_text())))
        truth = np.asarray(eight.tables[site].column("label"))
        assert sorted(int(row["row"]) for row in rows) == list(range(1, len(truth) + 1))
        assert all(float(row["label"]) == truth[int(row["row"]) - 1] for row in rows)
        suspicion = [float(row["suspicion"]) for row in rows]
        assert suspicion == sorted(suspicion, reverse=True)
        sent = [json.loads(line) for line in (folder / "egress.jsonl").read_text().splitlines()]
        assert {one["what"] for one in sent if one["kind"] == "offer"} == {"keys", "masked", "shares", "unmask"}
        assert {one["kind"] for one in sent} <= {"offer", "step", "ledger", "bye"}
        assert "no model was trained" in (folder / "report.html").read_text()
    (said,) = verify(eight.homes["site-0"].runs / "1" / "ledger.jsonl", evm=False).harm
    assert digests == {said.evidence.hex()}
    assert (said.subject, VERDICTS[said.verdict], len(said.votes)) == (REVERSED, "repair", 7)
    assert standings_of(eight.ledger.events(0))[REVERSED].guilty


def refused(problems):
    return {one.key: one.message for one in problems}


def test_a_study_that_audits_and_trains_or_audits_otherwise_is_refused_with_what_to_do(world):
    from cohortium.node.work import deployable

    one = world()
    told = refused(deployable(one.study(quality={"detector": "out-of-bag", "exclude_records": "local"}).study))
    assert set(told) == {"quality.on_harm", "quality.exclude_records"}
    assert "cohortium audit harm apply-repair" in told["quality.on_harm"]
    told = refused(deployable(one.study(quality={**AUDIT, "detector": "agreement", "halves": 8, "passes": 2}).study))
    assert "no detector but 'out-of-bag'" in told["quality.detector"]
    assert not deployable(studied(one).study)


def test_too_few_sites_for_halves_under_masks_are_named_when_the_study_is_proposed(world):
    seven = world(*SITES[:7])

    async def main(world):
        with pytest.raises(UsageError, match="7 sites give halves of 3; with secure aggregation a half needs 4"):
            await world.propose("site-0", studied(world))

    seven.play(main)


def test_an_audit_asks_for_so_many_sites_that_no_half_falls_below_its_bound(world):
    study = studied(world()).study
    for n in (8, 10, 11, 12, 13, 16, 20, 40):
        least = fewest_audited(study, n)
        assert n // 2 < least <= n
        for joined in range(least, n + 1):
            assert joined // 2 - (joined - least) >= least_half(joined)
    assert [fewest_audited(study, n) for n in (8, 10, 12, 16, 20)] == [8, 10, 12, 15, 18]


@pytest.mark.slow
def test_a_liar_a_restart_and_a_site_of_one_class_change_no_verdict(world):
    six = world(*SITES[:6])
    six.tables[REVERSED] = turned(six.tables[REVERSED])
    controls = six.tables["site-5"].column("label") == 0
    six.tables["site-5"] = six.tables["site-5"].take(np.flatnonzero(controls))
    six.faults["site-1"]["lies"] = lambda one: Judged(site="site-0", verdict=4, evidence=one.evidence)
    pinned = six.study(privacy={"secure_aggregation": False}, quality=AUDIT)

    async def main(world):
        await world.propose("site-0", pinned)
        await world.round_open("site-0", 8)
        await world.kill("site-4")
        await world.start("site-4")
        endings = await world.ended()
        assert {ending.status for ending in endings.values()} == {"complete"}

    six.play(main)
    record = six.record("site-4")
    assert record["quality"]["sites"] == six.record("site-0")["quality"]["sites"]
    expected = run_simulation(pinned.study, six.tables).record.quality
    for name, one in record["quality"]["sites"].items():
        assert (one["verdict"], one["reason"], one["posterior"]) == (
            expected.sites[name].verdict, expected.sites[name].reason, expected.sites[name].posterior
        )  # fmt: skip
    assert record["quality"]["sites"][REVERSED]["votes"] == 4, "the liar said nothing of it"
    assert record["quality"]["sites"]["site-0"]["votes"] == 0
    assert "site-1 voted otherwise" in record["notes"][1]
    assert list(standings_of(six.ledger.events(0))) == [REVERSED], "one vote accuses nobody"
