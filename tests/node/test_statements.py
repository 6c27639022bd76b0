"""A question answered, an elimination signed by people at most sites, on the ledger of one audit."""

import hashlib
import json
import stat

import numpy as np
import pytest

from cohortium.core.seams import Receipt
from cohortium.errors import LedgerRefused, UsageError
from cohortium.ledger.transactions import open_transaction
from cohortium.node.run_folder import EVIDENCE, STATEMENTS
from cohortium.node.standings import read_table, standings_of
from cohortium.node.statements import make_statement
from cohortium.quality.protection import question

SITES = [f"site-{k}" for k in range(6)]
ACCUSED, MISCODED = "site-3", "site-5"
ASKED = {"detector": "out-of-bag", "on_harm": "report", "halves": 6, "passes": 1, "repairs": ["units"]}
ANNA = {"person": "A. Silva", "role": "data manager"}


@pytest.mark.slow
def test_people_answer_and_sign_and_the_accused_and_an_open_appeal_are_heard(world):
    six = world(*SITES, on_disk=False)
    label = np.asarray(six.tables[ACCUSED].column("label"))
    six.tables[ACCUSED] = six.tables[ACCUSED].with_column("label", 1.0 - label)
    pinned = six.study(privacy={"secure_aggregation": False}, quality=ASKED)

    async def say(by, **request):
        return await six.services[by].commands.handlers()[request["do"]](request)

    async def sign(by, verdict="eliminate", subject=ACCUSED):
        return await say(by, do="sign", run=1, site=subject, verdict=verdict, **ANNA)

    def standing():
        return standings_of(six.ledger.events(0))[ACCUSED].word

    async def main(world):
        await world.propose("site-0", pinned)
        await world.ended()
        assert standing() == "quarantine"

        with pytest.raises(UsageError, match="asks 'site-0' nothing"):
            await say("site-0", do="answer", run=1, coding="confirmed", **ANNA)

        with pytest.raises(UsageError, match="says 'keep' of 'site-1'"):
            await sign("site-0", subject="site-1")
        assert (await sign("site-0", verdict="quarantine"))["stands"] == "quarantine"
        await say(ACCUSED, do="appeal", run=1, ground="population-differs")
        with pytest.raises(LedgerRefused) as refused:
            await sign("site-0")
        assert "has appealed" in refused.value.hint

    six.play(main)
    folder = six.homes["site-0"].runs / "1"
    assert stat.S_IMODE((folder / STATEMENTS).stat().st_mode) == 0o600
    (line,) = (folder / STATEMENTS).read_text().splitlines()
    assert json.loads(line)["person"] == "A. Silva"
    seal = hashlib.sha256(b"cohortium-statement-1" + line.encode()).digest()
    told = [e.args for e in six.ledger.events(0) if e.name == "Audited" and e.args["site"] == "site-0"]
    assert [(one["tier"], one["verdict"], bytes(one["digest"])) for one in told] == [(2, 1, seal)]
    assert not any(b"Silva" in str(e.args).encode() for e in six.ledger.events(0))


@pytest.mark.slow
def test_more_than_half_eliminate_and_nobody_signs_against_itself_or_twice(world):
    six = world(*SITES, on_disk=False)
    label = np.asarray(six.tables[ACCUSED].column("label"))
    six.tables[ACCUSED] = six.tables[ACCUSED].with_column("label", 1.0 - label)
    pinned = six.study(privacy={"secure_aggregation": False}, quality=ASKED)

    async def sign(site):
        request = {"do": "sign", "run": 1, "site": ACCUSED, "verdict": "eliminate", **ANNA}
        return await six.services[site].commands.handlers()["sign"](request)

    async def main(world):
        await world.propose("site-0", pinned)
        await world.ended()
        with pytest.raises(LedgerRefused) as refused:
            await sign(ACCUSED)
        assert "nobody votes on its own data" in refused.value.hint
        words = [(await sign(site))["stands"] for site in ("site-0", "site-1", "site-2", "site-4")]
        assert words == ["quarantine", "quarantine", "quarantine", "eliminate"]
        with pytest.raises(LedgerRefused):
            await sign("site-0")

    six.play(main)
    assert standings_of(six.ledger.events(0))[ACCUSED].guilty


@pytest.mark.slow
def test_a_site_whose_cases_are_called_controls_is_asked_and_a_person_answers(world):
    six = world(*SITES, on_disk=False)
    cases = six.tables[MISCODED].take(np.flatnonzero(six.tables[MISCODED].column("label")))
    six.tables[MISCODED] = cases.with_column("label", np.zeros(len(cases)))
    pinned = six.study(privacy={"secure_aggregation": False}, quality=ASKED)

    async def answer(by, coding="corrected"):
        request = {"do": "answer", "run": 1, "coding": coding, **ANNA}
        return await six.services[by].commands.handlers()["answer"](request)

    async def main(world):
        await world.propose("site-0", pinned)
        await world.ended()
        told = await answer(MISCODED)
        assert told["question"] == question(len(cases), majority=0)
        with pytest.raises(UsageError, match="asks 'site-0' nothing"):
            await answer("site-0")

    six.play(main)
    (line,) = (six.homes[MISCODED].runs / "1" / STATEMENTS).read_text().splitlines()
    seal = hashlib.sha256(b"cohortium-statement-1" + line.encode()).digest()
    (said,) = [e.args for e in six.ledger.events(0) if e.name == "Audited"]
    assert (said["site"], said["tier"], said["verdict"], bytes(said["digest"])) == (MISCODED, 2, 2, seal)
    assert MISCODED not in standings_of(six.ledger.events(0)), "a question accuses nobody"


