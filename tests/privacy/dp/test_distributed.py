"""Noise that is shared out: whole against c colluders and d lost sites, and no sum with less of it is opened."""

import hashlib
import math
from types import SimpleNamespace

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivacyTerms, PrivateSteps
from cohortium.errors import InvariantBroken, PeerError
from cohortium.privacy.dp.clipping import Clipped
from cohortium.privacy.dp.distributed import NoiseGuard, mean_gradient, sharing, site_sums
from cohortium.privacy.dp.grid import Grid

SIZE = 40


def part(site, *, multiplier, n=60, length=0.0, round=0):
    def clipped(rows, norm):
        total = np.zeros(SIZE)
        total[0] = len(rows) * min(length, norm)
        return Clipped(sums={"w": total}, n_whole=0)

    entropy = lambda k: hashlib.shake_256(f"{site}|{round}".encode()).digest(k)  # noqa: E731
    steps = PrivateSteps(sample_rate=0.5, steps=1, clipping_norm=1.0, noise_multiplier=multiplier, entropy=entropy)
    return Parameters(site_sums(steps, np.arange(n), size=SIZE, names=("w",), clipped=clipped))


def total_of(parts):
    names = tuple(parts[0])
    return Parameters({name: sum(np.asarray(one[name]) for one in parts) for name in names})


@pytest.mark.parametrize(("n", "c", "d"), [(1, 0, 0), (3, 1, 0), (4, 1, 1), (5, 1, 1), (10, 3, 2), (20, 6, 2)])
def test_how_many_sites_may_collude_and_be_lost(n, c, d):
    assert sharing(n) == (c, d)


def test_the_noise_of_the_fewest_honest_survivors_is_the_promised_one():
    """10,000 numbers of 250 steps: 10 sites, 2 lost, 3 of the rest add nothing."""
    terms = PrivacyTerms(
        epsilon=3, delta=1e-5, noise_multiplier=2.0, steps=1, steps_a_round=1, sample_rate=0.5, mode="distributed",
        n_sites=10, n_colluders=3, n_silent=2,
    )  # fmt: skip
    honest = terms.least_survivors - terms.n_colluders
    sums = [
        total_of([part(s, multiplier=terms.own_multiplier, round=r) for s in range(honest)])["sum/w"]
        for r in range(250)
    ]
    sensitivity = Grid(n=SIZE, norm=1.0).sensitivity
    assert np.std(sums) == pytest.approx(2.0 * sensitivity, rel=0.03)
    one_less = np.std(sums) * math.sqrt((honest - 1) / honest)
    assert one_less < 0.95 * 2.0 * sensitivity


def test_the_opened_sum_is_the_mean_over_all_patients():
    parts = [part(site, multiplier=0.06 / 1, n=n, length=0.5) for site, n in enumerate((60, 65, 130))]
    mean = mean_gradient(total_of(parts), sample_rate=0.5, clipping_norm=1.0)
    assert [int(one["patients"][0]) for one in parts] == [60, 60, 130]
    assert mean["w"][0] == pytest.approx(0.5, abs=0.1)
    assert np.abs(mean["w"][1:]).max() < 0.01


@pytest.mark.parametrize("patients", [0, -3])
def test_a_sum_over_no_patient_is_refused_by_name(patients):
    total = Parameters({"sum/w": np.ones(3, dtype=np.int64), "patients": np.array([patients], dtype=np.int64)})
    with pytest.raises(PeerError, match=f"add up to {patients}, expected at least 1"):
        mean_gradient(total, sample_rate=0.5, clipping_norm=1.0)


def test_only_one_step_with_a_fixed_norm_can_be_shared():
    steps = PrivateSteps(sample_rate=0.5, steps=2, clipping_norm=1.0, noise_multiplier=1.0, entropy=bytes)
    with pytest.raises(InvariantBroken, match="one step with a fixed norm"):
        site_sums(steps, np.arange(3), size=1, names=("w",), clipped=lambda rows, norm: None)


class _Inner:
    recipe = "masked"

    def step(self, step, context, *, own, received):
        return Parameters({"step": np.zeros(1)})

    def open(self, context, *, survivors, received):
        return "opened"

    def memory(self):
        return Parameters({"root": np.zeros(1)})

    def restore(self, memory):
        self.restored = memory


def test_a_sum_with_too_little_noise_is_neither_unmasked_nor_opened():
    guard = NoiseGuard(_Inner(), least=4)
    enough, few = {s: Parameters() for s in "abcd"}, {s: Parameters() for s in "abc"}
    where = {"own": SimpleNamespace(), "received": {"survivors": few}}
    with pytest.raises(
        PeerError, match="3 survivors hold too little noise to be opened; this run needs the noise of 4"
    ):
        guard.step("unmask", None, **where)
    with pytest.raises(PeerError, match="too little noise"):
        guard.open(None, survivors=tuple(few), received={})
    assert guard.step("masked", None, **where)
    assert guard.step("unmask", None, own=None, received={"survivors": enough})
    assert guard.open(None, survivors=tuple(enough), received={}) == "opened"


def test_everything_else_is_the_inner_guards():
    inner = _Inner()
    guard = NoiseGuard(inner, least=4)
    assert guard.recipe == "masked"
    assert guard.memory() == inner.memory()
    guard.restore(Parameters())
    assert inner.restored == Parameters()
