"""Runs of several hospitals in virtual time: from a proposal to a record, through kills, late joins and refusals."""

import asyncio
import hashlib
import json

import pytest

from cohortium.errors import TrainingFailed, UsageError
from cohortium.node.studies import Parcel
from cohortium.sim.simulate import run_simulation


@pytest.mark.slow
def test_three_hospitals_end_with_the_model_of_the_simulation(world):
    world = world()
    pinned = world.study()

    async def main(world):
        run = await world.propose("bonn", pinned)
        assert run.number == 1
        endings = await world.ended()
        assert {ending.status for ending in endings.values()} == {"complete"}

    world.play(main)
    expected = run_simulation(pinned.study, world.tables).record
    for home in world.homes.values():
        record = world.record(home.site)
        assert record["status"] == "complete"
        assert record["model"]["digest"] == expected.model.digest
        assert record["included"] == [list(names) for names in expected.included]
        assert sorted(path.name for path in (home.runs / "1").iterdir()) == [
            "decision.json",
            "egress.jsonl", "figures.json", "ledger.jsonl", "model.safetensors", "outcome.json", "report.html",
            "run.json",
        ]  # fmt: skip


def test_without_automatic_consent_a_person_at_every_site_decides(world):
    world = world(automatic=False)
    pinned = world.study(strategy={"min_sites": 2})

    async def main(world):
        await world.propose("bonn", pinned)
        await world.until(lambda: all(world.run(s) and world.run(s).here == "waiting" for s in world.sites))
        assert world.run("lund").sentence() == "waits for the answer of bonn, lund, porto"
        shown = await world.services["lund"].commands.show({"run": 1})
        assert shown["study"] == pinned.text
        await world.services["bonn"].runs.approve(1)
        await world.services["lund"].runs.approve(1)
        world.services["porto"].runs.decline(1)
        endings = await world.ended("bonn", "lund")
        assert endings["bonn"].status == "complete", "who declined is not missing"
        assert world.run("bonn").joiners == ("bonn", "lund")
        assert world.run("porto").here == "ended"
        assert world.run("porto").folder.decision().word == "decline"

    world.play(main)


def test_the_rules_of_a_site_decline_for_it_and_say_why(world):
    world = world()
    home = world.homes["porto"].path
    (home / "node.toml").write_text((home / "node.toml").read_text().replace("# models is not set", 'models = ["cox"]'))

    async def main(world):
        await world.propose("bonn", world.study(strategy={"min_sites": 2}))
        await world.ended("bonn", "lund")
        decision = world.run("porto").folder.decision()
        assert (decision.word, decision.by) == ("decline", "policy")
        assert decision.why == "consent.models: 'logistic' is not among cox"
        with pytest.raises(UsageError, match="has ended"):
            await world.services["porto"].runs.approve(1)

    world.play(main)


def test_a_proposal_on_other_terms_than_the_study_means_is_declined(world):
    world = world()
    pinned = world.study()

    async def main(world):
        means = world.services["bonn"].means
        study = means.library.add(Parcel(pinned.text))
        await world.services["bonn"].runs.call("propose", study.digest, 2, 99, 60, 60, 0, 0)
        await world.until(lambda: all(world.run(s) and world.run(s).view.ended for s in world.sites))
        assert "other numbers" in world.run("lund").folder.decision().why
        assert world.run("lund").sentence() == "failed (bonn, approve, declined)"

    world.play(main)


def test_a_site_whose_data_do_not_fit_waits_for_a_person_instead_of_saying_no(world):
    world = world()
    pinned = world.study(strategy={"min_sites": 2}, swarm={"answer_timeout_s": 3600.0})
    world.tables["porto"] = world.tables["porto"].without(["label"])

    async def main(world):
        await world.propose("bonn", pinned)
        await world.until(lambda: world.run("porto") and world.run("porto").here == "waiting")
        assert "label" in world.run("porto").blocked
        with pytest.raises(UsageError, match=r"cannot take part in run 1: .*label"):
            await world.services["porto"].runs.approve(1)
        endings = await world.ended("bonn", "lund")
        assert endings["bonn"].status == "complete", "at the deadline the two go on; porto never approved"

    world.play(main)


