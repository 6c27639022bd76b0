"""An audit between hospitals in virtual time: the simulation's verdicts, sums on the wire, own records at home."""

import csv
import io
import json
import stat
from dataclasses import replace

import numpy as np
import pytest

from cohortium.cli.app import run as run_command
from cohortium.core.marks import with_lot
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.verdicts import CODES, VERDICTS
from cohortium.data.table import Table
from cohortium.errors import DataError, PeerError, UsageError
from cohortium.ledger.archive import verify
from cohortium.node.committed import review
from cohortium.node.own_audit import audit_record, judged
from cohortium.node.run_folder import EVIDENCE, SCORES, SUSPECTS
from cohortium.node.standings import standings_of
from cohortium.node.work import open_ward, ward_work
from cohortium.quality.proof import is_drawn_by
from cohortium.quality.repairs import library
from cohortium.quality.rows import FIELDS
from cohortium.quality.study import fewest_audited, least_half
from cohortium.sim.auditing import detector_of, records_of
from cohortium.sim.pinning import pin
from cohortium.swarm.ports import Judged
from cohortium.swarm.view import seed_of

SITES = [f"site-{k}" for k in range(8)]
REVERSED = "site-3"
LOT = bytes(range(32))
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


def replayed(world, study):
    """The audit in one process with the seed that the nodes' ledger has drawn."""
    chance, rows = Chance(study.evaluation.seed, secrets_from_system=False), {}
    for site, table in world.tables.items():
        ward = open_ward(study, table, site=site, secret=chance.secret(32, "patients", site))
        rows[site] = records_of(ward.gathered.rows()[0])
    lot = seed_of(world.ledger.events(0), 1)
    repairs = library(rows[world.sites[0]].layout, study.quality.repairs)
    masked = study.privacy.masked(len(rows))
    return detector_of(study.quality).run(rows, seed=lot, masked=masked, repairs=repairs)


def assert_same(told, verdict):
    for name in ("reason", "posterior", "repair", "gain", "look", "question"):
        assert told[name] == getattr(verdict, name)
    assert told["verdict"] == verdict.kind


@pytest.mark.slow
def test_eight_hospitals_come_to_the_verdicts_of_the_simulation_bit_for_bit(eight, capsys):
    pinned = studied(eight)

    async def main(world):
        await world.propose("site-0", pinned)
        endings = await world.ended()
        assert {ending.status for ending in endings.values()} == {"complete"}

    eight.play(main)
    expected = replayed(eight, pinned.study)
    assert expected.sites[REVERSED].repair == "label-polarity"
    digests = set()
    for site, home in eight.homes.items():
        quality = eight.record(site)["quality"]
        for name, one in quality["sites"].items():
            assert_same(one, expected.sites[name])
        assert quality["sites"][REVERSED]["votes"] == 7
        assert quality["records_flagged"] == dict(expected.flagged)
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
    told = capsys.readouterr().out
    assert "1 verdicts on the ledger rest on it; its halves follow" in told
    draws = json.loads((eight.homes["site-0"].runs / "1" / EVIDENCE).read_text())["drawn"]["draws"]
    assert f"draw {draws + 1} of the last pass" in told
    assert run_command(["audit", "harm", "review", "1", "--home", str(eight.homes[REVERSED].path)]) == 0
    assert "are those committed; its evidence follows from them" in capsys.readouterr().out
    kept = eight.homes["site-0"].runs / "1" / EVIDENCE
    proof = ["audit", "ledger", str(kept.parent / "ledger.jsonl"), "--evidence", str(kept)]
    assert run_command(proof) == 0
    assert "8 rows and 8 roots of scores are those that sites had committed" in capsys.readouterr().out
    whole = kept.read_text()
    kept.write_text(whole.replace('"left_out": true', '"left_out": false'))
    assert run_command(at) == 5
    assert "rest on another table than this node's" in capsys.readouterr().err
    kept.write_text(whole)
    (said,) = verify(eight.homes["site-0"].runs / "1" / "ledger.jsonl", evm=False).harm
    assert digests == {said.evidence.hex()}
    assert (said.subject, VERDICTS[said.verdict], len(said.votes)) == (REVERSED, "repair", 7)
    assert standings_of(eight.ledger.events(0))[REVERSED].guilty


