from dataclasses import replace

import pytest

from cohortium.reports.measure import Measure
from cohortium.reports.outline import CHECKED_IN
from cohortium.reports.pages import Report
from cohortium.reports.summary import Limits, headline_measure, named, run_checks, state, three_sentences


def levels(record, **more):
    return {check.id: check.level for check in run_checks(record, **more)}


def test_a_good_run_passes_where_it_was_looked_at(small_record):
    record = replace(small_record, ledger=replace(small_record.ledger, verified=True), randomness="operating system")
    found = levels(record)
    assert found == {
        "run-complete": "ok", "gain": "skipped", "within": "ok", "accuracy": "skipped", "slope": "skipped",
        "attested": "ok", "verified": "ok", "harm": "skipped", "leakage": "skipped",
            "budget": "skipped", "randomness": "ok",
    }  # fmt: skip
    assert set(found) == set(CHECKED_IN)


def test_what_was_not_looked_at_is_no_pass(small_record):
    found = levels(replace(small_record, rounds=()))
    assert (found["verified"], found["attested"], found["randomness"]) == ("skipped", "skipped", "skipped")


def test_a_failing_run_shows_fail(small_record):
    record = replace(
        small_record,
        status="failed (porto, train, out of memory)",
        ledger=replace(small_record.ledger, verified=False),
        rounds=(replace(small_record.rounds[0], n_attested=0),),
    )
    found = levels(record)
    assert (found["run-complete"], found["verified"], found["attested"]) == ("fail", "fail", "fail")
    assert state(record) == "failed"
    assert three_sentences(record)[0] == "The run failed (porto, train, out of memory) and left no model."


def test_a_partial_run_warns_and_names_who_is_missing(small_record):
    record = replace(small_record, status="partial (1/2)", included=(("bonn",), ("bonn", "porto")))
    (check,) = [c for c in run_checks(record) if c.id == "run-complete"]
    assert check.level == "warn"
    assert check.found == "the run is partial (1/2); 1 merge without porto"


@pytest.mark.parametrize(
    ("value", "low", "high", "level"),
    [(1.0, 0.8, 1.2, "ok"), (0.7, 0.5, 0.9, "warn"), (0.5, 0.4, 0.6, "fail"), (1.6, 1.4, 1.9, "fail")],
)
def test_calibration_slope_from_both_sides(small_record, value, low, high, level):
    swarm = {"calibration_slope": Measure(value=value, low=low, high=high, n=99)}
    record = replace(small_record, test=replace(small_record.test, swarm=swarm))
    assert levels(record)["slope"] == level
    assert levels(record, limits=Limits(slope_low=0.0, slope_high=9.0))["slope"] == "ok"


def test_a_figure_above_every_sites_own_warns_of_a_shortcut(small_record):
    flattered = {"auroc": Measure(value=0.9, n=99)}
    assert levels(replace(small_record, test=replace(small_record.test, swarm=flattered)))["within"] == "warn"


def test_gain_checks_from_both_sides(heart_record):
    found = heart_record.comparison
    good = tuple(
        replace(row, verdict="helps", gains={"auroc": replace(row.gains["auroc"], value=0.1, low=0.05, high=0.2)})
        for row in found.sites
    )
    assert levels(replace(heart_record, comparison=replace(found, sites=good, not_helped=())))["gain"] == "ok"
    assert levels(replace(heart_record, comparison=replace(found, not_helped=("va",))))["gain"] == "fail"
    assert levels(heart_record)["gain"] == "warn"


def test_accuracy_below_the_own_models_from_both_sides(heart_record):
    def with_own(value):
        per_site = {
            s: {**models, "own": {**models["own"], "accuracy": Measure(value=value, n=50)}}
            for s, models in heart_record.test.per_site.items()
        }
        return levels(replace(heart_record, test=replace(heart_record.test, per_site=per_site)))["accuracy"]

    assert [with_own(v) for v in (0.1, 1.0)] == ["ok", "fail"]


def test_sentences_say_what_was_done_whether_it_helped_and_how_it_predicts(heart_record):
    done, helped, usable = three_sentences(heart_record)
    assert done.startswith("4 sites trained one logistic model together in 12 rounds on 620 training records")
    assert "11 of 12 merges hold every site" in done
    assert "with their own models" in helped
    assert "AUROC within sites" in usable
    assert headline_measure(heart_record) == "auroc_within"


def test_sentences_admit_what_was_not_measured(small_record):
    bare = replace(small_record, test=replace(small_record.test, swarm={}), flow={})
    done, helped, usable = three_sentences(bare)
    assert done == "2 sites trained one logistic model together in 2 rounds; every merge holds every site."
    assert "not measured" in helped
    assert "not measured" in usable


def test_names_are_listed_like_in_a_sentence():
    assert named(("a",)) == "a"
    assert named(("a", "b", "c")) == "a, b and c"
    assert named(tuple("abcdefgh"), most=3) == "a, b, c and 5 more"
    assert named(()) == "none"


def test_a_recalibration_that_made_risks_worse_is_named(heart_record):
    worse = {
        site: replace(one, after={**one.after, "brier": replace(one.before["brier"], value=0.9)})
        if site == "cleveland"
        else replace(one, after={**one.after, "brier": one.before["brier"]})
        for site, one in heart_record.calibration.items()
    }
    said = three_sentences(replace(heart_record, calibration=worse))[2]
    assert said.endswith("; on the test patients recalibration made the risks worse at cleveland.")
    same = {site: replace(one, after=one.before) for site, one in heart_record.calibration.items()}
    assert "worse" not in three_sentences(replace(heart_record, calibration=same))[2]


def test_between_hospitals_sentences_speak_of_this_site_and_count_who_told(deployed_record, heart_record):
    done, helped, usable = three_sentences(replace(heart_record, shared=deployed_record.shared))
    assert " at this one, together" not in done
    assert done.count("at this one") == 1
    assert helped.startswith("On this site's own test patients the swarm reaches AUROC")
    assert helped.endswith("of 3 sites, 2 told both figures, 2 of them better with the swarm.")
    assert "on this site's test patients" in usable
    assert headline_measure(deployed_record) == "auroc"


@pytest.mark.parametrize(
    ("others", "own", "asked"),
    [((0.24, 0.12, 0.36), (0.72, 0.6, 0.84), True), ((0.24, 0.12, 0.51), (0.72, 0.6, 0.84), False),
     ((0.24, 0.12, 0.36), (0.55, 0.45, 0.65), False), ((None, None, None), (0.72, 0.6, 0.84), True)],
)  # fmt: skip
def test_a_site_ranked_backwards_by_the_others_alone_is_asked_about_its_coding(heart_record, others, own, asked):
    found = heart_record.comparison
    turned = [
        replace(row, own=Measure(value=own[0], low=own[1], high=own[2], n=60),
                without=Measure(value=others[0], low=others[1], high=others[2], n=60),
                swarm=Measure(value=0.3, low=0.2, high=0.4, n=60), verdict="does not help") if row.site == "va" else row
        for row in found.sites
    ]  # fmt: skip
    record = replace(heart_record, comparison=replace(found, sites=tuple(turned), not_helped=("va",)))
    assert record.comparison.backwards == (("va",) if asked else ())
    (check,) = [c for c in run_checks(record) if c.id == "gain"]
    assert ("coded the other way at va" in check.fix) == asked
    assert ("keep their own model" in check.fix) != asked
    assert ("coded the other way there?" in Report(record).html()) == asked
