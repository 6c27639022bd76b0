import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohortium.core.parameters import Parameters
from cohortium.errors import UsageError
from cohortium.reports.discrimination import auroc
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.rows import Rows
from cohortium.synth.validation.indistinguishable import boosted_scores
from cohortium.synth.validation.told_apart import ToldApart


def auc_of(world, synthetic, training=None, reserve=None):
    learner = ToldApart(facts=world.facts, synthetic=synthetic)
    trees = fit_by_sums(learner, training or [world.training])
    return learner.auc(fit_by_sums(learner.asking(trees), reserve or [world.reserve]))


def shuffled(rows):
    rng = np.random.default_rng(3)
    return Rows(rows.facts, {name: rng.permutation(rows[name]) for name in rows.facts.names})


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 960), max_size=4))
def test_any_partition_grows_the_trees_of_the_pooled_table(world, cuts):
    learner = ToldApart(facts=world.facts, synthetic=world.synthetic)
    edges = [0, *sorted(cuts), len(world.training)]
    parts = [world.training.take(np.arange(a, b)) for a, b in itertools.pairwise(edges)]
    assert fit_by_sums(learner, parts).digest == fit_by_sums(learner, [world.training]).digest


def test_everything_that_leaves_is_a_whole_number(world):
    learner = ToldApart(facts=world.facts, synthetic=world.synthetic)
    asked = learner.asking(fit_by_sums(learner, [world.training]))
    for one in (learner, asked):
        answer = one.answer(one.initial(None, rng=None), world.training)
        assert {array.dtype.kind for array in answer.values()} == {"i"}


def test_the_first_node_and_its_leaves_by_hand(world):
    """All patients carry TP53, no synthetic row does, nothing else is known: 960 gradients of 1/2 on either side."""
    n = len(world.training)
    unknown = {name: np.full(n, np.nan) for name in world.facts.names}
    real, made = (Rows(world.facts, unknown | {"TP53": np.full(n, level)}) for level in (1.0, 0.0))
    learner = ToldApart(facts=world.facts, synthetic=made)
    trees = fit_by_sums(learner, [real])
    assert [list(world.facts.names)[one] for one in trees["column"][0, :1]] == ["TP53"]
    assert (np.asarray(trees["cut"])[0, 1:] == -1).all()
    leaf = round(0.3 * (n / 2) / (n / 4 + 5.0) * 2**10)  # synthetic rows weigh as much as patients; ridge 5, step .3
    assert set(trees["leaf"][0].tolist()) == {leaf, 0, -leaf}
    assert learner.auc(fit_by_sums(learner.asking(trees), [real])) == 1.0


def test_what_cannot_be_told_apart_is_not_and_what_can_is(world):
    rows = np.random.default_rng(0).permutation(len(world.training))
    others, kept = world.training.take(rows[:480]), world.training.take(rows[480:])
    assert 0.44 < auc_of(world, others, training=[kept]) < 0.56
    assert auc_of(world, shuffled(world.training)) > 0.62


def test_it_tells_as_much_as_another_implementation(world):
    made = shuffled(world.training)
    even = np.arange(len(made)) % 2 == 0
    x = np.vstack([world.training.matrix(), made.take(even).matrix()])
    y = np.repeat([1.0, 0.0], [len(world.training), int(even.sum())])
    held = np.vstack([world.reserve.matrix(), made.take(~even).matrix()])
    truth = np.repeat([1.0, 0.0], [len(world.reserve), int((~even).sum())])
    assert auc_of(world, made) == pytest.approx(auroc(truth, boosted_scores(x, y, held)), abs=0.05)


def test_a_node_with_nobody_is_not_parted(world):
    learner = ToldApart(facts=world.facts, synthetic=world.synthetic)
    trees = fit_by_sums(learner, [world.training.take(np.arange(3))])
    assert (np.asarray(trees["cut"]) == -1).all()


@pytest.mark.parametrize(("name", "wrong"), [("slope", 1 << 40), ("slope", -(1 << 40)), ("curve", -1), ("n", -1)])
def test_totals_no_patients_give_fail_the_merge(world, name, wrong):
    learner = ToldApart(facts=world.facts, synthetic=world.synthetic)
    start = learner.initial(None, rng=None)
    total = learner.answer(start, world.training)
    assert learner.advance(start, total)
    lie = np.asarray(total[name]).copy()
    lie.flat[0] = wrong
    with pytest.raises(ValueError, match=f"totals '{name}'"):
        learner.advance(start, total | Parameters({name: lie}))


def test_it_predicts_nothing(world):
    with pytest.raises(UsageError, match="predict nothing"):
        ToldApart(facts=world.facts, synthetic=world.synthetic).predict(Parameters(), None)
