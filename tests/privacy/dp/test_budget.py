"""Admission: exact at the cap, over all studies and data versions, by composition and not by sums."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.core.spending import DataVersion, Entry, MechanismEvent
from cohortium.privacy.dp.budget import Admitted, Caps, Refused, admit, cap_delta, claimed, deltas, inherited

ONE = MechanismEvent.zcdp(rho=1.0)


def root(events, *, delta):
    """An accountant one can do in one's head: epsilon = square root of the sum of all rho."""
    del delta
    return math.sqrt(sum(float(event.rho) * event.count for event in events))


def test_at_the_cap_is_admitted_and_a_millionth_above_is_not() -> None:
    caps = Caps(total=2.0, run=10.0)
    assert admit([ONE.times(3)], [], [ONE], caps, compose=root) == Admitted(run=1.0, total=2.0)
    assert isinstance(admit([ONE.times(3)], [], [ONE], Caps(total=2.0 - 1e-6), compose=root), Refused)


def test_what_others_have_reserved_counts_as_if_it_were_spent() -> None:
    caps = Caps(total=2.0)
    assert isinstance(admit([ONE], [ONE.times(2)], [ONE], caps, compose=root), Admitted)
    assert isinstance(admit([ONE], [ONE.times(3)], [ONE], caps, compose=root), Refused)


def test_epsilons_are_composed_and_not_added() -> None:
    answer = admit([ONE.times(4)], [], [ONE.times(4)], Caps(total=3.0), compose=root)
    assert answer == Admitted(run=2.0, total=math.sqrt(8)), "added up it would have been 4"


@pytest.mark.parametrize(
    ("caps", "says"),
    [
        (Caps(total=99.0, run=1.5), "the run would cost epsilon 2.00 at delta 1e-05, consent.max_epsilon_per_run is"
         " 1.5"),
        (Caps(total=99.0, run=9.0, study=1.0), "the run would cost epsilon 2.00 at delta 1e-05, the study stays within"
         " 1"),
        (Caps(total=1.25), "these patients would have cost epsilon 2.00 at delta 1e-05 over all studies (spent and"
         " reserved so far: 0.00), budget.max_epsilon_total is 1.25"),
    ],
)  # fmt: skip
def test_the_refusal_names_the_figure_and_the_cap(caps: Caps, says: str) -> None:
    answer = admit([], [], [ONE.times(4)], caps, compose=root)
    assert isinstance(answer, Refused)
    assert answer.sentence == says


def test_weak_privacy_needs_the_sites_word_however_high_its_cap() -> None:
    weak = [ONE.times(81)]
    refused = admit([], [], weak, Caps(total=99.0, run=99.0), compose=root)
    assert refused == Refused(
        "the run would cost epsilon 9.00 at delta 1e-05, above 8 only with budget.accept_weak_privacy = true"
    )
    assert isinstance(admit([], [], weak, Caps(total=99.0, run=99.0, accept_weak_privacy=True), compose=root), Admitted)


def test_events_without_any_guarantee_are_refused() -> None:
    answer = admit([], [], [ONE], Caps(), compose=lambda events, delta: math.inf)
    assert isinstance(answer, Refused)
    assert "without bound" in answer.sentence


@given(st.lists(st.integers(1, 30), max_size=6), st.integers(1, 30), st.floats(0.5, 9.0))
def test_nothing_that_was_admitted_ever_passes_the_cap(counts, asked, cap) -> None:
    caps, spent = Caps(total=cap, run=99.0, accept_weak_privacy=True), []
    for count in [*counts, asked]:
        if isinstance(admit(spent, [], [ONE.times(count)], caps, compose=root), Admitted):
            spent.append(ONE.times(count))
    assert root(spent, delta=1e-5) <= cap


@pytest.mark.parametrize("wrong", [{"total": 0.0}, {"run": -1.0}, {"study": 0.0}, {"delta": 1.0}, {"delta": 0.0}])
def test_caps_that_mean_nothing_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"must"):
        Caps(**wrong)


