"""What travels of a model, and what putting it back leaves alone."""

import sys

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.entry.weights import weights_of
from cohortium.errors import UsageError


class Listed:
    """In the manner of Keras."""

    def __init__(self, *arrays):
        self.arrays = list(arrays)

    def get_weights(self):
        return [array.copy() for array in self.arrays]

    def set_weights(self, arrays):
        self.arrays = list(arrays)


def moved(parameters):
    return parameters.map(lambda array: array + np.asarray(1, dtype=array.dtype))


def test_arrays_of_a_dict_are_written_in_place():
    w = np.zeros(3)
    held = weights_of({"w": w})
    held.put(Parameters({"w": np.arange(3.0)}))
    assert w.tolist() == [0.0, 1.0, 2.0]


def test_a_copy_goes_out_so_that_later_training_does_not_change_it():
    w = np.zeros(2)
    gone = weights_of({"w": w}).get()
    w += 5
    assert gone["w"].tolist() == [0.0, 0.0]


def test_integers_and_truth_values_stay_and_half_precision_travels_as_single():
    model = {"w": np.ones(2, dtype=np.float16), "steps": np.array(7), "on": np.array([True]), "bias": 0.5}
    held = weights_of(model)
    assert {name: array.dtype for name, array in held.get().items()} == {"w": np.float32, "bias": np.float64}
    held.put(moved(held.get()))
    assert (model["w"].dtype, model["w"].tolist(), model["bias"]) == (np.float16, [2.0, 2.0], 1.5)
    assert isinstance(model["bias"], float)
    assert int(model["steps"]) == 7


def test_a_read_only_array_is_replaced():
    w = np.zeros(2)
    w.flags.writeable = False
    model = {"w": w}
    held = weights_of(model)
    held.put(moved(held.get()))
    assert model["w"].tolist() == [1.0, 1.0]
    assert w.tolist() == [0.0, 0.0]


def test_a_list_of_arrays_travels_by_place_and_integers_stay_where_they_are():
    model = Listed(np.zeros((2, 2), dtype=np.float32), np.array([3]), np.ones(2))
    held = weights_of(model)
    assert list(held.get()) == ["array_0", "array_2"]
    held.put(moved(held.get()))
    assert [array.tolist() for array in model.arrays] == [[[1.0, 1.0], [1.0, 1.0]], [3], [2.0, 2.0]]
    assert model.arrays[0].dtype == np.float32


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (object(), "cannot share the weights of a object"),
        ({"n": np.array(3)}, "no floating-point weights"),
        ({"w": np.ones(2, dtype=complex)}, "array 'w' has dtype complex128"),
        ({"w": ["a"]}, "array 'w' has dtype <U1"),
        ({"": np.ones(2)}, "array name must be"),
    ],
)
def test_what_is_no_model_is_refused(model, said):
    with pytest.raises(UsageError, match=said):
        weights_of(model)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def network(torch):
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
    )
    net[3].bias.requires_grad_(False)
    return net


def test_a_torch_module_gives_the_weights_of_the_model_module(torch):
    """Known answer: the learner `module` has the same names, values and digest."""
    from cohortium.core.examples import Layout
    from cohortium.models.module import Module

    net = network(torch)
    layout = Layout(features=("a", "b", "c"), outcome="binary", classes=("0", "1"))
    theirs = Module(factory=lambda: net).initial(layout, rng=np.random.default_rng(0))
    assert weights_of(net).get() == theirs


def test_weights_go_back_into_a_torch_module_but_not_into_frozen_ones(torch):
    net, other = network(torch), network(torch)
    frozen = net[3].bias.clone()
    net(torch.randn(8, 3))
    held = weights_of(other)
    held.put(moved(weights_of(net).get()))
    back, sent = held.get(), moved(weights_of(net).get())
    assert all(np.allclose(back[name], sent[name], atol=1e-6) for name in sent)
    assert torch.equal(other[3].bias, frozen)
    assert "3.bias" not in sent


def test_tied_tensors_travel_once_and_half_precision_as_single(torch):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False)).bfloat16()
    net[1].weight = net[0].weight
    held = weights_of(net)
    assert {name: array.dtype for name, array in held.get().items()} == {"0.weight": np.float32}
    held.put(held.get().map(np.ones_like))
    assert net[1].weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert net[0].weight.dtype == torch.bfloat16


def test_a_cumulative_average_cannot_be_merged(torch):
    with pytest.raises(UsageError, match="layer '0' keeps a cumulative average"):
        weights_of(torch.nn.Sequential(torch.nn.BatchNorm1d(2, momentum=None)))


def test_merged_batch_normalisation_is_that_of_the_pooled_batch(torch):
    """Known answer: mean and variance of all rows."""
    first, second = torch.randn(30, 2) + 3, torch.randn(10, 2) - 1
    layer = torch.nn.BatchNorm1d(2, affine=True, momentum=1.0)
    found = []
    for rows in (first, second):
        layer.running_mean.copy_(rows.mean(0))
        layer.running_var.copy_(rows.var(0, unbiased=False))
        found.append(weights_of(layer).get())
    weights_of(layer).put(
        Parameters({n: (30 * found[0][n] + 10 * found[1][n]) / 40 for n in found[0]}).map(
            lambda array: array.astype(array.dtype)
        )
    )
    both = torch.cat([first, second])
    assert torch.allclose(layer.running_mean, both.mean(0), atol=1e-5)
    assert torch.allclose(layer.running_var, both.var(0, unbiased=False), atol=1e-5)


def test_without_torch_loaded_nothing_loads_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    weights_of({"w": np.zeros(1)})
    assert "torch" not in sys.modules
