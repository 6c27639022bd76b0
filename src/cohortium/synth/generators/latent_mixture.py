"""A Gaussian mixture over the codes of an encoder, learned by exact sums over patients: additive EM.

Every exchange each site sends, for every component, the sums of r, r z and r z z' over its patients (r: responsibility,
z: code). Codes come from whole-number products (`integer_layer`), responsibilities are rounded patient by patient, so
the mixture of many sites is that of the pooled patients to the last bit, under masks too. The first exchange asks for
the moments of all codes and the mean posterior variance; components start at draws around them. A component's
covariance leans on the covariance of all codes as `PRIOR` patients would. Design: synthetic-data.md 4, latent mixture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters
from cohortium.models.row_sums import summed_products

__all__ = ["LatentMixture", "integer_layer"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_INPUT_BITS, _WEIGHT_BITS = 12, 16
_CODE_BITS, _SHARE_BITS, _ROOT_BITS, _VARIANCE_BITS = 10, 12, 16, 16
_LARGEST_CODE = 15.0
PRIOR = 10.0
_START = 0.3  # of all codes' covariance: with all of it the components part too slowly for 20 exchanges
FLOOR = 1e-5
TOLERANCE = 1e-4


def integer_layer(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """A linear layer, (n, outputs): the same bits for a patient in any company. x below 2^8 in size."""
    steps = fp.to_fixed(np.clip(x, -255.0, 255.0), _INPUT_BITS, what="inputs")
    held = fp.to_fixed(weight.T, _WEIGHT_BITS, what="weights")
    return fp.from_fixed(fp.integer_dot(steps, held, what="layer"), _INPUT_BITS + _WEIGHT_BITS) + bias


@dataclass(frozen=True, kw_only=True)
class LatentMixture:
    """A learner by sums over codes. n_latent: their length; n_components: at most; max_rounds: exchanges in all."""

    n_latent: int
    n_components: int = 20
    max_rounds: int = 20

    def initial(self) -> Parameters:
        """The first question."""
        return Parameters({"round": np.zeros(1, dtype=np.int64)})

    def answer(self, state: Parameters, mean: Floats, variance: Floats) -> Parameters:
        """Sums over patients with these codes: means and variances of the encoder, (n, n_latent) each."""
        z = fp.to_fixed(np.clip(mean, -_LARGEST_CODE, _LARGEST_CODE), _CODE_BITS, what="codes")
        rows, columns = np.triu_indices(self.n_latent)
        squares = z[:, rows] * z[:, columns]
        if int(state["round"][0]) == 0:
            spread = fp.to_fixed(variance, _VARIANCE_BITS, what="posterior variance").sum(axis=0)
            n = np.array([len(z)], dtype=np.int64)
            return Parameters({"n": n, "first": z.sum(axis=0), "second": squares.sum(axis=0), "variance": spread})
        log_density = self._log_densities(state, z)
        top = log_density.max(axis=1, initial=-np.inf)
        relative = fp.exp(log_density - top[:, None])
        total = fp.ordered_sum(relative, axis=1)
        shares = fp.to_fixed(relative / total[:, None], _SHARE_BITS, what="responsibilities")
        score = fp.to_fixed(top + fp.log(total), _SHARE_BITS, what="log density") if len(z) else np.zeros(0, np.int64)
        return Parameters(
            {
                "n": shares.sum(axis=0),
                "first": summed_products(shares, z, what="first moments"),
                "second": summed_products(shares, squares, what="second moments"),
                "score": np.array([score.sum()], dtype=np.int64),
            }
        )

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half."""
        number = int(start["round"][0]) + 1
        if number == 1:
            return self._started(total)
        n, held = int(start["n"][0]), dict(start.items())
        shares = fp.from_fixed(total["n"], _SHARE_BITS)
        first = fp.from_fixed(total["first"], _CODE_BITS + _SHARE_BITS)
        second = fp.from_fixed(total["second"], 2 * _CODE_BITS + _SHARE_BITS)
        whole = np.asarray(start["whole"], dtype=np.float64)
        means, covariances = np.array(start["means"]), np.array(start["covariances"])
        for k, share in enumerate(shares):
            if share <= 0:
                continue
            means[k] = first[k] / share
            scatter = _square(second[k], self.n_latent) - share * means[k][:, None] * means[k]
            covariances[k] = (scatter + PRIOR * whole) / (share + PRIOR) + FLOOR * np.eye(self.n_latent)
        score = float(fp.from_fixed(total["score"], _SHARE_BITS)[0]) / max(n, 1)
        still = abs(score - float(start["score"][0])) < TOLERANCE
        held |= {
            "round": np.array([number if not still and number < self.max_rounds else -1], dtype=np.int64),
            "weights": (shares + 1e-9) / float(fp.ordered_sum(shares + 1e-9)),
            "means": means,
            "covariances": covariances,
            "score": np.array([score]),
        }
        return Parameters(held)

    def finished(self, state: Parameters) -> bool:
        """Whether it stands still, or has had its exchanges."""
        return int(state["round"][0]) < 0

    def sample(self, state: Parameters, n: int, rng: np.random.Generator) -> Floats:
        """Codes of n new patients: a component's draw, and the encoder's own uncertainty on top."""
        weights = np.asarray(state["weights"])
        drawn = rng.choice(len(weights), size=n, p=weights / weights.sum())
        z = rng.standard_normal((n, self.n_latent))
        found = np.zeros((n, self.n_latent))
        for k in range(len(weights)):
            mine = drawn == k
            found[mine] = np.asarray(state["means"])[k] + z[mine] @ np.linalg.cholesky(state["covariances"][k]).T
        noise: Floats = rng.standard_normal((n, self.n_latent)) * np.sqrt(np.asarray(state["variance"]))
        return found + noise

    def _started(self, total: Parameters) -> Parameters:
        n = int(total["n"][0])
        count = float(max(n, 1))
        middle = fp.from_fixed(total["first"], _CODE_BITS) / count
        whole = _square(fp.from_fixed(total["second"], 2 * _CODE_BITS) / count, self.n_latent)
        whole = whole - middle[:, None] * middle + FLOOR * np.eye(self.n_latent)
        k = max(1, min(self.n_components, n // 10))
        root = fp.cholesky(whole)
        starts = _scattered(k, self.n_latent)
        means = middle + np.stack([fp.matvec(root, one) for one in starts])
        arrays: Mapping[str, object] = {
            "round": np.ones(1, dtype=np.int64),
            "n": np.array([n], dtype=np.int64),
            "weights": np.full(k, 1.0 / k),
            "means": means,
            "covariances": np.repeat(_START * whole[None], k, axis=0),
            "whole": whole,
            "variance": fp.from_fixed(total["variance"], _VARIANCE_BITS) / count,
            "score": np.array([-np.inf]),
        }
        return Parameters(arrays)

    def _log_densities(self, state: Parameters, z: Integers) -> Floats:
        """log weight + log normal density, up to what all components share, (n, k)."""
        found = np.zeros((len(z), len(state["weights"])))
        log_weights = fp.log(np.maximum(np.asarray(state["weights"], dtype=np.float64), 1e-12))
        for k in range(found.shape[1]):
            root = fp.cholesky(fp.inverse_spd(np.asarray(state["covariances"][k])))
            onto = fp.to_fixed(root, _ROOT_BITS, what="mixture")
            middle = fp.to_fixed(np.asarray(state["means"][k]), _CODE_BITS, what="mixture")
            away = fp.from_fixed(fp.integer_dot(z - middle, onto, what="distance"), _CODE_BITS + _ROOT_BITS)
            volume = float(fp.ordered_sum(fp.log(np.diagonal(root).copy())))
            found[:, k] = log_weights[k] + volume - 0.5 * fp.ordered_sum(away * away, axis=1)
        return found


def _square(packed: Floats, q: int) -> Floats:
    rows, columns = np.triu_indices(q)
    matrix = np.zeros((q, q))
    matrix[rows, columns] = packed
    matrix[columns, rows] = packed
    return matrix


def _scattered(k: int, q: int) -> Floats:
    """k starting points like normal draws, the same on every node: sums of a fixed integer sequence."""
    value, found = 1, np.zeros(k * q)
    for at in range(k * q):
        total = 0.0
        for _ in range(12):
            value = (value * 48271) % 2147483647
            total += value / 2147483647
        found[at] = total - 6.0
    return found.reshape(k, q)
