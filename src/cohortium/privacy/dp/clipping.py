"""The gradient of a batch with every patient's part cut to a norm, in one backward pass where the layers allow it.

    clip_linear        Linear layers. A patient's gradient of a layer is the product of its input and of the slope at
                       its output, so its norm is known without building it (ghost clipping; the book-keeping form of
                       Bu et al. 2023 sums the clipped ones in the same pass).
    clip_rows          linear predictors in numpy: residual times row, the same formula.
    clip_each          anything else whose loss of one patient is a function of its row: per-patient gradients by
                       `torch.func.vmap`, some at a time.

Guarantee: the sum changes by at most `norm` in Euclidean length when one patient is added or taken away. It holds
only where a patient's loss does not depend on the others of the batch: `check_layers` refuses what mixes them. A
patient whose gradient is not finite counts nothing: a sum that fails because of one patient would tell who is there.
Source: Goodfellow 2015, Efficient Per-Example Gradient Computations; Abadi et al. 2016. Design: privacy.md section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import Problem, StudyError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SUPPORTED_LAYERS", "Clipped", "check_layers", "clip_each", "clip_linear", "clip_rows", "is_chain"]

SUPPORTED_LAYERS = (
    "Linear", "Bilinear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "GroupNorm", "LayerNorm",
    "RMSNorm", "PReLU",
)  # fmt: skip
"""Layers with weights of which a patient's own gradient can be taken. Layers without weights are free to use."""

_CHAIN = {
    "Sequential", "Linear", "Flatten", "Identity", "Dropout", "AlphaDropout", "ReLU", "LeakyReLU", "ELU", "SELU",
    "GELU", "SiLU", "Tanh", "Sigmoid", "Softplus", "Hardtanh", "ReLU6", "Mish",
}  # fmt: skip
_CHUNK_NUMBERS = 1 << 24  # numbers of per-patient gradients held at once (64 MiB)

Floats = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Clipped:
    """sums: by array name, the clipped gradients of all patients drawn, added up. n_whole: patients not cut."""

    sums: Mapping[str, NDArray[np.floating]]
    n_whole: int


def clip_linear(
    inputs: Sequence[Tensor], slopes: Sequence[Tensor], *, norm: float
) -> tuple[list[tuple[Tensor, Tensor]], int]:
    """For each Linear layer the sums for weight and bias, and how many patients were not cut.

    inputs: of each layer, (n, inputs). slopes: of the summed loss by each layer's outputs, (n, outputs).
    """
    import torch

    squares = torch.zeros(len(inputs[0]), dtype=inputs[0].dtype)
    for a, g in zip(inputs, slopes, strict=True):
        squares += ((a * a).sum(1) + 1) * (g * g).sum(1)  # + 1 is the bias
    if not bool((finite := squares.isfinite()).all()):
        inputs, slopes, squares = [a[finite] for a in inputs], [g[finite] for g in slopes], squares[finite]
    factors, n_whole = _factors(squares, norm)
    held = [g * factors[:, None] for g in slopes]
    return [(g.T @ a, g.sum(0)) for a, g in zip(inputs, held, strict=True)], n_whole


def clip_rows(rows: Floats, residuals: Floats, *, norm: float) -> tuple[NDArray[np.float64], int]:
    """Sum over patients of their clipped row x residual', (q, k), and how many were not cut.

    rows: (n, q), with a first column of ones for an intercept. residuals: slopes of the loss by predictor, (n, k).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.sqrt((rows * rows).sum(axis=1) * (residuals * residuals).sum(axis=1))
    if not (finite := np.isfinite(length)).all():
        rows, residuals, length = rows[finite], residuals[finite], length[finite]
    factors = np.minimum(1.0, norm / np.maximum(length, np.finfo(np.float64).tiny))
    total: NDArray[np.float64] = rows.T @ (residuals * factors[:, None])
    return total, int(np.count_nonzero(length <= norm))


def clip_each(
    loss: Callable[..., Tensor], weights: Mapping[str, Tensor], patients: Sequence[Tensor], *, norm: float
) -> tuple[dict[str, Tensor], int]:
    """Clipped gradient sums by name. loss(weights, *one patient's values): a number, of that patient alone.

    patients: tensors (n, ...) that are cut along their first axis. Costs a gradient of each patient at a time.
    """
    import torch
    from torch.func import grad, vmap

    held = {name: weight.detach() for name, weight in weights.items()}
    total = {name: torch.zeros_like(weight) for name, weight in held.items()}
    n, n_whole = len(patients[0]), 0
    size = sum(weight.numel() for weight in held.values())
    step = max(1, _CHUNK_NUMBERS // max(1, size))
    each = vmap(grad(loss), in_dims=(None, *(0 for _ in patients)), randomness="different")
    for at in range(0, n, step):
        found = each(held, *(one[at : at + step] for one in patients))
        squares = sum((g.reshape(len(g), -1) ** 2).sum(1) for g in found.values())
        if not bool((finite := squares.isfinite()).all()):
            found, squares = {name: g[finite] for name, g in found.items()}, squares[finite]
        factors, whole = _factors(squares, norm)
        n_whole += whole
        for name, gradient in found.items():
            total[name] += (factors @ gradient.reshape(len(factors), -1)).reshape(total[name].shape)
    return total, n_whole


def _factors(squares: Tensor, norm: float) -> tuple[Tensor, int]:
    length = squares.sqrt()
    return (norm / length.clamp(min=1e-30)).clamp(max=1.0), int((length <= norm).sum())


def is_chain(network: Any) -> bool:
    """Whether a torch module is a plain row of Linear layers and activations, so that no patient meets another.

    Every Linear layer has a bias, learns as a whole and is used once; nothing works in place.
    """
    layers = list(network.modules())
    used = [layer for _, layer in network.named_modules(remove_duplicate=False)]
    linear = [layer for layer in layers if type(layer).__name__ == "Linear"]
    return (
        type(network).__name__ == "Sequential"
        and len(layers) == len(used)
        and all(type(one).__name__ in _CHAIN and type(one).__module__.startswith("torch.nn.") for one in layers)
        and all(one.bias is not None and all(w.requires_grad for w in one.parameters()) for one in linear)
        and not any(getattr(one, "inplace", False) for one in layers)
    )


def check_layers(network: Any, *, called: str) -> None:
    """Raise StudyError for layers of a torch module whose gradient is not a sum over patients, or that are unknown."""
    wrong = sorted({type(layer).__name__ for layer in network.modules() if _holds_weights(layer) and not _known(layer)})
    mixing = sorted({type(layer).__name__ for layer in network.modules() if _mixes(layer)})
    if mixing:
        message = f"{called} has {', '.join(mixing)}, which looks at all patients of a batch at once, so clipping"
        raise StudyError([Problem("privacy.dp", f"{message} bounds nothing; use GroupNorm or LayerNorm")])
    if wrong:
        message = f"{called} has {', '.join(wrong)}, whose gradient cannot be clipped patient by patient"
        raise StudyError([Problem("privacy.dp", f"{message}; layers that can: {', '.join(SUPPORTED_LAYERS)}")])


def _holds_weights(layer: Any) -> bool:
    return any(True for _ in layer.parameters(recurse=False))


def _known(layer: Any) -> bool:
    name = type(layer).__name__
    return name in SUPPORTED_LAYERS and type(layer).__module__.startswith("torch.nn.")


def _mixes(layer: Any) -> bool:
    """Batch normalisation in all its forms, and instance normalisation that keeps statistics."""
    return "BatchNorm" in type(layer).__name__ or getattr(layer, "running_var", None) is not None
