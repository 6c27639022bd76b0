"""`module`: a user's own network travels, is approved by digest, and its batch normalisation merges exactly."""

import hashlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch import nn  # noqa: E402

from cohortium.core.exact import weighted_sum  # noqa: E402
from cohortium.core.parameters import Parameters  # noqa: E402
from cohortium.core.update import Instructions, Update  # noqa: E402
from cohortium.errors import StudyError  # noqa: E402
from cohortium.models.module import Module  # noqa: E402

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parent / "networks.py")
networks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)
rows, images = networks.rows, networks.images


def rng(seed=0):
    return np.random.default_rng(seed)


def plain(layout):
    return nn.Sequential(nn.Linear(len(layout.features), 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1))


def normalised(layout):
    return nn.Sequential(nn.Linear(len(layout.features), 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(6, 1)
        self.frozen.requires_grad_(False)
        self.register_buffer("seen", torch.zeros(1, dtype=torch.int64))

    def forward(self, x):
        return self.frozen(torch.relu(self.second(torch.relu(self.first(x)))))


def no_network():
    return 3


def counting(layout):
    return nn.Sequential(nn.Linear(6, 2), nn.BatchNorm1d(2, momentum=None), nn.Linear(2, 1))


def trained(learner, examples, epochs=20, seed=1):
    start = learner.initial(examples.layout, rng=rng())
    return learner.fit(start, examples, instructions=Instructions(local_epochs=epochs), rng=rng(seed))


@pytest.mark.parametrize("factory", [plain, normalised, Tied])
def test_a_users_network_learns_and_predicts(factory):
    learner, unseen = Module(factory=factory, optimiser="adam", learning_rate=0.01), rows(300, seed=9)
    done = trained(learner, rows(200))
    p = learner.predict(done.parameters, unseen)
    assert p.shape == (300,)
    assert np.mean((p > 0.5) == unseen.y) > 0.8
    assert trained(learner, rows(200)).parameters == done.parameters


def test_an_importable_name_is_the_same_as_the_object():
    learner = Module(factory="torch.nn:Identity")
    with pytest.raises(StudyError, match="another network"):
        learner.fit(Parameters({"w": np.zeros(1)}), rows(3), instructions=Instructions(), rng=rng())
    assert len(learner.initial(rows(3).layout, rng=rng())) == 0


def test_tied_arrays_travel_once_and_frozen_and_integer_ones_not_at_all():
    start = Module(factory=Tied).initial(rows(2).layout, rng=rng())
    assert list(start) == ["first.weight", "first.bias", "second.bias"]


def test_frozen_arrays_are_the_same_at_every_site():
    learner, examples = Module(factory=Tied), rows(10)
    start = learner.initial(examples.layout, rng=rng(0))
    torch.manual_seed(1)
    first = learner.predict(start, examples)
    torch.manual_seed(2)
    assert np.array_equal(first, learner.predict(start, examples))


def test_training_leaves_torchs_own_stream_as_it_was():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    trained(Module(factory=plain), rows(20), 1)
    assert torch.equal(torch.rand(3), wanted)


def test_merged_batch_normalisation_is_that_of_the_pooled_batch():
    """Two sites, one training batch each at momentum 1: running moments are the batch's own."""

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(6, momentum=1.0)
            self.head = nn.Linear(6, 1)

        def forward(self, x):
            return self.head(self.norm(x))

    learner = Module(factory=Norm, batch_size=100)
    sites = {"a": rows(30), "b": replace(rows(70, seed=3), x=rows(70, seed=3).x * 2 + 5)}
    updates = [
        Update(site=s, parameters=trained(learner, one, 1).parameters, weight=len(one)) for s, one in sites.items()
    ]
    whole = weighted_sum(updates)
    mean = whole.total["norm.running_mean"] / whole.weight
    second = whole.total["norm.running_second_moment"] / whole.weight
    pooled = np.concatenate([one.x for one in sites.values()]).astype(np.float32).astype(float)
    np.testing.assert_allclose(mean, pooled.mean(axis=0), rtol=1e-5, atol=1e-5)
    # torch keeps the unbiased variance n/(n-1) v of each batch; the spread between sites is in the second moment
    within = sum(len(s) * s.x.var(axis=0, ddof=1) for s in sites.values()) / 100
    between = sum(len(s) * (s.x.mean(axis=0) - pooled.mean(axis=0)) ** 2 for s in sites.values()) / 100
    np.testing.assert_allclose(second - mean**2, within + between, rtol=1e-4)
    np.testing.assert_allclose(second - mean**2, pooled.var(axis=0), rtol=0.03)


def test_moments_survive_the_journey_and_parts_are_named():
    learner, examples = Module(factory=normalised), rows(60)
    done = trained(learner, examples, 3)
    assert done.parameters["1.running_mean"].dtype == np.float64
    same = learner.fit(done.parameters, examples, instructions=Instructions(max_steps=0), rng=rng())
    np.testing.assert_allclose(same.parameters.vector(), done.parameters.vector(), atol=1e-6)
    parts = learner.parts(done.parameters)
    assert set(parts["norm"]) == {"1.weight", "1.bias", "1.running_mean", "1.running_second_moment"}
    assert set(parts["head"]) == {"3.weight", "3.bias"}


def test_a_last_batch_of_one_row_joins_the_one_before_under_batch_normalisation():
    assert trained(Module(factory=normalised, batch_size=16), rows(33), 1).steps == 2
    assert trained(Module(factory=plain, batch_size=16), rows(33), 1).steps == 3


def test_images_and_other_losses_work():
    learner = Module(factory=lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 1)), learning_rate=0.02)
    p = learner.predict(trained(learner, images(60), 10).parameters, images(60, seed=2))
    assert np.mean((p > 0.5) == images(60, seed=2).y) > 0.9
    squared = Module(factory=plain, loss="squared", learning_rate=0.01)
    found = squared.predict(trained(squared, rows(200)).parameters, rows(50))
    assert np.corrcoef(found, rows(50).y)[0, 1] > 0.6
    hinge = Module(factory=plain, loss=lambda out, y: torch.relu(1 - out[:, 0] * (2 * y - 1)).mean())
    assert trained(hinge, rows(50), 1).loss > 0


