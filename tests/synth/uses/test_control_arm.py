"""A synthetic arm beside real patients: no effect where there is none, one where there is, no look into the future."""

from dataclasses import replace

import numpy as np
import pytest

from cohortium.errors import DataError, UsageError
from cohortium.synth.conditions import parse
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.rows import Rows
from cohortium.synth.uses.control_arm import BANNER, control_arm


def _arm(world, treated, **options):
    return control_arm(
        world.generator, world.state, treated, n_real=len(world.training), bootstraps=10, seed=0, **options
    )


@pytest.fixture(scope="module")
def nothing(world):
    return _arm(world, world.reserve)


def test_patients_who_were_not_treated_show_no_effect(nothing):
    assert nothing.covers_one
    assert 0.05 < nothing.error < 0.25
    assert nothing.after < 0.1 < nothing.before
    assert abs(nothing.curves["treated"] - nothing.curves["control"]).max() < 0.15


def test_patients_who_live_three_times_as_long_show_it(world):
    longer = world.reserve.with_columns({"os_years": 3.0 * world.reserve["os_years"]})
    found = _arm(world, longer)
    assert found.high < 0.7
    assert not found.covers_one


def test_sicker_patients_get_an_arm_as_sick(world):
    """Without weights the hazard ratio of patients with many blasts is above 1; with them it holds 1."""
    sick = world.reserve.take(np.nan_to_num(world.reserve["blasts"]) > 4)
    found = _arm(world, sick)
    assert found.before > 0.5
    assert found.covers_one


def test_eligibility_chooses_the_drawn_and_counts_the_real(world):
    old = world.reserve.take(world.reserve["age"] > 70)
    found = _arm(world, old, eligible="age > 70")
    assert 0.4 * len(world.training) < found.n_eligible < 0.75 * len(world.training)
    with pytest.raises(DataError, match="do not fulfil"):
        _arm(world, world.reserve, eligible="age > 70")


def test_the_document_says_first_that_it_proves_nothing(nothing):
    document = nothing.document()
    assert next(iter(document)) == "banner"
    assert document["banner"] == BANNER
    assert "Not evidence of efficacy" in BANNER
    assert document["hazard_ratio"]["low"] < document["hazard_ratio"]["value"] < document["hazard_ratio"]["high"]


def test_columns_from_after_baseline_are_refused(world):
    later = Facts(columns=tuple(replace(c, baseline=c.name != "ecog") for c in world.facts.columns))

    class Knows:
        facts = later

        def __getattr__(self, name):
            return getattr(world.generator, name)

    reserve = Rows(later, world.reserve.columns)
    for options in ({"match": ["age", "ecog"]}, {"eligible": "ecog < 2"}, {"match": ["os_years"]}):
        with pytest.raises(UsageError, match="known only after baseline"):
            control_arm(Knows(), world.state, reserve, n_real=100, seed=0, **options)
    assert "ecog" not in control_arm(Knows(), world.state, reserve, n_real=100, bootstraps=10, seed=0).columns


def test_what_cannot_be_compared_is_refused(world):
    with pytest.raises(DataError, match="too few"):
        _arm(world, world.reserve.take(np.arange(5)))
    with pytest.raises(UsageError, match="no column 'height'"):
        _arm(world, world.reserve, match=["height"])
    with pytest.raises(UsageError, match="'TP53' is no treatment"):
        _arm(world, world.reserve, untreated="TP53 = 0")
    with pytest.raises(UsageError, match="at least 2 sets"):
        _arm(world, world.reserve, sets=1)


def test_rules_hold_for_the_arm_but_never_pick_it_by_how_patients_fared(world):
    rules = tuple(parse(text, world.facts) for text in ("hb >= 8", "os_years >= 1", "hb > 30"))
    free = _arm(world, world.reserve)
    late = _arm(world, world.reserve, rules=rules[1:2])
    assert late.log_ratio == free.log_ratio
    assert late.notes[0] == "the rule 'os_years >= 1' looks beyond baseline; drawn patients may break it"
    held = _arm(world, world.reserve, rules=rules[:1])
    assert held.log_ratio != free.log_ratio
    assert not any("break the rule" in note for note in held.notes)
    assert any("break the rule 'hb > 30'" in note for note in _arm(world, world.reserve, rules=rules[2:]).notes)


def test_who_is_eligible_is_told_of_a_small_pool_too(world):
    class Pool:
        facts = world.facts

        def whole(self, state):
            return world.training

    treated = world.reserve.take(world.reserve["age"] > 60)
    found = control_arm(Pool(), None, treated, n_real=len(world.training), eligible="age > 60", match=["age"], sets=2,
                        bootstraps=10, seed=0)  # fmt: skip
    assert found.n_eligible == pytest.approx((world.training["age"] > 60).sum())


def test_the_error_is_that_of_its_formula():
    """300 treated, arms of 300, exponential times cut at 2: each estimate of a log hazard has variance 1 / deaths, so
    the whole has 1 / d + (1 + 1 / m) / d."""
    facts = Facts(
        columns=(Fact(name="age", kind="numeric"), Fact(name="t", kind="time", group="outcome", unit="years"),
                 Fact(name="e", kind="event", group="outcome"))
    )  # fmt: skip

    class Exponential:
        def __init__(self):
            self.facts = facts

        def sample(self, state, n, *, rng):
            t = rng.exponential(1, n)
            return Rows(facts, {"age": rng.normal(60, 10, n), "t": np.minimum(t, 2.0), "e": (t < 2).astype(float)})

    made, deaths, said = Exponential(), 300 * (1 - np.exp(-2)), []
    for seed in range(6):
        treated = made.sample(None, 300, rng=np.random.default_rng([seed, 5]))
        said.append(control_arm(made, None, treated, n_real=300, sets=5, bootstraps=50, seed=seed).error ** 2)
    assert np.mean(said) == pytest.approx((1 + 1 + 1 / 5) / deaths, rel=0.2)
    arm = control_arm(made, None, treated, n_real=300, sets=10, bootstraps=10, seed=0)
    assert np.isfinite(arm.error), "as many sets as bootstraps"