def test_too_few_approvals_end_the_run_at_the_deadline(world):
    world = world(automatic=False)
    pinned = world.study(strategy={"min_sites": 3}, swarm={"answer_timeout_s": 7200.0})

    async def main(world):
        await world.propose("bonn", pinned)
        await world.until(lambda: world.run("bonn").here == "waiting")
        await world.services["bonn"].runs.approve(1)
        began = asyncio.get_running_loop().time()
        (ending,) = (await world.ended("bonn")).values()
        assert (ending.status, ending.exit_code) == ("failed", 4)
        assert ending.sentence.startswith("failed (ledger, approve, quorum)")
        assert 7200 <= asyncio.get_running_loop().time() - began < 7300

    world.play(main)


@pytest.mark.slow
@pytest.mark.parametrize("victims", [("lund",), ("bonn", "lund", "porto")], ids=["one", "all at once"])
@pytest.mark.parametrize("at", [1, 4, 7])
def test_killed_nodes_go_on_where_they_were_and_the_model_is_the_same(world, victims, at):
    world = world()
    pinned = world.study(**world.weights(round_timeout_s=600.0))

    async def main(world):
        await world.propose("bonn", pinned)
        await world.round_open("bonn", at)
        for site in victims:
            await world.kill(site)
        await asyncio.sleep(1)
        for site in victims:
            await world.start(site)
        endings = await world.ended()
        assert {ending.status for ending in endings.values()} == {"complete"}

    world.play(main)
    expected = run_simulation(pinned.study, world.tables).record.model.digest
    assert {world.digest_of(site) for site in world.sites} == {expected}


@pytest.mark.slow
def test_a_site_that_approves_late_joins_with_the_newest_merge(world):
    world = world("bonn", "lund", "porto", "ulm")
    home = world.homes["ulm"].path
    (home / "node.toml").write_text((home / "node.toml").read_text().replace("automatic = true", "automatic = false"))
    sections = world.weights(rounds=8)
    pinned = world.study(**sections | {"swarm": {"answer_timeout_s": 300.0}})

    async def main(world):
        world.slow_down(20.0)
        await world.propose("bonn", pinned)
        await world.round_open("bonn", 4)
        await world.services["ulm"].runs.approve(1)
        endings = await world.ended()
        assert {ending.status for ending in endings.values()} == {"complete"}
        finals = world.run("bonn").view.finals
        assert "ulm" in finals[-1].contributors
        first = world.run("bonn").view.first_round["ulm"]
        assert all(("ulm" in final.contributors) == (final.round >= first) for final in finals)
        assert world.run("ulm").joiners == ("bonn", "lund", "porto")

    world.play(main)
    assert len({world.digest_of(site) for site in world.sites}) == 1


@pytest.mark.slow
def test_a_site_that_stops_is_named_and_may_come_back(world):
    world = world()
    pinned = world.study(**world.weights(rounds=12))

    async def main(world):
        world.slow_down(20.0)
        await world.propose("bonn", pinned)
        await world.round_open("bonn", 4)
        await world.services["porto"].runs.stop(1)
        await world.until(lambda: "porto" not in world.run("bonn").view.live)
        assert world.run("porto").here == "stopped"
        await world.until(lambda: world.run("bonn").view.round.number >= 7)
        await world.services["porto"].runs.resume(1)
        await world.until(lambda: "porto" in world.run("bonn").view.live)
        endings = await world.ended()
        assert {ending.exit_code for ending in endings.values()} == {3}
        assert endings["bonn"].sentence == "partial (2/3 sites), missing: porto"

    world.play(main)
    record = json.loads((world.homes["bonn"].runs / "1" / "run.json").read_text())
    assert "stopped" in next(one["missing"]["porto"] for one in record["rounds"] if "porto" in one["missing"])
    assert len({world.digest_of(site) for site in world.sites}) == 1


