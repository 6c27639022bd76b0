"""Generator `vae_bgm`: a variational autoencoder whose codes follow a Gaussian mixture.

    generator = VaeBgm(facts=facts)
    state = fit_network(generator, [rows], rng=rng)

Learned in three stages: the foundation by exact sums (a Bayesian network: tables, spikes, gaps, and rows to warm up
on), the network by weights, the mixture of its codes by exact sums again. New patients: a code from the mixture, heads
drawn one by one, scores laid on the published tables. Frequencies of flags and levels are published as well, so every
head's logits are moved until its mean over the drawn patients is the published frequency. Asti et al. 2025 use a
network of this name; this one is ours. Design: synthetic-data.md 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters
from cohortium.errors import DataError, UsageError
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.torch_training import one_thread, require_torch
from cohortium.synth.facts import Facts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.calibration import drawn_codes, moved_flags, moved_levels
from cohortium.synth.generators.cells import Cells, Encoded, placed
from cohortium.synth.generators.encoded_patients import EncodedPatients
from cohortium.synth.generators.latent_mixture import LatentMixture, integer_layer
from cohortium.synth.generators.marginal_dp import MarginalDP
from cohortium.synth.generators.network_training import Budget, Descent, Trained, in_batches
from cohortium.synth.generators.vae_network import LOG_VARIANCE, VaeNetwork
from cohortium.synth.rows import Rows

__all__ = ["Codes", "VaeBgm"]

Floats = NDArray[np.float64]

LEAST_DRAWN = 4000
"""Patients drawn at least, so that ranks and frequencies mean something; fewer are kept if fewer are asked for."""
TURNS = 10


@dataclass(frozen=True, kw_only=True)
class VaeBgm:
    """facts: the columns. epochs: passes over a site's rows in the whole run; warm_epochs: over rows of the foundation.

    batch: patients a step; hidden, latent: widths; components: of the mixture, at most. private_steps: noisy steps of a
    whole run under [privacy.dp], at private_rate.
    """

    facts: Facts
    min_cell: int = 10
    epochs: int = 200
    warm_epochs: int = 40
    batch: int = 128
    learning_rate: float = 1e-3
    hidden: int = 256
    latent: int = 20
    dropout: float = 0.1
    beta: float = 1.0
    components: int = 20
    private_steps: int = 200
    private_rate: float = 1e-3

    learns_by: ClassVar[Literal["weights"]] = "weights"
    closes: ClassVar[bool] = True
    reads_columns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, least, most in (("epochs", 1, 10_000), ("batch", 1, 10_000), ("hidden", 1, 4096), ("latent", 1, 64),
                                  ("components", 1, 100), ("warm_epochs", 0, 10_000),
                                  ("private_steps", 1, 100_000)):  # fmt: skip
            value = getattr(self, name)
            if not (isinstance(value, int) and least <= value <= most):
                raise ValueError(f"{name} must be a whole number from {least} to {most}, got {value!r}")
        for name in ("learning_rate", "private_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        if not 0 <= self.beta <= 100:
            raise ValueError(f"beta must be 0 to 100, got {self.beta}")

    # --- stages ------------------------------------------------------------------------------------------------

    def foundation(self) -> BayesianNetwork:
        """What the sites learn first, by exact sums."""
        return BayesianNetwork(facts=self.facts, min_cell=self.min_cell)

    def begin(self, foundation: Parameters, *, rng: np.random.Generator) -> Parameters:
        """First weights."""
        require_torch()
        return self._network(foundation).initial(rng)

    def budget(self, foundation: Parameters) -> Budget:
        """In passes over the rows."""
        return Budget(whole=self.epochs, warm=self.warm_epochs, private_warm=self.warm_epochs)

    def train(
        self,
        weights: Parameters,
        foundation: Parameters,
        rows: Rows,
        *,
        budget: int,
        rng: np.random.Generator,
        proximal: float = 0.0,
        moments: Parameters | None = None,
    ) -> Trained:
        """Training on a site's rows. budget: passes over the rows; proximal: mu of FedProx; moments: kept ones."""
        require_torch()
        import torch

        if len(rows) == 0:
            raise DataError("no patient to learn from")
        network = self._network(foundation)
        plan = OptimiserPlan(name="adam", learning_rate=self.learning_rate)
        order, noise = rng.spawn(2)
        n_steps = budget * -(-len(rows) // self.batch)
        losses: list[float] = []
        with one_thread():
            targets = network.targets(network.cells.encode(rows))
            descent = Descent(plan, weights, network.names, moments=moments, proximal=proximal)
            for chosen in in_batches(len(rows), self.batch, n_steps, order):
                loss = network.loss(descent.tensors, targets.take(torch.from_numpy(chosen)), noise)
                descent.step(loss)
                losses.append(float(loss.detach()))
        last = losses[-max(1, n_steps // 10) :]
        return Trained(weights=descent.weights(), loss=float(np.mean(last)), steps=n_steps, moments=descent.moments())

    def closing(self, weights: Parameters, foundation: Parameters) -> Codes:
        """The learner by sums of the mixture."""
        mixture = LatentMixture(n_latent=self.latent, n_components=self.components)
        return Codes(self._network(foundation), weights, mixture)

    def assembled(self, foundation: Parameters, weights: Parameters, closing: Parameters) -> Parameters:
        """The finished state."""
        parts = (foundation.prefixed("foundation"), weights.prefixed("network"), closing.prefixed("mixture"))
        return Parameters({name: array for part in parts for name, array in part.items()})

    def finished(self, state: Parameters) -> bool:
        """Whether patients can be drawn."""
        return "mixture/weights" in state and "network/heads.weight" in state

    # --- under noise -------------------------------------------------------------------------------------------

    def private_foundation(self) -> MarginalDP:
        """What a private run learns first, by noisy sums. Raises ValueError where a number has no agreed range."""
        return MarginalDP(facts=self.facts, min_cell=self.min_cell)

    @property
    def private_plans(self) -> Mapping[str, OptimiserPlan]:
        """How a noisy step is taken, by the beginning of array names."""
        return {"": OptimiserPlan(name="adam", learning_rate=self.private_rate)}

    def patients(self, foundation: Parameters, rows: Rows, *, rng: object) -> EncodedPatients:
        """Rows as what a noisy step needs of them."""
        network = self._network(foundation)
        return EncodedPatients(network, network.targets(network.cells.encode(rows)))

    # --- patients ----------------------------------------------------------------------------------------------

    def sample(self, state: Parameters, n: int, *, rng: np.random.Generator) -> Rows:
        """n new patients; gaps as in the data. Raises UsageError before the fit is finished."""
        network, mixture = self._opened(state)
        drawn = mixture.sample(state.under("mixture"), max(n, LEAST_DRAWN), rng)
        with one_thread():
            encoded = self._drawn(network, state.under("network"), drawn, rng)
        return network.cells.decode(encoded, rng).take(np.arange(n))

    def impute(self, state: Parameters, rows: Rows, *, rng: np.random.Generator) -> Rows:
        """The rows with every missing value but the outcome drawn given the patient's others: encode, decode, `TURNS`
        times over."""
        network, _ = self._opened(state)
        cells, weights = network.cells, state.under("network")
        start = cells.encode(rows)
        unknown = (start.codes < 0) | ((start.codes == cells.missing) & (cells.missing >= 0))
        now = start
        with one_thread():
            for _ in range(TURNS):
                mean, variance = Codes(network, weights, LatentMixture(n_latent=self.latent)).codes(now)
                code = mean + rng.standard_normal(mean.shape) * np.sqrt(variance)
                made = self._drawn(network, weights, code, rng, forbidden=cells.missing, moved=False)
                codes = np.where(unknown, made.codes, start.codes)
                z = np.where(np.isnan(start.z), np.where(cells.scored(codes), made.z, np.nan), start.z)
                now = Encoded(z, codes)
        filled = cells.decode(now, rng, lay=placed)
        names = [fact.name for fact in rows.facts.columns if fact.group != "outcome"]
        return rows.with_columns({name: np.where(np.isnan(rows[name]), filled[name], rows[name]) for name in names})

    # --- within ------------------------------------------------------------------------------------------------

    def _network(self, foundation: Parameters) -> VaeNetwork:
        cells = Cells.of(self.foundation(), foundation)
        return VaeNetwork(cells, self.hidden, self.latent, self.dropout, self.beta)

    def _opened(self, state: Parameters) -> tuple[VaeNetwork, LatentMixture]:
        require_torch()
        if not self.finished(state):
            raise UsageError("this generator is not finished; fit it to the end before sampling")
        mixture = LatentMixture(n_latent=self.latent, n_components=self.components)
        return self._network(state.under("foundation")), mixture

    def _drawn(
        self,
        network: VaeNetwork,
        weights: Parameters,
        codes: Floats,
        rng: np.random.Generator,
        *,
        forbidden: NDArray[np.int64] | None = None,
        moved: bool = True,
    ) -> Encoded:
        """Every head drawn. forbidden: by variable a level that is not drawn; moved: logits set to the frequencies."""
        cells, heads = network.cells, network.cells.heads
        middle, sd, flags, levels = network.decode(weights, codes)
        if moved:
            flags = moved_flags(flags, np.array([cells.margins[at][1] for at in heads.flags]))
            levels = moved_levels(levels, [cells.margins[at] for at in heads.blocks])
        found = np.zeros((len(codes), len(cells.sizes)), dtype=np.int64)
        found[:, heads.flags], found[:, heads.blocks] = drawn_codes(flags, levels, rng, forbidden=None
            if forbidden is None else (forbidden[heads.flags], forbidden[heads.blocks]))  # fmt: skip
        z = middle + sd * rng.standard_normal(middle.shape)
        return Encoded(z, found)


@dataclass(frozen=True, eq=False)
class Codes:
    """The mixture of a network's codes, as a learner by sums over rows."""

    network: VaeNetwork
    weights: Parameters
    mixture: LatentMixture

    @property
    def max_rounds(self) -> int:
        """Most exchanges it takes."""
        return self.mixture.max_rounds

    def initial(self, layout: object, *, rng: object) -> Parameters:
        """The first question."""
        return self.mixture.initial()

    def answer(self, state: Parameters, rows: Rows) -> Parameters:
        """Sums over these rows, whole numbers."""
        return self.mixture.answer(state, *self.codes(self.network.cells.encode(rows)))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half."""
        return self.mixture.advance(start, total)

    def finished(self, state: Parameters) -> bool:
        """Whether the mixture stands still."""
        return self.mixture.finished(state)

    def codes(self, encoded: Encoded) -> tuple[Floats, Floats]:
        """Means and variances of the codes, the same bits for a patient in any company."""
        held = {name: np.asarray(self.weights[name], dtype=np.float64) for name in self.network.names[:4]}
        hidden = integer_layer(self.network.inputs(encoded), held["encoder.weight"], held["encoder.bias"])
        out = integer_layer(np.maximum(hidden, 0.0), held["code.weight"], held["code.bias"])
        q = self.network.n_latent
        return out[:, :q], fp.exp(np.clip(out[:, q:], *LOG_VARIANCE))
