"""`module`: any `torch.nn.Module` of the user's, named in the study as `package.file:factory` or given as an object.

The factory is called with the layout if it takes an argument, else with none, and returns the network: logits for
`binary` and `classes`, means for `number`, unless the study names another loss. The study records `source_digest`, and
each site approves that digest before the code runs.

What travels: trainable parameters, tied ones once; of batch normalisation the running mean and second moment v + m^2
in float64, whose average over patients is exact (the merged variance is second - mean^2). Frozen parameters, other
buffers and integers stay: every site builds them alike from one fixed seed. Refused, with a sentence: batch
normalisation by cumulative average, whose counter cannot be merged by sums.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import Problem, StudyError
from cohortium.models.module_gradients import ChainGradients, ModuleGradients
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.patient_gradients import PatientGradients
from cohortium.models.private_training import fit_privately
from cohortium.models.torch_training import (
    check_batch,
    check_outcome,
    fitted,
    in_pieces,
    no_sums,
    predictions,
    refuse_adaptive,
    require_torch,
    row_losses,
    rows_of,
    train,
)
from cohortium.privacy.dp.clipping import check_layers, is_chain

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Module"]

_NAME = "module"
_TARGET = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_FIXED_SEED = 1

Loss = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True, kw_only=True)
class Module:
    """A network of the user's.

    factory: `package.file:name`, or a callable. loss: `auto` (by the outcome), `squared`, or a callable of
    (outputs, outcomes) that returns the mean loss of the batch.
    """

    factory: str | Callable[..., Any]
    loss: str | Loss = "auto"
    batch_size: int = 32
    learning_rate: float = 0.05
    optimiser: str = "sgd"
    momentum: float = 0.9

    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        if isinstance(self.factory, str) and not _TARGET.match(self.factory):
            raise ValueError(f"factory must look like 'package.file:name', got {self.factory!r}")
        if isinstance(self.loss, str) and self.loss not in ("auto", "squared"):
            raise ValueError(f"loss must be 'auto', 'squared' or a callable, got {self.loss!r}")
        check_batch(self.batch_size)
        _ = self.plan

    @cached_property
    def plan(self) -> OptimiserPlan:
        """The optimiser."""
        return OptimiserPlan(name=self.optimiser, learning_rate=self.learning_rate, momentum=self.momentum)

    @cached_property
    def source_digest(self) -> str:
        """SHA-256 of the source file the factory comes from, in hexadecimal. Raises StudyError without a source."""
        made = self._made()
        try:
            source = inspect.getsource(inspect.getmodule(made) or made)
        except (OSError, TypeError):
            message = f"the source of {self._called} cannot be read, so no site could approve it; put it into a file"
            raise StudyError([Problem("model.factory", message)]) from None
        return hashlib.sha256(source.encode()).hexdigest()

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """What the factory makes, under a seed from the stream."""
        check_outcome(_NAME, layout, "binary", "classes", "number")
        return _export(self._build(layout, seed=int(rng.integers(0, 2**62))))

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """One local training, in training mode; torch's own stream is seeded from `rng` and put back afterwards."""
        refuse_adaptive(_NAME, self.plan, instructions)
        check_outcome(_NAME, examples.layout, "binary", "classes", "number")
        built = self._build(examples.layout)
        _load(built, start)
        rows = rows_of(examples)
        if instructions.private is not None:
            gradients = self.patient_gradients(examples.layout)
            return fit_privately(gradients, start, examples, instructions=instructions, rng=rng)
        network = _Wrapped(built, self._loss(examples.layout))
        with _seeded(int(rng.integers(0, 2**62))):
            steps, loss = train(
                network,
                rows,
                start=start,
                instructions=instructions,
                plan=self.plan,
                batch_size=self.batch_size,
                rng=rng,
                least_batch=2 if _normalisations(built) else 1,
            )
        return fitted(_export(built), rows, self.plan, instructions, steps=steps, loss=loss)

    def patient_gradients(self, layout: Layout) -> PatientGradients:
        """Clipped gradients: in one pass for a plain row of Linear layers, else one patient's at a time.

        Raises StudyError for layers that look at several patients at once, and for unknown ones.
        """
        check_outcome(_NAME, layout, "binary", "classes", "number")
        built = self._build(layout)
        check_layers(built, called=self._called)
        outcome = "number" if self.loss == "squared" else layout.outcome
        flat = layout.image is None or type(next(iter(built.children()), None)).__name__ == "Flatten"
        if isinstance(self.loss, str) and flat and is_chain(built):
            return ChainGradients(built=built, plan=self.plan, outcome=outcome)
        return ModuleGradients(built=built, plan=self.plan, loss=self._loss(layout))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Not by sums."""
        raise no_sums(_NAME)

    def finished(self, parameters: Parameters) -> bool:
        """Never: the strategy's rounds decide."""
        return False

    def predict(self, parameters: Parameters, examples: Examples) -> NDArray[np.float64]:
        """P(1), class probabilities or means, in evaluation mode."""
        built = self._build(examples.layout)
        _load(built, parameters)
        built.eval()
        outcome = "number" if self.loss == "squared" else examples.layout.outcome
        return predictions(outcome, in_pieces(lambda x: _columns(built(x)), examples.x))

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """Layers with running statistics, and the last layer by name."""
        stems = {name.rpartition(".")[0] for name in parameters if name.endswith(".running_second_moment")}
        norm = tuple(name for name in parameters if name.rpartition(".")[0] in stems)
        last = next((name.rpartition(".")[0] for name in reversed(tuple(parameters)) if name not in norm), "")
        return {"norm": norm, "head": tuple(name for name in parameters if name.rpartition(".")[0] == last)}

    @property
    def _called(self) -> str:
        return self.factory if isinstance(self.factory, str) else getattr(self.factory, "__name__", "the factory")

    def _made(self) -> Callable[..., Any]:
        """The factory itself. Raises StudyError where it cannot be imported."""
        if not isinstance(self.factory, str):
            return self.factory
        module, _, name = self.factory.partition(":")
        try:
            made: Callable[..., Any] = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise StudyError([Problem("model.factory", f"cannot import '{self.factory}': {error}")]) from None
        return made

    def _build(self, layout: Layout, *, seed: int = _FIXED_SEED) -> torch.nn.Module:
        require_torch()
        import torch

        made = self._made()
        with _seeded(seed):
            built = made(layout) if inspect.signature(made).parameters else made()
        if not isinstance(built, torch.nn.Module):
            message = f"{self._called} must return a torch.nn.Module, got {type(built).__name__}"
            raise StudyError([Problem("model.factory", message)])
        for name, layer in _normalisations(built):
            if layer.momentum is None:
                message = (
                    f"layer '{name}' of {self._called} keeps a cumulative average, which cannot be merged;"
                    " give it a momentum, or use GroupNorm"
                )
                raise StudyError([Problem("model.factory", message)])
        return built

    def _loss(self, layout: Layout) -> Loss:
        if not isinstance(self.loss, str):
            return self.loss
        outcome = "number" if self.loss == "squared" else layout.outcome
        return lambda outputs, y: row_losses(outcome, _columns(outputs), y).mean()