@pytest.mark.slow
def test_under_differential_privacy_hospitals_agree_pay_and_show_two_noisy_numbers_each(world, kit, capsys):
    eight, (lines_of, table_of, _) = world(*SITES, on_disk=False), kit
    eight.tables.update({site: table_of(lines_of(at, 240)) for at, site in enumerate(SITES)})
    eight.tables[REVERSED] = turned(eight.tables[REVERSED])
    pinned = eight.study(
        privacy={"secure_aggregation": True},
        quality={"detector": "out-of-bag", "on_harm": "report", "dp": {"epsilon": 6.0}},
        cohort={"scale": "public", "fill": "none", "ranges": {"a": [-3, 3], "b": [-3, 3]}},
    )

    async def main(world):
        await world.propose("site-0", pinned)
        endings = await world.ended()
        assert {ending.status for ending in endings.values()} == {"complete"}

    eight.play(main)
    tables, evidence = set(), []
    for site, home in eight.homes.items():
        folder, record = home.runs / "1", eight.record(site)
        evidence.append(json.loads((folder / EVIDENCE).read_text()))
        tables.add(evidence[-1]["digest"])
        assert record["quality"]["sites"][REVERSED]["verdict"] == "quarantine"
        assert {one["verdict"] for name, one in record["quality"]["sites"].items() if name != REVERSED} == {"keep"}
        assert record["privacy"]["promise"]["epsilon"] == 6.0
        assert {one["site"] for one in record["privacy"]["spending"]} == set(SITES)
        assert all(5.9 < one["total"] <= 6.0 for one in record["privacy"]["spending"])
        assert set(record["quality"]["records_flagged"].values()) == {None}
        assert not (folder / SCORES).exists()
        rows = list(csv.DictReader(io.StringIO((folder / SUSPECTS).read_text())))
        assert sorted(int(row["row"]) for row in rows) == list(range(1, 241))
        sent = [json.loads(line) for line in (folder / "egress.jsonl").read_text().splitlines()]
        assert {one["what"] for one in sent if one["kind"] == "offer"} == {"keys", "masked", "shares", "unmask"}
    assert len(tables) == 1
    assert {tuple(sorted(one)) for one in evidence[0]["evidence"]} == {("cases", "others", "site", "size")}
    assert {one["size"] for one in evidence[0]["evidence"]} == {240}
    assert run_command(["audit", "harm", "table", "1", "--home", str(eight.homes["site-0"].path)]) == 0
    assert "1 verdicts on the ledger rest on it; its halves follow from the ledger's seed" in capsys.readouterr().out
    (said,) = verify(eight.homes["site-0"].runs / "1" / "ledger.jsonl", evm=False).harm
    assert (said.subject, VERDICTS[said.verdict], len(said.votes)) == (REVERSED, "quarantine", 7)
    assert {said.evidence.hex()} == tables


def refused(problems):
    return {one.key: one.message for one in problems}