def test_a_layer_that_works_in_place_does_not_change_the_rows():
    learner = Module(factory=lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 1)))
    examples = rows(30)
    assert trained(learner, examples, 2).parameters == trained(learner, rows(30), 2).parameters
    assert trained(learner, examples, 2).loss == trained(learner, rows(30), 2).loss


def test_the_digest_is_that_of_the_source_file():
    assert (
        Module(factory="torch.nn.modules.linear:Linear").source_digest
        == hashlib.sha256(Path(torch.nn.modules.linear.__file__).read_bytes()).hexdigest()
    )
    assert len(Module(factory=plain).source_digest) == 64
    with pytest.raises(StudyError, match="cannot be read"):
        _ = Module(factory="math:sqrt").source_digest


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("no_such_package_here:make", "cannot import 'no_such_package_here:make'"),
        ("torch.nn:NoSuchLayer", "cannot import"),
        (no_network, r"no_network must return a torch\.nn\.Module, got int"),
        (counting, "layer '1' of counting keeps a cumulative average, which cannot be merged"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(factory, said):
    with pytest.raises(StudyError, match=said):
        Module(factory=factory).initial(rows(3).layout, rng=rng())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"factory": "just_a_name"}, "factory must look like 'package.file:name'"),
        ({"factory": plain, "loss": "hinge"}, "loss must be 'auto', 'squared' or a callable"),
        ({"factory": plain, "batch_size": 0}, "batch_size"),
        ({"factory": plain, "optimiser": "x"}, "optimiser"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options, said):
    with pytest.raises(ValueError, match=said):
        Module(**options)


def test_plain_sgd_asked_of_another_optimiser_is_refused():
    learner, examples = Module(factory=plain, optimiser="momentum"), rows(5)
    start = learner.initial(examples.layout, rng=rng())
    with pytest.raises(StudyError, match="model 'module' uses momentum"):
        learner.fit(start, examples, instructions=Instructions(plain_sgd=True), rng=rng())
