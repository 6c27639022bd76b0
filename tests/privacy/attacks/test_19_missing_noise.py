"""Attack 19: noise that is shared out goes missing - colluders add none and know their part, other sites vanish.

Ten sites, three collude, two vanish after their vectors were sent. Weak: every site adds 1/n of the noise, and masks
alone say when a sum may be opened. All sums go through the real masks.
"""

import hashlib
import math

import numpy as np
import pytest
from scipy import stats

from cohortium.core.exchange import threshold
from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivacyTerms, PrivateSteps
from cohortium.core.update import Update
from cohortium.errors import PeerError
from cohortium.privacy.dp.clipping import Clipped
from cohortium.privacy.dp.distributed import NoiseGuard, sharing, site_sums
from cohortium.privacy.dp.grid import Grid

N, SIZE = 10, 4000
COLLUDERS, SILENT = sharing(N)
TERMS = PrivacyTerms(
    epsilon=3, delta=1e-5, noise_multiplier=2.0, steps=1, steps_a_round=1, sample_rate=0.5, mode="distributed",
    n_sites=N, n_colluders=COLLUDERS, n_silent=SILENT,
)  # fmt: skip
PROMISED = TERMS.noise_multiplier * Grid(n=SIZE, norm=TERMS.clipping_norm).sensitivity


def noisy(site, multiplier):
    """What an honest site sends of one step: a sum of gradients, here nought, and its part of the noise."""
    entropy = lambda n: hashlib.shake_256(f"noise|{site}".encode()).digest(n)  # noqa: E731
    steps = PrivateSteps(sample_rate=0.5, steps=1, clipping_norm=1.0, noise_multiplier=multiplier, entropy=entropy)
    nought = lambda rows, norm: Clipped(sums={"w": np.zeros(SIZE)}, n_whole=0)  # noqa: E731
    return Parameters({"sum/w": site_sums(steps, np.arange(60), size=SIZE, names=("w",), clipped=nought)["sum/w"]})


def attacked(world, *, multiplier):
    """The step up to the masked vectors. The colluders' part is nought: they leave their noise out."""
    made = world(N, floats=0, integers=1)
    silent = Parameters({"sum/w": np.zeros(SIZE, dtype=np.int64)})
    for number, site in enumerate(made.sites):
        part = silent if number < COLLUDERS else noisy(site, multiplier)
        made.updates[site] = Update(site=site, parameters=part, weight=1)
    return made.run("keys", "shares", "masked")


def known_to_attackers(made, n_survivors):
    """What the sum over these survivors tells the colluders, less what they put into it."""
    survivors = made.sites[:n_survivors]
    made.run("unmask", survivors=survivors)
    return np.asarray(made.open(survivors=survivors).total["sum/w"])


def is_at_least(noise, std):
    """Whether these numbers may have this std, or more; two thirds of the variance would be told apart."""
    return stats.chi2.cdf(np.sum(noise.astype(float) ** 2) / std**2, df=noise.size) > 1e-6


def test_noise_over_all_sites_is_too_little_once_some_collude_and_some_vanish(world) -> None:
    weak = attacked(world, multiplier=TERMS.noise_multiplier / math.sqrt(N))
    left = known_to_attackers(weak, N - SILENT)
    assert not is_at_least(left, PROMISED)
    assert np.std(left) == pytest.approx(PROMISED * math.sqrt((N - COLLUDERS - SILENT) / N), rel=0.05)


def test_masks_alone_open_a_sum_with_too_little_noise(world) -> None:
    weak = attacked(world, multiplier=TERMS.own_multiplier)
    assert threshold(N, N) < TERMS.least_survivors
    assert not is_at_least(known_to_attackers(weak, N - SILENT - 1), PROMISED)


def test_ours_leaves_all_of_the_noise_and_opens_nothing_with_less(world) -> None:
    ours = attacked(world, multiplier=TERMS.own_multiplier)
    ours.guards = {site: NoiseGuard(guard, least=TERMS.least_survivors) for site, guard in ours.guards.items()}
    one_less = dict.fromkeys(ours.sites[: N - SILENT - 1], Parameters())
    for site in ours.sites[COLLUDERS : N - SILENT - 1]:
        with pytest.raises(PeerError, match=r"7 survivors hold too little noise .* the noise of 8 sites"):
            ours.ask(site, "unmask", received=ours.received | {"survivors": one_less})
    left = known_to_attackers(ours, N - SILENT)
    assert is_at_least(left, PROMISED)
    assert np.std(left) == pytest.approx(PROMISED, rel=0.05)
