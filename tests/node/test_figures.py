"""Figures leave rounded and only where enough patients are behind them; who tells none is named with its reason."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from cohortium.core.check import Check
from cohortium.errors import FrameError, PeerError
from cohortium.node.figures import answer_figures, ask_figures, gather_figures, own_figures, shared_figures
from cohortium.node.run_folder import Figures
from cohortium.reports.measure import Measure
from cohortium.reports.record import LedgerRecord, ModelRecord, Results, RunRecord
from cohortium.sim.virtual_clock import run_virtual


def record(**measures):
    held = {name: Measure(value=value, low=value - 0.1, high=value + 0.1, n=40) for name, value in measures.items()}
    return RunRecord(
        status="complete",
        outcome="binary",
        sites=("bonn", "lund"),
        included=(),
        model=ModelRecord(name="logistic", digest=""),
        ledger=LedgerRecord(engine="local", height=1, head=""),
        seed=0,
        versions={},
        seconds=0.0,
        test=Results(per_site={"bonn": {"swarm": held, "own": held}}),
    )


def test_three_digits_leave_and_no_count():
    told = own_figures(record(auroc=0.87654321, n_patients=40.0), "bonn", withheld="")
    assert told.measures == {
        "swarm/auroc": 0.877, "swarm/auroc/low": 0.777, "swarm/auroc/high": 0.977,
        "own/auroc": 0.877, "own/auroc/low": 0.777, "own/auroc/high": 0.977,
    }  # fmt: skip
    shared = shared_figures(told)
    assert shared.swarm["auroc"] == Measure(value=0.877, low=0.777, high=0.977, n=None, method="as the site told it")
    assert shared.own.keys() == {"auroc"}


def test_what_is_withheld_says_why_and_nothing_else():
    told = own_figures(record(auroc=0.9), "bonn", withheld="fewer than 20 patients are held back")
    assert told.measures == {}
    assert shared_figures(told).missing == "withheld: fewer than 20 patients are held back"
    assert own_figures(record(), "lund", withheld="").withheld == "nothing was measured there"
    assert shared_figures("no answer").missing == "no answer"


def test_answers_and_requests_of_another_kind_are_refused():
    figures = Figures(measures={"swarm/auroc": 0.9})
    request = (3).to_bytes(8, "big")
    assert msgspec.json.decode(answer_figures(request, lambda number: figures), type=Figures) == figures
    with pytest.raises(PeerError, match="run 3 is not measured here yet"):
        answer_figures(request, lambda number: None)
    with pytest.raises(FrameError):
        answer_figures(b"3", lambda number: figures)

    async def nonsense(peer, request):
        return b'{"measures": {"AUROC of patient 7": 1}}'

    with pytest.raises(FrameError):
        asyncio.run(ask_figures("lund", 3, nonsense))


def test_figures_are_asked_for_until_they_come_or_the_time_is_up():
    asked = []

    async def ask(peer, request):
        now = asyncio.get_running_loop().time()
        asked.append((peer, now))
        if peer == "late" and now > 50:
            return msgspec.json.encode(Figures(measures={"swarm/auroc": 0.9}))
        if peer == "mute":
            raise TimeoutError
        raise PeerError("not measured here yet")

    async def main():
        peers = {"gone": "left the run (train, silent)", "late": "", "mute": "", "slow": ""}
        return await gather_figures(peers, 1, ask, wait_s=100, again_s=10)

    found = run_virtual(main())
    assert found["late"].measures == {"swarm/auroc": 0.9}
    assert found["mute"] == "no answer"
    assert found["slow"] == "not measured here yet"
    assert found["gone"] == "left the run (train, silent)"
    assert sum(peer == "gone" for peer, _ in asked) == 1
    assert max(at for _, at in asked) <= 100


def test_of_the_gate_one_word_a_check_leaves_and_that_where_the_study_compares_sites():
    checks = (
        Check(id="units", level="warn", found="column 'crp': its median is 10 times that of all sites"),
        Check(id="polarity", level="skipped", found="too few columns go clearly with the outcome to compare"),
        Check(id="free-rider", level="warn", found="site 'lund': its update is another site's; verdict: look"),
        Check(id="L2", level="warn", found="column 'crp' nearly gives the outcome away"),
    )
    gated = replace(record(auroc=0.8), checks=checks, study={"quality": {"gate": "consortium"}})
    told = own_figures(gated, "bonn", withheld="fewer than 20 patients are held back")
    assert told.gate == {"polarity": "pass", "units": "warn"}
    assert shared_figures(told).gate == {"polarity": "pass", "units": "warn"}
    assert shared_figures(told).missing == "withheld: fewer than 20 patients are held back"
    assert own_figures(replace(gated, study={"quality": {}}), "bonn", withheld="").gate == {}
