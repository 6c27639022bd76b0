from cohortium.sim.faults import Scenario
from cohortium.sim.playing import play

SMALL = Scenario(name="small", sites=("a", "b", "c"), rounds=2, min_sites=2)


def test_report_holds_outcomes_states_events_and_bytes() -> None:
    report = play(SMALL)
    assert {str(outcome) for outcome in report.outcomes.values()} == {"complete"}
    assert len(set(report.states.values())) == 1
    assert report.named("Final")[1]["round"] == 2
    assert report.contributors(1) == {"a", "b", "c"}
    assert report.contributors(9) == set()
    assert report.bytes_sent > 0


def test_trace_reads_from_scenario_to_outcomes() -> None:
    lines = str(play(SMALL)).splitlines()
    assert lines[0].startswith("scenario small, seed 1, ended after 12")
    assert any("RoundOpened" in line for line in lines)
    assert lines[-1] == "  c: complete"


def test_scenario_that_cannot_end_is_cut_off() -> None:
    from dataclasses import replace

    from cohortium.sim.faults import Arrives

    alone = replace(SMALL, faults=(Arrives(site="b", at_s=1e9), Arrives(site="c", at_s=1e9)), within_s=1000.0)
    report = play(alone)
    assert report.outcomes == {}
    assert 1000 <= report.ended_s < 1100