def test_a_study_that_audits_and_trains_or_audits_otherwise_is_refused_with_what_to_do(world):
    from cohortium.node.work import deployable

    one = world()
    told = refused(deployable(one.study(quality={"detector": "out-of-bag", "exclude_records": "local"}).study))
    assert set(told) == {"quality.on_harm", "quality.exclude_records"}
    assert "cohortium audit harm apply-repair" in told["quality.on_harm"]
    told = refused(deployable(one.study(quality={"detector": "travelling", "on_harm": "report"}).study))
    assert "'travelling' is for simulations" in told["quality.detector"]
    assert not deployable(one.study(quality={"detector": "agreement", "on_harm": "report"}).study)
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
    # of six halves that the ledger's seed may draw, one in sixty keeps the reversed site: nobody votes then
    pinned = six.study(privacy={"secure_aggregation": False}, quality={**AUDIT, "halves": 8})

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
    expected = replayed(six, pinned.study)
    assert expected.sites[REVERSED].repair == "label-polarity", "whichever halves were drawn"
    for name, one in record["quality"]["sites"].items():
        assert_same(one, expected.sites[name])
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
    state = with_lot(works["site-0"].start(), LOT)
    while not works["site-0"].finished(state):
        state = works["site-0"].merge(state, [work.train(1, state) for work in works.values()])
    return wards, works, state


def record_at(finished, site, folder, state=None):
    wards, works, last = finished
    text = audit_record(wards[site], works[site].program, state or last, folder=folder)
    return json.loads(text), (folder / f".{SUSPECTS}.draft").read_text()


def test_every_site_votes_for_the_same_table(finished):
    wards, works, state = finished
    said = {site: judged(wards[site].study, works[site].program, state) for site in works}
    assert len(set(said.values())) == 1
    assert {one.site: one.verdict for one in said["site-0"]}[REVERSED] == CODES["repair"]
    assert judged(wards["site-0"].study, works["site-0"].program, works["site-0"].start()) == ()


def test_numbers_in_anothers_row_or_that_cannot_be_name_their_site_and_reach_no_table(finished):
    _, works, _ = finished
    program, state = works["site-0"].program, works["site-0"].start()
    while "audit/model/ledger/shown" not in state or "audit/model/roots" not in state:
        state = works["site-0"].merge(state, [work.train(1, state) for work in works.values()])
    honest = {site: work.train(1, state) for site, work in works.items()}

    def changed(site, row, field, value):
        table = np.array(honest[site].parameters["table"])
        table[row, FIELDS.index(field)] = value
        return [replace(one, parameters=Parameters({"table": table})) if name == site else one
                for name, one in honest.items()]  # fmt: skip

    for updates in (changed("site-1", 0, "reversed", 60_000_000), changed("site-1", 1, "gain", 7),
                    changed("site-1", 1, "n", 3)):  # fmt: skip
        with pytest.raises(PeerError) as caught:
            program.merge(state, updates)
        assert caught.value.site == "site-1"


def test_the_draw_follows_from_the_ledgers_seed_and_from_no_other(finished, tmp_path):
    record_at(finished, "site-0", tmp_path)
    held = json.loads((tmp_path / f".{EVIDENCE}.draft").read_text())
    assert is_drawn_by(held, LOT)
    assert not is_drawn_by(held, bytes(32))
    held["halves"][0], held["halves"][2] = held["halves"][2], held["halves"][0]
    assert not is_drawn_by(held, LOT), "chosen halves"


def test_a_reviewer_sees_whether_scores_were_committed_and_the_evidence_follows(finished, tmp_path):
    record_at(finished, REVERSED, tmp_path)
    held, scores = (json.loads((tmp_path / f".{name}.draft").read_text()) for name in (EVIDENCE, SCORES))
    assert stat.S_IMODE((tmp_path / f".{SCORES}.draft").stat().st_mode) == 0o600
    found = review(scores, held, site=REVERSED, n=4)
    assert (found.root, found.row, len(found.sample)) == (True, True, 4)
    assert found.sample == review(scores, held, site=REVERSED, n=4).sample, "nobody chooses the sample"
    turned_scores = {**scores, "records": [{**one, "label": 1 - one["label"]} for one in scores["records"]]}
    assert not review(turned_scores, held, site=REVERSED, n=0).root
    row = next(one for one in held["evidence"] if one["site"] == REVERSED)
    row["sound"] += 5.0
    assert review(scores, held, site=REVERSED, n=0).row is False
    assert not review(scores, held, site="site-0", n=0).root


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
