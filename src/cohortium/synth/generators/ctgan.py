"""Generator `ctgan`: a conditional GAN for tables, own code after Xu et al. 2019.

    generator = Ctgan(facts=facts)
    state = fit_network(generator, [rows], rng=rng)

Numbers as modes, of the published histograms or by EM over patients, questions by log frequency, WGAN with gradient
penalty, cross-entropy on what was asked. The budget is in steps, not in passes: a site of few patients trains as long
as a large one, and longer the more patients all sites have. Each step uses the same invented patients for critic and
generator. Two departures from the paper, both measured (docs/adr/0018): patients are judged one at a time, and the
critic learns four times as fast as the generator.
New patients: questions by true frequency, levels drawn with logits moved to the published frequencies, values laid on
the published tables. Design: synthetic-data.md 5.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.errors import DataError, UsageError
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.torch_training import one_thread, require_torch, tensor
from cohortium.synth.facts import Facts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.calibration import drawn_codes, moved_flags, moved_levels
from cohortium.synth.generators.critic import Critic
from cohortium.synth.generators.gan_cells import GanCells, Modal
from cohortium.synth.generators.gan_conditions import Conditions, Lists, asked_as_they_are
from cohortium.synth.generators.gan_network import GanNetwork
from cohortium.synth.generators.judged_patients import JudgedPatients
from cohortium.synth.generators.marginal_dp import MarginalDP
from cohortium.synth.generators.modal_foundation import ModalFoundation
from cohortium.synth.generators.network_training import Budget, Descent, Trained
from cohortium.synth.rows import Rows

__all__ = ["PATIENTS", "Ctgan"]

PATIENTS = 1200
"""So many at all sites together, or fewer, are learned in `steps`; more take more."""
_LONGEST = 10.0
LEAST_DRAWN = 4000
_DECAY = 1e-6


@dataclass(frozen=True, kw_only=True)
class Ctgan:
    """facts: the columns. steps: of the whole run, for up to 1,200 patients; warm_steps: on rows of the foundation.

    batch: patients a step, a multiple of pac; pac: patients judged at once; dropout: of the critic. modes: of numbers,
    from the published histograms or by up to 30 exchanges of EM over patients; the rest: widths. Under [privacy.dp]:
    private_warm_steps on rows of the noisy foundation, then private_steps, at rates of their own.
    """

    facts: Facts
    min_cell: int = 10
    steps: int = 2500
    warm_steps: int = 500
    batch: int = 100
    pac: int = 1
    noise: int = 128
    hidden: int = 256
    critic_hidden: int = 128
    dropout: float = 0.0
    learning_rate: float = 5e-4
    critic_rate: float = 2e-3
    modes: Literal["histogram", "em"] = "histogram"
    private_warm_steps: int = 5000
    private_steps: int = 20
    private_rate: float = 5e-4
    private_critic_rate: float = 2e-3

    learns_by: ClassVar[Literal["weights"]] = "weights"
    reads_columns: ClassVar[bool] = False
    closes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, least, most in (("steps", 1, 1_000_000), ("warm_steps", 0, 1_000_000), ("batch", 1, 10_000),
                                  ("pac", 1, 100), ("noise", 1, 1024), ("hidden", 1, 4096),
                                  ("critic_hidden", 1, 4096),
                                  ("private_steps", 1, 100_000), ("private_warm_steps", 1, 1_000_000)):  # fmt: skip
            value = getattr(self, name)
            if not (isinstance(value, int) and least <= value <= most):
                raise ValueError(f"{name} must be a whole number from {least} to {most}, got {value!r}")
        if self.batch % self.pac:
            raise ValueError(f"batch must be a multiple of pac ({self.pac}), got {self.batch}")
        for name in ("learning_rate", "critic_rate", "private_rate", "private_critic_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        if self.modes not in ("histogram", "em"):
            raise ValueError(f"modes must be 'histogram' or 'em', got {self.modes!r}")

    # --- stages ------------------------------------------------------------------------------------------------

    def foundation(self) -> BayesianNetwork | ModalFoundation:
        """What the sites learn first, by exact sums."""
        network = BayesianNetwork(facts=self.facts, min_cell=self.min_cell)
        return network if self.modes == "histogram" else ModalFoundation(inner=network)

    def begin(self, foundation: Parameters, *, rng: np.random.Generator) -> Parameters:
        """First weights of generator and critic."""
        require_torch()
        network = self._network(foundation)
        return network.initial(rng) | self._critic(network).initial(rng)

    def budget(self, foundation: Parameters) -> Budget:
        """In steps: those of the study, up to ten times as many in proportion to the patients of all sites together."""
        longer = min(max(1.0, float(foundation["n"][0]) / PATIENTS), _LONGEST)
        return Budget(whole=round(self.steps * longer), warm=self.warm_steps, private_warm=self.private_warm_steps)

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
        """Training on a site's rows. budget: steps; proximal: mu of FedProx; moments: kept ones."""
        require_torch()
        import torch

        if len(rows) == 0:
            raise DataError("no patient to learn from")
        network = self._network(foundation)
        critic, cells = self._critic(network), network.cells
        plans = _plans(self.critic_rate, self.learning_rate)
        choice, noise = rng.spawn(2)
        modal = cells.encode(rows, choice)
        named = modal.codes[:, : len(cells.named)]
        n = int(foundation["n"][0])
        conditions = Conditions.of([one * n for one in cells.named_margins], codes=named)
        lists = Lists.of(named, n_levels=max(cells.sizes, default=1)) if len(cells.named) else None
        losses: list[float] = []
        with one_thread():
            real = tensor(network.real(modal))
            judge = Descent(
                plans["critic."], weights, critic.names, moments=moments, label="critic.", proximal=proximal
            )
            maker = Descent(
                plans["generator."], weights, network.names, moments=moments, label="generator.", proximal=proximal,
                decay=_DECAY,
            )  # fmt: skip
            for _ in range(budget):
                asked = conditions.draw(self.batch, choice)
                fitting = choice.integers(0, len(rows), self.batch) if asked is None or lists is None else (
                    lists.fitting(asked, choice))  # fmt: skip
                question = torch.from_numpy(network.question(asked, self.batch))
                drawn = torch.from_numpy(noise.standard_normal((self.batch, self.noise), dtype=np.float32))
                soft = network.soft(maker.tensors, torch.cat([drawn, question], dim=1), noise)
                with torch.no_grad():
                    fake = torch.cat([soft.data, question], dim=1)
                    true = torch.cat([real[torch.from_numpy(fitting)], question], dim=1)
                    loss, gradients = critic.gradients(judge.tensors, true, fake, noise)
                    judge.apply(gradients)
                    _, towards = critic.towards_real(judge.tensors, fake, noise)
                total = (soft.data * towards[:, : network.width]).sum()
                maker.step(total if asked is None else total + network.miss(soft, asked))
                losses.append(loss)
        last = losses[-max(1, budget // 10) :]
        return Trained(
            weights=weights | judge.weights() | maker.weights(),
            loss=float(np.mean(last)),
            steps=budget,
            moments=judge.moments() | maker.moments(),
        )

    def closing(self, weights: Parameters, foundation: Parameters) -> None:
        """Nothing is left to learn."""

    def assembled(self, foundation: Parameters, weights: Parameters, closing: Parameters) -> Parameters:
        """The finished state: the critic stays behind."""
        kept = {name: array for name, array in weights.items() if name.startswith("generator.")}
        parts = (foundation.prefixed("foundation"), Parameters(kept).prefixed("network"))
        return Parameters({name: array for part in parts for name, array in part.items()})

    def finished(self, state: Parameters) -> bool:
        """Whether patients can be drawn."""
        return "network/generator.out.weight" in state

    # --- under noise -------------------------------------------------------------------------------------------

    def private_foundation(self) -> MarginalDP:
        """What a private run learns first, by noisy sums. Raises ValueError where a number has no agreed range."""
        if self.pac != 1:
            raise ValueError(f"pac = {self.pac} judges patients together, so clipping bounds nothing; set pac = 1")
        return MarginalDP(facts=self.facts, min_cell=self.min_cell)

    @property
    def private_plans(self) -> Mapping[str, OptimiserPlan]:
        """How a noisy step is taken, by the beginning of array names."""
        return _plans(self.private_critic_rate, self.private_rate)

    def patients(self, foundation: Parameters, rows: Rows, *, rng: np.random.Generator) -> JudgedPatients:
        """Rows as what a noisy step needs of them. rng: draws the modes."""
        network = self._network(foundation)
        return JudgedPatients(network, self._critic(network), network.cells.encode(rows, rng))

    # --- patients ----------------------------------------------------------------------------------------------

    def sample(self, state: Parameters, n: int, *, rng: np.random.Generator) -> Rows:
        """n new patients; gaps as in the data. Raises UsageError before the fit is finished."""
        require_torch()
        if not self.finished(state):
            raise UsageError("this generator is not finished; fit it to the end before sampling")
        network = self._network(state.under("foundation"))
        cells, heads, n_drawn = network.cells, network.heads, max(n, LEAST_DRAWN)
        asked = asked_as_they_are(cells.named_margins, n_drawn, rng)
        noise = rng.standard_normal((n_drawn, self.noise))
        with one_thread():
            inputs = np.hstack([noise, network.question(asked, n_drawn)])
            places, flags, levels = network.drawn_logits(state.under("network"), inputs)
        flags = moved_flags(flags, np.array([cells.margins[at][1] for at in heads.flags]))
        levels = moved_levels(levels, [cells.margins[at] for at in heads.blocks])
        codes = np.zeros((n_drawn, len(cells.sizes)), dtype=np.int64)
        codes[:, heads.flags], codes[:, heads.blocks] = drawn_codes(flags, levels, rng)
        return cells.decode(Modal(places, codes), rng).take(np.arange(n))

    # --- within ------------------------------------------------------------------------------------------------

    def _network(self, foundation: Parameters) -> GanNetwork:
        return GanNetwork(GanCells.of(self.foundation(), foundation), self.noise, self.hidden)

    def _critic(self, network: GanNetwork) -> Critic:
        return Critic(network.width + network.asked_width, self.critic_hidden, self.pac, self.dropout)


def _plans(critic_rate: float, rate: float) -> dict[str, OptimiserPlan]:
    return {label: OptimiserPlan(name="adam", learning_rate=one, beta_1=0.5, beta_2=0.9)
            for label, one in (("critic.", critic_rate), ("generator.", rate))}  # fmt: skip
