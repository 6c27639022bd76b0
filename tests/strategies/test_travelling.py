"""The rules of the relay by hand: both denominators, the tolerance to its edge, batches, rates, and what travels."""

import math

import numpy as np
import pytest

from cohortium.errors import DataError
from cohortium.strategies.travelling import Counts, Rates, Relay, RelayRules


def counts(fp, fn, positives=187, negatives=220):
    return Counts(false_positives=fp, false_negatives=fn, positives=positives, negatives=negatives)


def test_both_denominators_on_the_published_held_out_set():
    true, original = RelayRules(), RelayRules(denominators="original")
    assert true.rates(counts(11, 11)) == Rates(11 / 220, 11 / 187)
    assert original.rates(counts(11, 11)) == Rates(11 / 187, 11 / 220)
    assert original.rates(counts(1, 0)).fpr / true.rates(counts(1, 0)).fpr == pytest.approx(1.18, abs=0.005)


def test_a_batch_of_five_may_raise_22_false_positives_and_no_more():
    rules, reference = RelayRules(), Rates(30 / 220, 20 / 187)
    assert rules.keeps(rules.rates(counts(52, 20)), reference, n_records=5)
    assert not rules.keeps(rules.rates(counts(53, 20)), reference, n_records=5)
    assert rules.keeps(rules.rates(counts(30, 38)), reference, n_records=5)  # 18 of 187 are .096
    assert not rules.keeps(rules.rates(counts(30, 39)), reference, n_records=5)
    original = RelayRules(denominators="original")
    reference = original.rates(counts(30, 20))
    assert original.keeps(original.rates(counts(48, 20)), reference, n_records=5)
    assert not original.keeps(original.rates(counts(49, 20)), reference, n_records=5)
    assert original.keeps(original.rates(counts(30, 42)), reference, n_records=5)
    assert not original.keeps(original.rates(counts(30, 43)), reference, n_records=5)


def test_a_single_record_has_a_fifth_of_the_room():
    rules, reference = RelayRules(), Rates(0.1, 0.1)
    assert rules.keeps(Rates(0.12, 0.1), reference, n_records=1)
    assert not rules.keeps(Rates(0.125, 0.0), reference, n_records=1)
    assert not rules.keeps(Rates(0.0, 0.125), reference, n_records=1)


def test_reference_follows_the_last_kept_step_or_keeps_the_best():
    kept, before = Rates(0.2, 0.1), Rates(0.1, 0.3)
    assert RelayRules().next_reference(kept, before) == kept
    assert RelayRules(reference="best").next_reference(kept, before) == Rates(0.1, 0.1)


def test_batches_are_whole_and_the_remainder_waits():
    assert RelayRules().batches(range(12)) == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)]
    assert RelayRules().batches([7, 3]) == [(7, 3)]
    assert RelayRules().batches([4]) == [(4,)]
    assert RelayRules().batches([]) == []


def test_the_rate_decays_through_both_parts_and_the_original_restarts():
    rules = RelayRules(learning_rate=1e-4)
    assert rules.rate_of_clean_cycle(1) == 1e-4
    assert rules.rate_of_clean_cycle(10) == pytest.approx(1e-4 * math.exp(-0.9))
    assert [rules.rate_of_cycle(c) for c in (1, 2)] == pytest.approx([1e-4 * math.exp(-1.0), 1e-4 * math.exp(-1.1)])
    original = RelayRules(denominators="original")
    assert [original.rate_of_cycle(c) for c in (1, 2, 3)] == pytest.approx(
        [1e-4 * math.exp(-1.0), 1e-4 * math.exp(-0.1), 1e-4 * math.exp(-0.2)]
    )


def test_a_listed_record_is_skipped_until_its_last_try_and_back_in_the_cycle_after():
    relay = Relay.begin({"a": 3}, Rates(0.1, 0.1)).listed("a", 1, revisit=2)  # listed in 1, due at the end of 3
    for cycle in (1, 2, 3):
        relay = Relay(reference=relay.reference, due=relay.due, banned=relay.banned, cycle=cycle)
        assert relay.free("a") == [0, 2]
        assert relay.waiting() == ([("a", 1)] if cycle == 3 else [])
    assert relay.tried("a", 1, kept=True).free("a") == [0, 1, 2]
    gone = relay.tried("a", 1, kept=False)
    assert gone.free("a") == [0, 2]
    assert gone.waiting() == []
    assert not gone.out("a")
    assert gone.listed("a", 0, revisit=1).tried("a", 0, kept=False).tried("a", 2, kept=False).out("a")


def test_the_relay_travels_as_arrays_and_comes_back():
    relay = Relay.begin({"a": 3, "b": 1}, Rates(0.25, 0.5)).listed("a", 1, revisit=2).tried("b", 0, kept=False)
    back = Relay.of(relay.parameters())
    assert back.parameters().digest == relay.parameters().digest
    assert (back.cycle, back.reference) == (1, Rates(0.25, 0.5))
    assert np.array_equal(back.due["a"], [0, 3, 0])
    assert back.out("b")


def test_held_out_records_of_one_class_are_refused():
    with pytest.raises(DataError, match="need both classes"):
        RelayRules().rates(counts(0, 0, positives=0))


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 0}, {"cycles": 0}, {"revisit": 0}, {"tolerance": 0.0}, {"denominators": "x"}, {"reference": "x"}],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RelayRules(**wrong)
