"""The way of the relay against a table written by hand: two sites, four cycles, given errors, both denominators."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.quality.relay import control, travel_freely
from cohortium.sim.harm.shapes import PD83
from cohortium.strategies.travelling import Counts, RelayRules

SITES = {"a": (np.array([[0.0], [1.0], [2.0]]), np.zeros(3)), "b": (np.array([[10.0]]), np.ones(1))}
START = Parameters({"w": np.zeros(0), "moments": np.zeros(1), "norm": np.zeros(1)})
RULES = RelayRules(batch_size=2, clean_cycles=0, cycles=4, learning_rate=0.5, decay=0.0)


class Script:
    """Remembers what it was trained on, and moves moments and normalisation with every step."""

    def __init__(self):
        self.given, self.made = [], []

    def step(self, state, x, y, *, learning_rate):
        self.given.append(state)
        self.made.append(
            Parameters(
                {
                    "w": np.concatenate([state["w"], x[:, 0]]),
                    "moments": 0.9 * state["moments"] + len(y) * learning_rate,
                    "norm": state["norm"] + x.mean(),
                }
            )
        )
        return self.made[-1]

    def predict(self, state, x):
        raise AssertionError("a script is not asked")


# (false positives, false negatives) of the start, then of every try; 50 positives and 100 negatives, so that the true
# rates may rise by 4 and 2 errors for a batch of two, by 2 and 1 for a single record
ERRORS = [
    (10, 10),
    (15, 10), (13, 10), (12, 10), (12, 12), (12, 12),
    (8, 11),
    (13, 11), (11, 11), (9, 11), (12, 11), (9, 12),
    (11, 12), (11, 14), (11, 13),
]  # fmt: skip
TABLE = [
    # cycle, phase, site, records, kept
    (1, "batch", "a", (0, 1), False),   # + 5 false positives
    (1, "solo", "a", (0,), False),      # + 3: listed for cycle 3
    (1, "solo", "a", (1,), True),       # + 2 stays, the reference is 12 now
    (1, "batch", "b", (0,), False),     # a site of one record: + 2 false negatives
    (1, "solo", "b", (0,), False),      # replayed once more, listed for cycle 3
    (2, "batch", "a", (1, 2), True),    # 0 is skipped, so 2 gets into a batch; b has nobody left
    (3, "batch", "a", (1, 2), False),
    (3, "solo", "a", (1,), False),      # listed for cycle 5
    (3, "solo", "a", (2,), True),
    (3, "revisit", "a", (0,), False),   # banned for good
    (3, "revisit", "b", (0,), True),    # back from cycle 4 on
    (4, "batch", "a", (2,), True),      # alone: 0 is banned, 1 waits
    (4, "batch", "b", (0,), False),
    (4, "solo", "b", (0,), True),
]  # fmt: skip


def journey(rules, errors, *, script=None, positives=50, negatives=100):
    told = iter(errors)

    def count(_):
        fp, fn = next(told)
        return Counts(false_positives=fp, false_negatives=fn, positives=positives, negatives=negatives)

    return control(rules, SITES, script or Script(), START, count=count, shuffle=list, shuffle_rows=list)


def said(made):
    return [(s.cycle, s.phase, s.site, s.records, s.kept) for s in made.steps]


@pytest.mark.parametrize("denominators", ["true", "original"])
def test_the_table_of_two_sites_and_four_cycles(denominators):
    """The original divides the other way round: with both classes exchanged it must take the very same decisions."""
    rules = RelayRules(batch_size=2, clean_cycles=0, cycles=4, learning_rate=0.5, decay=0.0, denominators=denominators)
    errors = ERRORS if denominators == "true" else [(fn, fp) for fp, fn in ERRORS]
    made = journey(rules, errors)
    assert said(made) == TABLE
    assert made.relay.banned["a"].tolist() == [True, False, False]
    assert made.relay.due["a"].tolist() == [0, 5, 0]
    assert made.relay.banned["b"].tolist() == [False]
    assert made.evaluations == 14


def test_the_same_errors_are_judged_differently_by_the_other_denominators():
    rules = RelayRules(batch_size=2, clean_cycles=0, cycles=1, denominators="original")
    made = journey(rules, [(10, 10), (13, 10), (11, 10), (11, 10), (11, 13), (11, 13)])
    assert said(made)[0] == (1, "batch", "a", (0, 1), False)  # + 3 of 50; the true rate, 3 of 100, would pass
    true = journey(RelayRules(batch_size=2, clean_cycles=0, cycles=1), [(10, 10), (13, 10), (13, 11)])
    assert [step.kept for step in true.steps] == [True, True]


def test_an_undo_gives_back_weights_moments_and_normalisation_byte_for_byte():
    script = Script()
    made = journey(RULES, ERRORS, script=script)
    state = START
    for given, candidate, step in zip(script.given, script.made, made.steps, strict=True):
        assert given.digest == state.digest  # every try starts from the last kept state, whole
        assert [given[name].tobytes() for name in given] == [state[name].tobytes() for name in state]
        state = candidate if step.kept else state
    assert made.state.digest == state.digest
    assert made.state["w"].tolist() == [1.0, 1.0, 2.0, 2.0, 10.0, 2.0, 10.0]


def test_one_undisturbed_cycle_of_the_published_shape_takes_284_evaluations():
    tables = {site: (np.zeros((n, 1)), np.zeros(n)) for site, n in zip(PD83.names, PD83.training, strict=True)}

    class Idle:
        def step(self, state, x, y, *, learning_rate):
            return state

        def predict(self, state, x):
            return x[:, 0]

    constant = Counts(false_positives=3, false_negatives=4, positives=187, negatives=220)
    rules = RelayRules(cycles=1)
    made = control(rules, tables, Idle(), START, count=lambda _: constant, shuffle=list, shuffle_rows=list)
    assert made.evaluations == 284
    assert made.evaluations * len(tables) == 23_572
    assert sum(len(step.records) for step in made.steps) < 1410  # remainders are left out


def test_free_cycles_train_everybody_at_the_rate_of_the_cycle():
    script, rates, seen = Script(), [], []
    end = travel_freely(
        RelayRules(batch_size=2), SITES, script, START, shuffle=lambda names: names[::-1], shuffle_rows=list,
        cycles=2, rate=lambda cycle: rates.append(cycle) or 0.1, after_cycle=lambda cycle, state: seen.append(cycle),
    )  # fmt: skip
    assert end["w"].tolist() == [10.0, 0.0, 1.0, 10.0, 0.0, 1.0]
    assert rates == [1, 1, 2, 2]
    assert seen == [1, 2]


def test_a_try_after_a_ban_of_all_records_never_comes():
    """b's only record fails at every try: listed in 1, banned at the end of 3, no visit in 4."""
    errors = [(10, 10), (10, 10), (10, 20), (10, 20), (10, 10), (10, 10), (10, 20), (10, 10)]
    made = journey(RULES, errors)
    assert [(s.cycle, s.phase) for s in made.steps if s.site == "b"] == [(1, "batch"), (1, "solo"), (3, "revisit")]
    assert made.relay.out("b")
