"""An audit between hospitals in virtual time: the simulation's verdicts, sums on the wire, own records at home."""

import csv
import io
import json
import stat

import numpy as np
import pytest

from cohortium.cli.app import run as run_command
from cohortium.core.parameters import Parameters
from cohortium.core.verdicts import CODES, VERDICTS
from cohortium.data.table import Table
from cohortium.errors import DataError, UsageError
from cohortium.ledger.archive import verify
from cohortium.node.own_audit import audit_record, judged
from cohortium.node.run_folder import EVIDENCE, SUSPECTS
from cohortium.node.standings import standings_of
from cohortium.node.work import open_ward, ward_work
from cohortium.quality.stages import FIELDS
from cohortium.quality.study import fewest_audited, least_half
from cohortium.sim.pinning import pin
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
    found = world(*SITES, on_disk=False)
    found.tables[REVERSED] = turned(found.tables[REVERSED])
    return found


def studied(world, **quality):
    return world.study(privacy={"secure_aggregation": True}, quality={**AUDIT, **quality})


@pytest.mark.slow
def test_eight_hospitals_come_to_the_verdicts_of_the_simulation_bit_for_bit(eight, capsys):
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
    at = ["audit", "harm", "table", "1", "--home", str(eight.homes["site-0"].path)]
    assert run_command(at) == 0
    assert "1 verdicts on the ledger rest on it" in capsys.readouterr().out
    kept = eight.homes["site-0"].runs / "1" / EVIDENCE
    whole = kept.read_text()
    kept.write_text(whole.replace('"left_out": true', '"left_out": false'))
    assert run_command(at) == 5
    assert "rest on another table than this node's" in capsys.readouterr().err
    kept.write_text(whole)
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


# --- one site's part of a finished audit, without nodes


def little(seed, n=60):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    return Table.from_columns({"a": a, "b": b, "label": (a - 0.5 * b + rng.normal(0, 0.8, n) > 0).astype(float)})


@pytest.fixture(scope="module")
def finished():
    """Six wards, their program and the state after the last exchange."""
    tables = {site: little(k) for k, site in enumerate(SITES[:6])}
    tables[REVERSED] = turned(tables[REVERSED])
    content = {"study": {"name": "six", "outcome": "label"}, "model": {"name": "logistic"}, "quality": AUDIT,
               "privacy": {"secure_aggregation": False}}  # fmt: skip
    study = pin(content, tables).study
    wards = {site: open_ward(study, tables[site], site=site, secret=bytes(32)) for site in tables}
    works = {site: ward_work(ward, sites=sorted(tables)) for site, ward in wards.items()}
    state = works["site-0"].start()
    while not works["site-0"].finished(state):
        state = works["site-0"].merge(state, [work.train(1, state) for work in works.values()])
    return wards, works, state


def record_at(finished, site, folder, state=None):
    wards, works, last = finished
    text = audit_record(wards[site], works[site].program, state or last, folder=folder)
    return json.loads(text), (folder / f".{SUSPECTS}.draft").read_text()


def poisoned(finished, site, **fields):
    """The state as a liar leaves it that adds numbers to another site's row of the evidence table."""
    _, works, state = finished
    name = "audit/model/evidence"
    table = np.array(state[name])
    for field, value in fields.items():
        table[sorted(works).index(site), FIELDS.index(field)] = value
    return state | Parameters({name: table})


def test_every_site_votes_for_the_same_table(finished):
    wards, works, state = finished
    said = {site: judged(wards[site].study, works[site].program, state) for site in works}
    assert len(set(said.values())) == 1
    assert {one.site: one.verdict for one in said["site-0"]}[REVERSED] == CODES["repair"]
    assert judged(wards["site-0"].study, works["site-0"].program, works["site-0"].start()) == ()


def test_a_site_whose_row_somebody_else_has_written_into_is_told(finished, tmp_path):
    record, _ = record_at(finished, "site-0", tmp_path)
    assert record["notes"] == []
    framed = poisoned(finished, "site-0", reversed=60_000_000, sound=-60_000_000, ranking=-3_000_000)
    record, _ = record_at(finished, "site-0", tmp_path, framed)
    assert record["quality"]["sites"]["site-0"]["verdict"] == "quarantine"
    assert record["notes"][0].startswith("WARNING: what the table of evidence says of this site is not what")
    record, _ = record_at(finished, "site-1", tmp_path, framed)
    assert record["notes"] == [], "nobody else can see it"


def test_a_table_that_cannot_be_one_convicts_nobody_and_stops_no_node(finished, tmp_path):
    wards, works, _ = finished
    broken = poisoned(finished, "site-0", gain=7, n=3)
    assert judged(wards["site-1"].study, works["site-1"].program, broken) == ()
    record, listed = record_at(finished, "site-1", tmp_path, broken)
    assert record["quality"]["status"] == "inconclusive"
    assert "no site can have found" in record["quality"]["why"]
    assert listed.count("\n") == 1


def test_records_are_listed_at_their_own_site_only(finished, tmp_path):
    _, listed = record_at(finished, REVERSED, tmp_path)
    assert listed.count("\n") == 61
    assert stat.S_IMODE((tmp_path / f".{SUSPECTS}.draft").stat().st_mode) == 0o600
    _, others = record_at(finished, "site-0", tmp_path)
    assert set(listed.splitlines()[1:]).isdisjoint(others.splitlines())


def test_a_site_that_comes_late_is_in_the_next_audit(finished):
    wards, _, _ = finished
    with pytest.raises(DataError, match="it is in the next audit"):
        ward_work(wards["site-0"], sites=SITES[1:])