@pytest.mark.parametrize(
    ("n_patients", "delta"),
    [(0, 1e-5), (60, 1e-5), (10_000, 1e-5), (10_001, 1e-6), (100_000, 1e-6), (100_001, 1e-7)],
)
def test_delta_stays_below_a_tenth_of_one_patient_and_tells_only_the_size_class(n_patients: int, delta: float) -> None:
    assert cap_delta(n_patients) == delta
    assert delta <= 1 / (10 * max(n_patients, 1))
    assert cap_delta(n_patients, 1e-8) == 1e-8


def version(name: str, *patients: str | None) -> DataVersion:
    known = None if patients == (None,) else frozenset(p.encode() for p in patients)
    return DataVersion(handle=name, commitment=name.encode(), patients=known)


def test_a_new_version_inherits_all_but_what_is_proven_to_be_other_patients() -> None:
    old, other, unknown = version("old", "ann", "bo"), version("other", "cy"), version("unknown", None)
    new = version("new", "bo", "di")
    versions = [old, other, unknown, new]
    assert inherited(versions, new) == {"old", "unknown", "new"}
    assert inherited(versions, other) == {"other", "unknown"}
    assert inherited(versions, unknown) == {"old", "other", "unknown", "new"}
    assert inherited(versions, old) == {"old", "unknown", "new"}, "an old table used again pays for the new one too"


def entry(dataset="d", run="r", round=1, state="spent", count=1, event=ONE) -> Entry:
    return Entry(dataset=dataset, run=run, round=round, state=state, events=(event.times(count),))


def test_spent_and_reserved_are_kept_apart_and_returned_counts_nowhere() -> None:
    entries = [entry(count=2), entry(round=2, state="reserved", count=3), entry(round=3, state="returned", count=5)]
    assert claimed(entries, frozenset("d"), state="spent") == (ONE.times(2),)
    assert claimed(entries, frozenset("d"), state="reserved") == (ONE.times(3),)
    assert claimed(entries, frozenset("x"), state="spent") == ()


def test_a_reserved_plan_shrinks_as_its_rounds_are_spent_and_never_below_its_open_rounds() -> None:
    plan = entry(round=0, state="reserved", count=4)
    spent = [entry(round=1, count=1), entry(round=2, count=1)]
    open_ = entry(round=3, state="reserved", count=1)
    assert claimed([plan], frozenset("d"), state="reserved") == (ONE.times(4),)
    assert claimed([plan, *spent], frozenset("d"), state="reserved") == (ONE.times(2),)
    assert claimed([plan, *spent, open_], frozenset("d"), state="reserved") == (ONE.times(2),)
    void = [entry(round=n) for n in range(1, 7)]
    assert claimed([plan, *void], frozenset("d"), state="reserved") == ()
    assert claimed([plan, *void, entry(round=9, state="reserved")], frozenset("d"), state="reserved") == (ONE,)
    closed = entry(round=0, state="returned", count=4)
    assert claimed([closed, *spent], frozenset("d"), state="reserved") == ()


def test_two_runs_reserve_side_by_side() -> None:
    plans = [entry(run="a", round=0, state="reserved", count=2), entry(run="b", round=0, state="reserved", count=3)]
    assert claimed(plans, frozenset("d"), state="reserved") == (ONE.times(5),)


def test_a_promise_to_sites_keeps_its_delta_and_patients_keep_theirs():
    def compose(events, *, delta):
        return sum(event.count for event in events) * (2.0 if delta < 1e-4 else 1.0)

    assert deltas(200, unit="site", study_delta=1e-3) == (1e-3, 1e-5)
    assert deltas(200, unit="patient", study_delta=1e-5) == (1e-5, 1e-5)
    assert deltas(200_000, unit="patient", study_delta=1e-5) == (1e-7, 1e-7)
    caps = Caps(total=10.0, run=9.0, study=4.0, delta=1e-3, patient_delta=1e-5, accept_weak_privacy=True)
    assert isinstance(admit([], [], [ONE.times(4)], caps, compose=compose), Admitted), (
        "4 of the study's 4, at its delta"
    )
    refused = admit([ONE.times(2)], [], [ONE.times(4)], caps, compose=compose)
    assert (
        "would have cost epsilon 12.00 at delta 1e-05 over all studies (spent and reserved so far: 4.00)"
        in refused.sentence
    )
