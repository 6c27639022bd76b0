import numpy as np

from cohortium.core.examples import Examples, Layout
from cohortium.core.study import EvaluationPlan
from cohortium.data.schema import CohortSchema, Column, Subgroup
from cohortium.sim.comparison import SiteRows
from cohortium.sim.evaluation import Scored, evaluate

_LAYOUT = Layout(features=("a",), outcome="binary", classes=("0", "1"))


def _part(n, *, seed):
    """Half the rows with the outcome, one flag that divides them at random."""
    y = np.arange(n) % 2.0
    sex = (np.random.default_rng(seed).random(n) < 0.5).astype(np.int8)
    return Examples(layout=_LAYOUT, x=np.zeros((n, 1)), y=y, subgroups={"sex": sex})


def _told(examples, *, low, seed):
    """Risks that order patients well but lie between 0 and `low`."""
    rng = np.random.default_rng(seed)
    return low * (0.2 + 0.6 * examples.y + 0.2 * rng.random(len(examples)))


def test_threshold_of_repaired_risks_is_never_laid_on_raw_ones():
    """A swarm whose risks are all below one half, and an own model without that fault: repaired, they call alike."""
    one = SiteRows(site="a", training=_part(80, seed=0), calibration=_part(80, seed=1), test=_part(120, seed=2))
    scored = Scored(
        rows=[one],
        scores={
            "swarm": {"a": _told(one.test, low=0.4, seed=3)},
            "own/a": {"a": _told(one.test, low=1.0, seed=3)},
        },
        calibration={"a": _told(one.calibration, low=0.4, seed=4)},
        own_calibration={"a": _told(one.calibration, low=1.0, seed=4)},
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
    after = found.calibration["a"].after["accuracy"].value
    assert found.results.swarm["accuracy"].value == 0.5  # raw risks call nobody
    assert after == 1.0
    gain = found.comparison.sites[0].gains["accuracy"]
    assert gain.value == 0.0
    assert "recalibrated" in gain.method
    assert {group.measures["sensitivity"].value for group in found.subgroups} == {1.0}
