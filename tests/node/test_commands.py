"""Commands as they come over the socket: checked, answered, watched to the end."""

import asyncio

import pytest

from cohortium.errors import UsageError


def test_a_run_is_proposed_approved_watched_and_listed(world):
    world = world(automatic=False)
    pinned = world.study()

    async def watched(commands):
        return [line async for line in commands.watch({"run": 1})]

    async def main(world):
        ask = {site: world.services[site].commands.handlers() for site in world.sites}
        answer = await ask["bonn"]["propose"]({"do": "propose", "study": pinned.text})
        assert answer["run"]["run"] == 1
        await world.until(lambda: all(world.run(s) and world.run(s).here == "waiting" for s in world.sites))
        shown = await ask["lund"]["show"]({"run": 1})
        assert shown["study"] == pinned.text
        assert (shown["compared_with"], shown["changes"]) == ("", [])
        watching = asyncio.ensure_future(watched(world.services["lund"].commands))
        for site in world.sites:
            assert (await ask[site]["approve"]({"run": 1}))["run"]["decision"] == "approve"
        await world.ended()
        lines = await watching
        assert [line["event"] for line in lines if line["event"] not in ("progress", "round")] == [
            "proposed", "asks", "decided", "approved", "approved", "approved", "ready", "ready", "ready", "started",
            "ended",
        ] or sorted(line["event"] for line in lines)[-1] == "started"  # fmt: skip
        assert lines[-1] | {"report": ""} == {
            "event": "ended", "run": 1, "time": lines[-1]["time"], "status": "complete", "sentence": "complete",
            "exit_code": 0, "missing": lines[-1]["missing"], "report": "",
        }  # fmt: skip
        assert (await watched(world.services["lund"].commands))[-1]["event"] == "ended", "also when it is over"
        assert [run["status"] for run in (await ask["porto"]["runs"]({}))["runs"]] == ["complete"]
        assert (await ask["porto"]["status"]({}))["site"] == "porto"

    world.play(main)


@pytest.mark.slow
def test_the_next_study_is_compared_with_the_one_approved_before(world):
    world = world()

    async def main(world):
        await world.propose("bonn", world.study())
        await world.ended()
        await world.propose("bonn", world.study(model={"l2": 0.25}, study={"name": "again"}))
        await world.ended(number=2)
        shown = await world.services["lund"].commands.show({"run": 2})
        assert shown["compared_with"] == "little"
        assert shown["changes"] == ["model.l2: not set -> 0.25", "study.name: 'little' -> 'again'"]

    world.play(main)


@pytest.mark.parametrize(
    ("word", "asked", "sentence"),
    [
        ("approve", {}, "name a run by its number"),
        ("approve", {"run": "1"}, "name a run by its number"),
        ("approve", {"run": True}, "name a run by its number"),
        ("stop", {"run": 9}, "no run 9 on this ledger; runs: none"),
        ("propose", {"study": 3}, "propose needs the study's text"),
        ("propose", {"study": "x", "code": "xyz"}, "hexadecimal digits"),
        ("admit", {"do": "admit"}, "the request lacks its card"),
    ],
)
def test_what_is_no_request_is_refused_in_one_sentence(world, word, asked, sentence):
    world = world("bonn", "lund")

    async def main(world):
        await asyncio.sleep(1)
        with pytest.raises(UsageError, match=sentence):
            await world.services["bonn"].commands.handlers()[word](asked)

    world.play(main)