@pytest.mark.slow
def test_with_a_subgroup_at_stake_a_site_trains_until_people_at_most_of_the_sites_have_signed(world):
    six = world(*SITES, on_disk=False)
    label = np.asarray(six.tables[ACCUSED].column("label"))
    six.tables[ACCUSED] = six.tables[ACCUSED].with_column("label", 1.0 - label)
    sections = {"privacy": {"secure_aggregation": False}, "cohort": {"subgroups": ["sex"]}}
    audit = six.study(**sections, quality=ASKED)
    training = six.study(**sections, **six.weights(rounds=8, min_sites=4))

    async def sign(by):
        request = {"do": "sign", "run": 1, "site": ACCUSED, "verdict": "quarantine", **ANNA}
        await six.services[by].commands.handlers()["sign"](request)

    async def main(world):
        await world.propose("site-0", audit)
        await world.ended()
        assert standings_of(six.ledger.events(0))[ACCUSED].word == "quarantine"

        world.slow_down(20.0)
        await world.propose("site-0", training)
        await world.round_open_of(2, "site-0", 2)
        run = world.run("site-0", 2)
        asked = [line for line in run.watch()[0] if line["event"] == "unsigned"]
        assert [line["site"] for line in asked] == [ACCUSED]
        assert asked[0]["why"].endswith(f"cohortium audit harm sign 1 --site {ACCUSED} --verdict quarantine")
        for by in ("site-0", "site-1", "site-2"):
            await sign(by)
        await world.round_open_of(2, "site-0", 4)
        assert ACCUSED in run.view.live, "three of six are not most"
        await sign("site-4")
        await world.until(lambda: ACCUSED not in run.view.live)
        await world.ended(number=2)
        assert ACCUSED not in run.view.live
        assert [(one.site, one.reason) for one in run.view.departures] == [(ACCUSED, "harm")], "it does not come back"

    six.play(main)
    table, _ = read_table(six.homes["site-0"].runs / "1" / EVIDENCE)
    assert [one["site"] for one in table["verdicts"] if one["to_sign"]] == [ACCUSED]
    assert six.record("site-0")["quality"]["sites"][ACCUSED]["to_sign"]


class Calls:
    """A ledger that takes every call."""

    chain_id, contract = 7, bytes(20)

    def __init__(self):
        self.raw = []

    def nonce(self, address):
        return len(self.raw)

    def submit(self, raw):
        self.raw.append(open_transaction(raw, chain_id=7))
        return Receipt(height=len(self.raw), ok=True)

    def events(self, from_height=0):
        return ()


def test_a_question_is_answered_by_a_named_person_and_the_ledger_gets_a_digest_only(porto):
    asked = question(62, majority=0)
    verdict = {"site": "porto", "kind": "keep", "question": asked, "left_out": False}
    folder = porto.runs / "1"
    folder.mkdir(parents=True)
    table = {"status": "decided", "auroc": 0, "slope": 0, "verdicts": [verdict]}
    (folder / EVIDENCE).write_text(json.dumps(table))
    ledger = Calls()
    with pytest.raises(UsageError, match="unknown answer 'perhaps'; one of: confirmed, corrected"):
        make_statement(ledger, porto, {"do": "answer", "run": 1, "coding": "perhaps", **ANNA})
    done = make_statement(ledger, porto, {"do": "answer", "run": 1, "coding": "corrected", **ANNA})
    assert (done["question"], done["height"]) == (asked, 1)
    line = (folder / STATEMENTS).read_text().rstrip("\n")
    assert done["statement"] == hashlib.sha256(b"cohortium-statement-1" + line.encode()).hexdigest()
    (call,) = ledger.raw
    assert (call.function, call.args) == ("record_audit", (1, 2, 2, bytes.fromhex(done["statement"])))


class Once(Calls):
    """One that has taken this site's vote, and takes it no second time."""

    def submit(self, raw):
        receipt = super().submit(raw)
        return Receipt(height=0, ok=False, reason="once") if self.raw[-1].function == "record_harm" else receipt


def test_a_vote_whose_statement_was_lost_gets_one_afterwards_and_no_second(porto):
    verdict = {"site": "bonn", "kind": "quarantine", "question": "", "left_out": True}
    (porto.runs / "1").mkdir(parents=True)
    table = {"status": "decided", "auroc": 0, "slope": 0, "verdicts": [verdict]}
    (porto.runs / "1" / EVIDENCE).write_text(json.dumps(table))
    request = {"do": "sign", "run": 1, "site": "bonn", "verdict": "eliminate", **ANNA}
    done, ledger = make_statement(Once(), porto, request), Once()
    (line,) = (porto.runs / "1" / STATEMENTS).read_text().splitlines()
    assert done["statement"] == hashlib.sha256(b"cohortium-statement-1" + line.encode()).hexdigest()
    with pytest.raises(LedgerRefused):
        make_statement(ledger, porto, request)
    assert [call.function for call in ledger.raw] == ["record_harm"]


def test_a_statement_without_a_name_a_run_or_a_table_is_refused(porto):
    for request, words in (
        ({"do": "answer", "run": 0}, "name a run by its number"),
        ({"do": "answer", "run": 1, "role": "x"}, "needs a person"),
        ({"do": "sign", "run": 1, "person": "A", "role": "x\n"}, "needs a role"),
        ({"do": "answer", "run": 1, **ANNA}, "left no table here"),
    ):
        with pytest.raises(UsageError, match=words):
            make_statement(None, porto, request)