@pytest.mark.slow
def test_trouble_at_a_site_is_seen_at_all_nodes_at_once(world):
    world = world()
    pinned = world.study(**world.weights())
    world.faults["porto"] |= {4: TrainingFailed("no device", code="device")}

    async def heard(site):
        await world.until(lambda: world.run(site) is not None)
        _, queue = world.run(site).watch()
        while (line := await queue.get())["event"] != "trouble":
            pass
        return (line["site"], line["stage"], line["code"]), asyncio.get_running_loop().time()

    async def main(world):
        world.slow_down(20.0)
        watching = [asyncio.get_running_loop().create_task(heard(site)) for site in world.sites]
        await world.propose("bonn", pinned)
        found = await asyncio.gather(*watching)
        assert {what for what, _ in found} == {("porto", "train", "device")}
        assert max(at for _, at in found) - min(at for _, at in found) <= 1.0
        assert (await world.ended())["bonn"].status == "complete", "one more try in a fresh worker"

    world.play(main)


@pytest.mark.slow
def test_two_runs_at_once_and_a_third_that_waits_for_a_place(world):
    world = world()

    async def main(world):
        world.slow_down(5.0)
        for number in (1, 2, 3):
            pinned = world.study(study={"name": f"study-{number}"}, **world.weights(rounds=4))
            assert (await world.propose("lund", pinned)).number == number
        await world.until(lambda: (run := world.run("bonn", 2)) and run.view.round is not None)
        assert (await world.first("bonn", 3)).here in ("looking", "waiting for a free place")
        for number in (1, 2, 3):
            endings = await world.ended(number=number)
            assert {ending.status for ending in endings.values()} == {"complete"}

    world.play(main)


@pytest.mark.slow
def test_the_same_study_can_be_run_again(world):
    world = world()
    pinned = world.study()

    async def main(world):
        await world.propose("bonn", pinned)
        await world.ended()
        assert (await world.propose("porto", pinned)).number == 2
        await world.ended(number=2)

    world.play(main)
    one, two = (json.loads((world.homes["bonn"].runs / n / "run.json").read_text()) for n in ("1", "2"))
    assert one["model"]["digest"] == two["model"]["digest"]


@pytest.mark.slow
def test_rules_that_became_stricter_while_the_node_was_down_take_it_out_of_the_run(world):
    world = world()
    pinned = world.study(**world.weights(rounds=8))

    async def main(world):
        world.slow_down(20.0)
        await world.propose("bonn", pinned)
        await world.round_open("bonn", 4)
        await world.kill("porto")
        path = world.homes["porto"].path / "node.toml"
        path.write_text(path.read_text().replace("# models is not set", 'models = ["cox"]'))
        await world.start("porto")
        await world.ended("bonn", "lund")
        assert [(one.site, one.reason) for one in world.run("bonn").view.departures] == [("porto", "consent")]
        assert world.run("porto").folder.decision().why == "consent.models: 'logistic' is not among cox"

    world.play(main)


def test_code_that_a_site_has_not_approved_is_not_even_read_there(world):
    """Whoever hires a worker for a study has its code run: that is for after the site's rules were asked."""
    world = world()
    code = b"raise SystemExit('this ran')\n"
    digest = hashlib.sha256(code).hexdigest()
    text = world.study(strategy={"min_sites": 2}).text
    head, _, tail = text.partition('name = "logistic"')
    text = f'{head}name = "module"\nfactory = "net:build"\ncode_digest = "{digest}"{tail}'

    async def main(world):
        hired = []
        for site in world.sites:
            runs = world.services[site].runs
            runs._means.hire = lambda *asked: hired.append(asked) or pytest.fail("a worker was hired")
        study = world.services["bonn"].means.library.add(Parcel(text, code))
        await world.services["bonn"].runs.call("propose", study.digest, 2, 4, 86_400, 120, 0, 0)
        await world.until(lambda: world.run("porto") and world.run("porto").folder.decision() is not None)
        decision = world.run("porto").folder.decision()
        assert (decision.word, decision.by, hired) == ("decline", "policy", [])
        assert "that this site has not approved" in decision.why

    world.play(main)
