"""Figures follow from predictions: known scores give known figures, and every model is measured on the same rows."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.randomness import Chance
from cohortium.core.study import EvaluationPlan
from cohortium.data.schema import CohortSchema, Column, Subgroup
from cohortium.sim.cohorts import gather
from cohortium.sim.comparison import SiteRows, compare, train_plainly
from cohortium.sim.evaluation import Scored, evaluate, presence_of, score, score_models

CHANCE = Chance(0, secrets_from_system=False)
LAYOUT = Layout(features=("a", "b"), outcome="binary", classes=("0", "1"))


def part(y, x=None):
    return Examples(layout=LAYOUT, x=np.zeros((len(y), 2)) if x is None else x, y=np.asarray(y, dtype=float))


def site(name, y):
    nobody = part([])
    return SiteRows(site=name, training=part([0, 1]), calibration=nobody, test=part(y))


def measured(scores, rows, study, schema):
    scored = Scored(rows=rows, scores=scores, calibration={one.site: np.zeros(0) for one in rows})
    return evaluate(scored, plan=study.evaluation, schema=schema, rng=np.random.default_rng(0), draws=50)


@pytest.fixture
def schema(study, tables):
    return gather(study, tables, chance=CHANCE).schema


def test_hand_calculated_figures_of_two_sites(study, schema):
    rows = [site("bonn", [0, 1, 0, 1]), site("lund", [0, 0, 1, 1])]
    good = {"bonn": np.array([0.1, 0.9, 0.2, 0.8]), "lund": np.array([0.1, 0.2, 0.8, 0.9])}
    bad = {"bonn": np.array([0.9, 0.1, 0.8, 0.2]), "lund": np.array([0.9, 0.8, 0.2, 0.1])}
    found = measured({"swarm": good, "pooled": good, "own/bonn": bad, "own/lund": good}, rows, study, schema).results
    assert found.swarm["auroc"].value == 1.0
    assert found.swarm["brier"].value == pytest.approx((4 * 0.01 + 4 * 0.04) / 8)
    assert found.single["bonn"]["auroc"].value == 0.0
    assert found.single_mean["auroc"].value == 0.5
    assert found.per_site["bonn"]["own"]["auroc"].value == 0.0
    assert found.per_site["lund"]["own"]["auroc"].value == 1.0
    assert found.swarm["auroc"].n == 8


def test_within_site_figures_do_not_reward_knowing_the_site(study, schema):
    rows = [site("bonn", [1, 1, 1, 0]), site("lund", [0, 0, 0, 1])]
    by_site = {"bonn": np.full(4, 0.9), "lund": np.full(4, 0.1)}
    found = measured({"swarm": by_site}, rows, study, schema).results.swarm
    assert found["auroc"].value == 0.75
    assert found["auroc_within"].value == 0.5


def test_a_site_without_test_patients_is_in_no_figure(study, schema):
    rows = [site("bonn", [0, 1, 0, 1]), site("lund", [])]
    found = measured({"swarm": {"bonn": np.array([0.1, 0.9, 0.2, 0.8])}}, rows, study, schema)
    assert set(found.results.per_site) == {"bonn"}
    assert found.results.pooled == {}


def test_all_models_score_the_same_rows(study, rows):
    swarm = train_plainly(study, rows, chance=CHANCE)
    models = {"swarm": swarm, **compare(study, rows, chance=CHANCE).models}
    for sites in score(models, rows).values():
        assert {name: len(held) for name, held in sites.items()} == {one.site: len(one.test) for one in rows}
    scored = score_models(models, rows)
    assert {name: len(held) for name, held in scored.calibration.items()} == {
        one.site: len(one.calibration) for one in rows
    }


def test_presence_counts_missing_values_in_words(rows):
    found = presence_of(rows)
    at = found.features.index("b")
    assert (found.missing["porto"][at], found.word["porto"][at]) == (1.0, "absent")
    assert (found.missing["bonn"][at], found.word["bonn"][at]) == (0.0, "present")


def test_images_have_no_presence_table():
    layout = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 2, 2))
    images = Examples(layout=layout, x=np.zeros((2, 1, 2, 2), dtype=np.float32), y=np.array([0.0, 1.0]))
    assert presence_of([SiteRows(site="a", training=images, calibration=images, test=images)]) is None


_FLAG = Layout(features=("a",), outcome="binary", classes=("0", "1"))


def _half_with_the_outcome(n, *, seed):
    """Half the rows with the outcome, and a flag that divides them at random."""
    y = np.arange(n) % 2.0
    sex = (np.random.default_rng(seed).random(n) < 0.5).astype(np.int8)
    return Examples(layout=_FLAG, x=np.zeros((n, 1)), y=y, subgroups={"sex": sex})


def _told(examples, *, low, seed):
    """Risks that order patients well but lie between 0 and `low`."""
    rng = np.random.default_rng(seed)
    return low * (0.2 + 0.6 * examples.y + 0.2 * rng.random(len(examples)))


def test_threshold_of_repaired_risks_is_never_laid_on_raw_ones():
    """A swarm whose risks are all below one half, and an own model without that fault: repaired, they call alike."""
    parts = {name: _half_with_the_outcome(n, seed=n) for name, n in (("calibration", 80), ("test", 120))}
    one = SiteRows(site="a", training=_half_with_the_outcome(60, seed=0), **parts)
    lows = {"swarm": 0.4, "own/a": 1.0}
    told = {
        (model, part): {"a": _told(rows, low=low, seed=3)}
        for model, low in lows.items()
        for part, rows in parts.items()
    }
    scored = Scored(
        rows=[one],
        scores={model: told[model, "test"] for model in lows},
        calibration=told["swarm", "calibration"],
        own_calibration=told["own/a", "calibration"],
    )
    schema = CohortSchema(
        columns=(
            Column(name="a", kind="number"),
            Column(name="sex", kind="flag", role="subgroup", values=("f", "m")),
            Column(name="y", kind="flag", role="outcome", values=("0", "1")),
        ),
        subgroups=(Subgroup(name="sex", column="sex"),),
    )
    found = evaluate(scored, plan=EvaluationPlan(), schema=schema, rng=np.random.default_rng(5), draws=50)
    assert found.results.swarm["accuracy"].value == 0.5  # raw risks call nobody
    assert found.calibration["a"].after["accuracy"].value == 1.0
    gain = found.comparison.sites[0].gains["accuracy"]
    assert (gain.value, "recalibrated" in gain.method) == (0.0, True)
    assert {group.measures["sensitivity"].value for group in found.subgroups} == {1.0}


def test_the_event_a_model_learned_is_the_one_that_is_counted():
    """Risks that order event 2 perfectly and event 1 in reverse."""
    layout = Layout(features=("a",), outcome="survival", resolution=1.0, horizon=100.0)
    time = np.arange(1.0, 41.0)
    event = np.where(np.arange(40) % 2 == 0, 1, 2).astype(np.int8)
    test = Examples(layout=layout, x=np.zeros((40, 1)), time=time, event=event)
    one = SiteRows(site="a", training=test, calibration=test.take(np.arange(0)), test=test)
    risk = np.where(event == 2, -time, time - 1000.0)
    scored = Scored(rows=[one], scores={"swarm": {"a": risk}}, calibration={"a": np.zeros(0)})
    schema = CohortSchema(
        columns=(
            Column(name="a", kind="number"),
            Column(name="t", kind="survival", role="outcome", unit="d", time="t", event="e"),
        )
    )
    found = {
        cause: evaluate(
            scored, plan=EvaluationPlan(), schema=schema, rng=np.random.default_rng(0), cause=cause, draws=20
        )
        .results.swarm["c_index"]
        .value
        for cause in (1, 2)
    }
    assert found[2] == 1.0
    assert found[1] < 0.1
