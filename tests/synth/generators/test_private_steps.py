import numpy as np

from cohortium.core.private import PrivateSteps
from cohortium.models.optimisers import OptimiserPlan
from cohortium.privacy.dp.clipping import Clipped
from cohortium.synth.generators.private_steps import stepped, stepped_privately, still

PLANS = {"from.": OptimiserPlan(name="sgd", learning_rate=0.5), "beside.": OptimiserPlan(name="sgd", learning_rate=0.1)}


class Alike:
    """Patients who all pull one array by the same, and another array that needs none of them."""

    names = ("from.w",)

    def __init__(self):
        self.seen, self.held = [], []

    def clipped(self, weights, chosen, *, norm, chance):
        self.seen.append((len(chosen), norm))
        return Clipped(sums={"from.w": np.full(3, float(len(chosen)), dtype=np.float32)}, n_whole=0)

    def public(self, weights, *, norm, chance):
        self.held.append((float(weights["from.w"][0]), norm))
        return {"from.w": np.full(3, 0.25, dtype=np.float32), "beside.w": np.ones(2, dtype=np.float32)}


def test_all_steps_are_taken_by_patients_and_by_what_needs_none():
    steps = PrivateSteps(sample_rate=1.0, steps=7, clipping_norm=2.0, noise_multiplier=1e-4,
                         entropy=np.random.default_rng(0).bytes)  # fmt: skip
    start = {"from.w": np.zeros(3, dtype=np.float32), "beside.w": np.zeros(2, dtype=np.float32)}
    patients = Alike()
    made, norm = stepped_privately(start, np.arange(20), steps=steps, plans=PLANS, patients=patients, chance=None)
    np.testing.assert_allclose(made["from.w"], -7 * 0.5 * (1 + 0.25), rtol=1e-3)
    np.testing.assert_allclose(made["beside.w"], -0.7, rtol=1e-6)
    assert norm == 2.0
    assert [n for n, _ in patients.seen] == [20] * 7
    before, cut_to = zip(*patients.held, strict=True)
    assert before[0] == 0  # both gradients are of the same weights
    assert list(before) == sorted(before, reverse=True)
    assert set(cut_to) == {norm for _, norm in patients.seen}  # invented patients are cut as real ones are
    assert not start["from.w"].any()


def test_each_array_moves_by_its_own_plan_and_only_if_it_has_a_gradient():
    plans = PLANS | {"beside.": OptimiserPlan(name="adam", learning_rate=0.1)}
    weights = {"from.w": np.zeros(2), "beside.w": np.zeros(2), "beside.b": np.zeros(1)}
    moments = still(plans, weights)
    assert len(moments) == 2
    stepped(plans, weights, {"from.w": np.ones(2), "beside.w": np.full(2, 7.0)}, moments, number=1)
    np.testing.assert_allclose(weights["from.w"], -0.5)
    np.testing.assert_allclose(weights["beside.w"], -0.1)
    assert weights["beside.b"] == 0
