"""What of a user's model travels, and how merged weights are put back into it.

    held = weights_of(model)      # torch module | dict of arrays | object with get_weights and set_weights
    held.get()                    # Parameters
    held.put(merged)              # into the very model, in place where it can be

Floating-point arrays travel, half precision as float32; integers, truth values and frozen tensors stay. Of a torch
module the names and values are those of the model `module`: trainable parameters, tied ones once, and of batch
normalisation the running mean and the second moment in float64, whose average over patients is exact.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.errors import UsageError

__all__ = ["Weights", "weights_of"]

_MEAN, _SECOND = "running_mean", "running_second_moment"


class Weights(Protocol):
    """The travelling part of one model."""

    def get(self) -> Parameters:
        """A copy of the weights as they are now."""
        ...

    def put(self, parameters: Parameters) -> None:
        """Put weights of the same layout into the model."""
        ...


def weights_of(model: object) -> Weights:
    """How to read and write this model's weights. Raises UsageError for something else, or one without weights."""
    held = _adapter(model)
    if not len(held.get()):
        raise UsageError(f"the {type(model).__name__} holds no floating-point weights to share")
    return held


def _adapter(model: Any) -> Weights:
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return _Module(model, torch)
    if isinstance(model, MutableMapping):
        return _Arrays(model)
    if callable(getattr(model, "get_weights", None)) and callable(getattr(model, "set_weights", None)):
        return _Lists(model)
    raise UsageError(
        f"cannot share the weights of a {type(model).__name__}; give a torch.nn.Module, a dict of arrays,"
        " or an object with get_weights and set_weights"
    )


class _Arrays:
    """A dict of arrays by name; numpy arrays are written in place, so names bound to them stay valid."""

    def __init__(self, model: MutableMapping[str, Any]) -> None:
        self._model = model

    def get(self) -> Parameters:
        return _parameters(dict(self._model))

    def put(self, parameters: Parameters) -> None:
        for name, value in parameters.items():
            held = self._model[name]
            if isinstance(held, np.ndarray) and held.flags.writeable:
                held[...] = value
            elif isinstance(held, float | np.floating):
                self._model[name] = type(held)(value)
            else:
                self._model[name] = np.array(value, dtype=np.asarray(held).dtype)


class _Lists:
    """An object that gives and takes a list of arrays (as Keras models do), called array_0, array_1 and so on."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def get(self) -> Parameters:
        return _parameters({f"array_{at}": array for at, array in enumerate(self._model.get_weights())})

    def put(self, parameters: Parameters) -> None:
        now: Sequence[Any] = self._model.get_weights()
        after = [
            np.array(parameters[f"array_{at}"], dtype=np.asarray(array).dtype) if f"array_{at}" in parameters else array
            for at, array in enumerate(now)
        ]
        self._model.set_weights(after)


class _Module:
    """A torch module on any device."""

    def __init__(self, module: Any, torch: Any) -> None:
        self._module, self._torch = module, torch
        for name, layer in self._normalisations():
            if layer.momentum is None:
                raise UsageError(
                    f"layer '{name}' keeps a cumulative average, which cannot be merged; give it a momentum, or use"
                    " GroupNorm"
                )

    def get(self) -> Parameters:
        arrays = {name: _array(held.detach().float() if held.element_size() < 4 else held.detach())
                  for name, held in self._trainable()}  # fmt: skip
        for name, layer in self._normalisations():
            mean = _array(layer.running_mean.double())
            arrays[f"{name}.{_MEAN}"] = mean
            arrays[f"{name}.{_SECOND}"] = _array(layer.running_var.double()) + mean**2
        return Parameters(arrays)

    def put(self, parameters: Parameters) -> None:
        with self._torch.no_grad():
            for name, held in self._trainable():
                held.copy_(self._tensor(parameters[name]))
            for name, layer in self._normalisations():
                mean, second = parameters[f"{name}.{_MEAN}"], parameters[f"{name}.{_SECOND}"]
                layer.running_mean.copy_(self._tensor(mean))
                layer.running_var.copy_(self._tensor(np.maximum(np.subtract(second, np.square(mean)), 0.0)))

    def _trainable(self) -> Iterator[tuple[str, Any]]:
        held = self._module.named_parameters()  # a tied parameter comes once, under its first name
        return ((name, one) for name, one in held if one.requires_grad and one.is_floating_point())

    def _normalisations(self) -> list[tuple[str, Any]]:
        layers = self._module.named_modules()
        return [(name, layer) for name, layer in layers if getattr(layer, "running_var", None) is not None]

    def _tensor(self, array: NDArray[Any]) -> Any:
        return self._torch.from_numpy(np.array(array))


def _array(tensor: Any) -> NDArray[Any]:
    return np.asarray(tensor.cpu().numpy())


def _parameters(values: Mapping[str, object]) -> Parameters:
    """The floating-point arrays among them."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in values.items():
        array = np.asarray(value)
        if array.dtype == np.float16:
            array = array.astype(np.float32)
        if array.dtype in (np.float32, np.float64):
            arrays[name] = array
        elif array.dtype.kind not in "iub":
            raise UsageError(f"array {name!r} has dtype {array.dtype}; weights are float64, float32 or float16")
    try:
        return Parameters(arrays)
    except ValueError as error:
        raise UsageError(str(error)) from None
