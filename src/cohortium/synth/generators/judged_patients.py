"""Noisy steps of `ctgan`: patients move the critic alone, and only by how real each of them looks to it.

A patient stands before the critic with a question about a variable of its own, drawn evenly; no frequency is looked
at. The gradient of the judgement is known by its length without being built, for the critic is three Linear layers.
Invented patients with questions as frequent as the noisy tables say are cut in the same way, so that a generator that
is right leaves the critic at rest. The penalty on the critic's slope stands between two invented patients, the
generator hears of the critic alone: neither needs anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.models.patient_gradients import Weights, nothing, shared_tensors
from cohortium.models.torch_training import one_thread, tensor
from cohortium.privacy.dp.clipping import Clipped, clip_linear
from cohortium.synth.generators.critic import Critic
from cohortium.synth.generators.gan_cells import Modal
from cohortium.synth.generators.gan_conditions import asked_as_they_are, asked_of
from cohortium.synth.generators.gan_network import GanNetwork

__all__ = ["JudgedPatients"]

N_INVENTED = 500
"""Invented patients of a step."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class JudgedPatients:
    """modal: the site's rows; the critic judges one at a time."""

    network: GanNetwork
    critic: Critic
    modal: Modal

    @property
    def names(self) -> Sequence[str]:
        """The critic's arrays."""
        return self.critic.names

    def clipped(self, weights: Weights, chosen: Integers, *, norm: float, chance: np.random.Generator) -> Clipped:
        """Sums of the gradient of minus the judgement of these patients."""
        critic = {name: weights[name] for name in self.names}
        if not len(chosen):
            return nothing(critic)
        import torch

        network, modal = self.network, Modal(self.modal.places[chosen], self.modal.codes[chosen])
        asked = asked_of(modal.codes, network.cells.named_margins, chance)
        shown = np.hstack([network.real(modal), network.question(asked, len(chosen))])
        with one_thread(), torch.no_grad():
            inputs, slopes = self.critic.passed(shared_tensors(critic), torch.from_numpy(shown), -1.0, chance)
            sums, n_whole = clip_linear(inputs, slopes, norm=norm)
        flat = [one for pair in sums for one in pair]
        return Clipped(sums={n: s.numpy() for n, s in zip(self.names, flat, strict=True)}, n_whole=n_whole)

    def public(self, weights: Weights, *, norm: float, chance: np.random.Generator) -> dict[str, NDArray[np.floating]]:
        """Of the critic by invented patients and its penalty, and of the generator by the critic."""
        import torch

        network, n = self.network, N_INVENTED
        with one_thread():
            held = {name: tensor(weights[name]) for name in (*self.names, *network.names)}
            made = {name: held[name].requires_grad_() for name in network.names}
            asked = asked_as_they_are(network.cells.named_margins, n, chance)
            question = torch.from_numpy(network.question(asked, n))
            drawn = torch.from_numpy(chance.standard_normal((n, network.n_noise), dtype=np.float32))
            soft = network.soft(made, torch.cat([drawn, question], dim=1), chance)
            with torch.no_grad():
                fake = torch.cat([soft.data, question], dim=1)
                sums, _ = clip_linear(*self.critic.passed(held, fake, 1.0, chance), norm=norm)
                share = torch.from_numpy(chance.random((n, 1), dtype=np.float32))
                _, slopes = self.critic.penalty(held, share * fake + (1 - share) * fake.flip(0), chance)
                _, towards = self.critic.towards_real(held, fake, chance)
            total = (soft.data * towards[:, : network.width]).sum()
            total = total if asked is None else total + network.miss(soft, asked)
            of_maker = torch.autograd.grad(total, list(made.values()))
        judged = [one / n for pair in sums for one in pair]
        of_critic = [one + more for one, more in zip(judged, slopes, strict=True)]
        found = zip((*self.names, *made), (*of_critic, *of_maker), strict=True)
        return {name: gradient.numpy() for name, gradient in found}
