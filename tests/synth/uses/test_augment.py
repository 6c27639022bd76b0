"""A learning curve: a good generator helps the few, nobody helps the many, and a bad one is told as harm."""

import numpy as np
import pytest

from cohortium.errors import DataError, UsageError
from cohortium.synth.conditions import parse
from cohortium.synth.uses.augment import augment


@pytest.fixture(scope="module")
def curve(world):
    return augment(world.generator, world.state, world.training, world.reserve, shares=(0.05, 1.0), factors=(1, 3),
                   draws=4, seed=0)  # fmt: skip


def test_the_few_gain_from_a_generator_that_knows_the_many(curve):
    few = [point for point in curve.points if point.share == 0.05]
    assert [point.n for point in few] == [48, 48]
    assert few[1].gain.verdict == "gain"
    assert few[1].gain.difference > 0.02


def test_the_many_gain_nothing_and_it_is_said_first(curve):
    assert curve.verdict != "gain"
    first = curve.text().splitlines()[0]
    assert first == f"{curve.verdict}, with all {curve.points[-1].n} real patients"
    assert curve.document()["verdict"] == curve.verdict
    assert abs(curve.points[-1].gain.difference) < 0.02
    assert len(curve.text().splitlines()) == 5


def test_patients_from_a_wrong_generator_are_harm(world):
    class Wrong:
        def sample(self, state, n, *, rng):
            made = world.generator.sample(state, n, rng=rng)
            worst_last = np.argsort(np.argsort(world.generator.log_risk(world.state, made)))
            longest = np.argsort(made["os_years"])[worst_last]  # the more ill they are, the longer they live
            return made.with_columns({name: made[name][longest] for name in ("os_years", "died")})

    found = augment(Wrong(), world.state, world.training, world.reserve, shares=(0.3,), factors=(3,), draws=3, seed=0)
    assert found.verdict == "harm"


def test_a_pool_gives_each_row_once_so_what_it_has_no_rows_for_is_left_out(world):
    class Pool:
        def whole(self, state):
            return world.training.take(np.arange(500))

    real = world.training.take(np.arange(500, 700))
    found = augment(Pool(), None, real, world.reserve, shares=(0.5, 1.0), factors=(1, 2, 3), draws=1, seed=0)
    assert [(point.n, point.factor) for point in found.points] == [(100, 1), (100, 2), (200, 1), (200, 2)]
    with pytest.raises(UsageError, match=r"shared 500 rows; 700 are needed"):
        augment(Pool(), None, world.training.take(np.arange(700)), world.reserve, seed=0)


def test_patients_that_break_a_rule_all_the_same_are_counted(world):
    never = (parse("hb > 30", world.facts),)
    found = augment(world.generator, world.state, world.training, world.reserve, shares=(1.0,), factors=(1,),
                    rules=never, draws=2, seed=0)  # fmt: skip
    assert found.broken == found.document()["broken_rules"]
    assert found.broken["hb > 30"] > 1000
    assert "break the rule 'hb > 30'" in found.text()


def test_what_makes_no_curve_is_refused(world):
    few = world.training.take(np.arange(20))
    with pytest.raises(DataError, match="too few"):
        augment(world.generator, world.state, few, world.reserve, seed=0)
    with pytest.raises(UsageError, match="shares lie in"):
        augment(world.generator, world.state, world.training, world.reserve, shares=(2.0,), seed=0)