class _Wrapped:
    """A module being trained (see `Network`)."""

    def __init__(self, built: torch.nn.Module, loss: Loss) -> None:
        self._built, self._loss = built, loss
        self.trainable: Mapping[str, Tensor] = dict(_trainable(built))
        self.decay: Mapping[str, float] = {}

    def loss(self, x: Tensor, y: Tensor, noise: np.random.Generator | None) -> Tensor:
        """The module's mean loss of the batch."""
        self._built.train(noise is not None)
        return self._loss(self._built(x.clone()), y)  # a layer may work in place; the rows are asked again


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's own stream from a seed; as it was before, afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _columns(outputs: Tensor) -> Tensor:
    """Outputs as (n, k), float32."""
    return outputs.reshape(len(outputs), -1).float()


def _trainable(built: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Parameters with a gradient; a tied one under its first name only."""
    return ((name, held) for name, held in built.named_parameters() if held.requires_grad)


def _normalisations(built: torch.nn.Module) -> list[tuple[str, Any]]:
    """Layers with running statistics."""
    layers = ((name, layer) for name, layer in built.named_modules())
    return [(name, layer) for name, layer in layers if getattr(layer, "running_var", None) is not None]


def _export(built: torch.nn.Module) -> Parameters:
    """What travels."""
    arrays: dict[str, NDArray[Any]] = {name: held.detach().numpy() for name, held in _trainable(built)}
    for name, layer in _normalisations(built):
        mean = layer.running_mean.double().numpy()
        arrays[f"{name}.running_mean"] = mean
        arrays[f"{name}.running_second_moment"] = layer.running_var.double().numpy() + mean**2
    return Parameters(arrays)


def _load(built: torch.nn.Module, parameters: Parameters) -> None:
    """Put what travelled into the module. Raises StudyError when it is another network's."""
    import torch

    expected = _export(built)
    if not expected.like(parameters):
        message = f"the parameters are those of another network: {parameters!r:.200} instead of {expected!r:.200}"
        raise StudyError([Problem("model.factory", message)])
    with torch.no_grad():
        for name, held in _trainable(built):
            held.copy_(torch.from_numpy(np.array(parameters[name])))
        for name, layer in _normalisations(built):
            mean = np.array(parameters[f"{name}.running_mean"])
            variance = np.maximum(parameters[f"{name}.running_second_moment"] - mean**2, 0.0)
            layer.running_mean.copy_(torch.from_numpy(mean))
            layer.running_var.copy_(torch.from_numpy(variance))
