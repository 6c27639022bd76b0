"""Clipped gradient sums against a loop over patients, for every path; what cannot be clipped is refused by name."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'cohortium[torch]'")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from cohortium.errors import StudyError  # noqa: E402
from cohortium.privacy.dp.clipping import SUPPORTED_LAYERS, check_layers, clip_each, clip_linear, clip_rows, is_chain  # noqa: E402


def looped(loss, weights, patients, norm):
    """One backward pass for each patient."""
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    n_whole = 0
    for one in zip(*patients, strict=True):
        leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
        found = torch.autograd.grad(loss(leaves, *one), list(leaves.values()))
        length = torch.sqrt(sum((g**2).sum() for g in found))
        n_whole += bool(length <= norm)
        for name, g in zip(leaves, found, strict=True):
            total[name] += g * min(1.0, norm / float(length))
    return total, n_whole


def perceptron(weights, x, y):
    hidden = torch.relu(functional.linear(x, weights["a"], weights["b"]))
    out = functional.linear(hidden, weights["c"], weights["d"])
    return functional.binary_cross_entropy_with_logits(out[..., 0], y)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    sizes = {"a": (7, 5), "b": (7,), "c": (1, 7), "d": (1,)}
    weights = {name: torch.randn(size, dtype=torch.float64) for name, size in sizes.items()}
    return weights, torch.randn(40, 5, dtype=torch.float64) * 3, (torch.rand(40) < 0.5).double()


@pytest.mark.parametrize("norm", [0.1, 1.0, 3.0, 1e6])
def test_linear_layers_in_one_pass_equal_a_loop_over_patients(batch, norm):
    weights, x, y = batch
    z = functional.linear(x, weights["a"], weights["b"]).requires_grad_()
    hidden = torch.relu(z)
    out = functional.linear(hidden, weights["c"], weights["d"])
    loss = functional.binary_cross_entropy_with_logits(out[:, 0], y, reduction="sum")
    slopes = torch.autograd.grad(loss, (z, out))
    sums, n_whole = clip_linear([x, hidden.detach()], slopes, norm=norm)
    expected, whole = looped(perceptron, weights, (x, y), norm)
    assert n_whole == whole
    for found, name in zip([one for pair in sums for one in pair], expected, strict=True):
        assert torch.allclose(found, expected[name], rtol=0, atol=1e-12)


def test_vmap_equals_a_loop_over_patients_for_convolutions(batch):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).double()
    weights = {name: w.detach() for name, w in net.named_parameters()}
    x, y = torch.randn(23, 1, 6, 6, dtype=torch.float64), torch.randint(0, 2, (23,))

    def loss(w, one, label):
        return functional.cross_entropy(torch.func.functional_call(net, w, (one[None],)), label[None])

    found, n_whole = clip_each(loss, weights, (x, y), norm=0.7)
    expected, whole = looped(loss, weights, (x, y), 0.7)
    assert n_whole == whole
    assert all(torch.allclose(found[name], expected[name], rtol=0, atol=1e-12) for name in weights)


def test_vmap_in_pieces_equals_vmap_at_once(batch, monkeypatch):
    weights, x, y = batch
    whole, _ = clip_each(perceptron, weights, (x, y), norm=1.0)
    monkeypatch.setattr("cohortium.privacy.dp.clipping._CHUNK_NUMBERS", 7 * sum(w.numel() for w in weights.values()))
    pieces, _ = clip_each(perceptron, weights, (x, y), norm=1.0)
    assert all(torch.allclose(whole[name], pieces[name], rtol=0, atol=1e-12) for name in weights)


def test_rows_and_residuals_equal_a_loop_over_patients():
    rng = np.random.default_rng(0)
    x, r = np.column_stack([np.ones(50), rng.normal(size=(50, 4))]), rng.normal(size=(50, 3))
    total, n_whole = clip_rows(x, r, norm=1.0)
    each = [np.outer(a, b) for a, b in zip(x, r, strict=True)]
    lengths = [np.linalg.norm(g) for g in each]
    expected = sum(g * min(1.0, 1.0 / length) for g, length in zip(each, lengths, strict=True))
    assert np.allclose(total, expected, rtol=0, atol=1e-12)
    assert n_whole == sum(length <= 1.0 for length in lengths)
    assert clip_rows(x[:0], r[:0], norm=1.0)[0].tolist() == np.zeros((5, 3)).tolist()


def test_one_patient_more_moves_the_sum_by_at_most_the_norm(batch):
    weights, x, y = batch
    with_all, _ = clip_each(perceptron, weights, (x, y), norm=0.5)
    for left_out in range(5):
        kept = [at for at in range(len(x)) if at != left_out]
        without, _ = clip_each(perceptron, weights, (x[kept], y[kept]), norm=0.5)
        moved = torch.sqrt(sum(((with_all[n] - without[n]) ** 2).sum() for n in weights))
        assert float(moved) <= 0.5 + 1e-12


def test_a_chain_is_told_from_what_may_mix_patients():
    class Mixing(nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    assert is_chain(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Dropout(0.1), nn.Sequential(nn.Linear(2, 1))))
    assert not is_chain(nn.Sequential(nn.Linear(3, 2), Mixing()))
    assert not is_chain(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)))
    assert not is_chain(nn.Linear(3, 2))


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(3), nn.InstanceNorm1d(3, affine=True, track_running_stats=True)])
def test_normalisation_over_the_batch_is_refused_by_name(layer):
    with pytest.raises(StudyError, match=rf"my net has {type(layer).__name__}, which looks at all patients"):
        check_layers(nn.Sequential(nn.Linear(3, 3), layer), called="my net")


def test_unknown_layers_are_refused_with_the_list_of_those_that_can():
    with pytest.raises(StudyError) as refused:
        check_layers(nn.Sequential(nn.Embedding(10, 3), nn.LSTM(3, 2)), called="my net")
    assert "Embedding, LSTM" in str(refused.value)
    assert all(name in str(refused.value) for name in SUPPORTED_LAYERS)
    check_layers(nn.Sequential(nn.Conv1d(1, 2, 3), nn.LayerNorm(4), nn.Linear(4, 1)), called="my net")


@pytest.mark.filterwarnings("ignore::")
def test_linear_layers_equal_the_ghost_clipping_of_opacus():
    """A development test: pip install 'opacus==1.6.0'. Never its hooks mode, which is another method."""
    pytest.importorskip("opacus", reason="opacus is not installed; it is a check for developers only")
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    torch.manual_seed(2)
    x, y, norm = torch.randn(64, 30, dtype=torch.float64), (torch.rand(64) < 0.5).double(), 0.8
    net = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 1))
    net = net.double()
    layers, acts, outs = [layer for layer in net if isinstance(layer, nn.Linear)], [], []
    a = x
    for at, layer in enumerate(layers):
        acts.append(a.detach())
        outs.append(functional.linear(a, layer.weight.detach(), layer.bias.detach()).requires_grad_())
        a = torch.relu(outs[-1]) if at < len(layers) - 1 else outs[-1]
    loss = functional.binary_cross_entropy_with_logits(a[:, 0], y, reduction="sum")
    ours, n_whole = clip_linear(acts, torch.autograd.grad(loss, outs), norm=norm)
    assert 0 < n_whole < len(x)

    theirs = GradSampleModuleFastGradientClipping(
        net, batch_first=True, loss_reduction="sum", max_grad_norm=norm, use_ghost_clipping=True
    )
    optimiser = DPOptimizerFastGradientClipping(
        torch.optim.SGD(theirs.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=norm,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    criterion = DPLossFastGradientClipping(
        theirs, optimiser, nn.BCEWithLogitsLoss(reduction="sum"), loss_reduction="sum"
    )
    before = [weight.detach().clone() for weight in net.parameters()]
    criterion(theirs(x)[:, 0], y).backward()
    optimiser.step()
    moved = [old - weight.detach() for old, weight in zip(before, net.parameters(), strict=True)]
    for found, expected in zip([one for pair in ours for one in pair], moved, strict=True):
        assert float((found - expected).norm()) < 1e-6 * norm * len(x)  # it divides by the length plus 1e-6


def test_a_patient_whose_gradient_is_not_finite_counts_nothing(batch):
    weights, x, y = batch
    sound, few = clip_each(perceptron, weights, (x, y), norm=0.7)
    for wrong in (float("inf"), float("nan"), 1e200):
        more_x, more_y = torch.cat([x, torch.full((1, 5), wrong, dtype=x.dtype)]), torch.cat([y, y[:1]])
        found, n_whole = clip_each(perceptron, weights, (more_x, more_y), norm=0.7)
        assert all(one.isfinite().all() for one in found.values())
        if wrong != 1e200:  # which may pass a perceptron unharmed
            assert n_whole == few
            assert all(torch.allclose(found[name], total) for name, total in sound.items())
        ((weight, bias),), _ = clip_linear([more_x], [torch.ones(41, 2, dtype=x.dtype)], norm=0.7)
        ((expected, _),), _ = clip_linear([x], [torch.ones(40, 2, dtype=x.dtype)], norm=0.7)
        assert torch.allclose(weight, expected)
        assert bias.isfinite().all()
        total, _ = clip_rows(more_x.numpy(), np.ones((41, 2)), norm=0.7)
        assert np.allclose(total, clip_rows(x.numpy(), np.ones((40, 2)), norm=0.7)[0])
