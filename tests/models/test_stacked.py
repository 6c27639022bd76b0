"""Stacked training: the same as one site after the other, whatever the sizes, and untouched by padding."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import importlib.util  # noqa: E402
from pathlib import Path  # noqa: E402

from cohortium.core.parameters import Parameters  # noqa: E402
from cohortium.core.update import Instructions  # noqa: E402
from cohortium.models.mlp import MLP  # noqa: E402
from cohortium.models.stacked import Block, _Stack, n_steps, pages  # noqa: E402
from cohortium.models.torch_training import rows_of  # noqa: E402

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parent / "networks.py")
networks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)
rows = networks.rows

EVEN, UNEVEN = (40, 40, 40, 40), (190, 7, 1, 33, 5, 64, 1, 12)


def both(learner, sizes, instructions, outcome="binary", **more):
    sites = [rows(n, outcome=outcome, seed=at) for at, n in enumerate(sizes)]
    start = learner.initial(sites[0].layout, rng=np.random.default_rng(4))
    asked = instructions if isinstance(instructions, list) else [instructions] * len(sites)
    one_by_one = [
        learner.fit(start, site, instructions=one, rng=np.random.default_rng(at))
        for at, (site, one) in enumerate(zip(sites, asked, strict=True))
    ]
    together = learner.fit_many(
        [start] * len(sites), sites, instructions=asked, rngs=[np.random.default_rng(at) for at in range(len(sites))]
    )
    return one_by_one, together


def assert_alike(one_by_one, together, tolerance=1e-5):
    for single, stacked in zip(one_by_one, together, strict=True):
        assert (single.steps, single.n_samples, single.learning_rate) == (
            stacked.steps, stacked.n_samples, stacked.learning_rate,
        )  # fmt: skip
        assert stacked.loss == pytest.approx(single.loss, rel=1e-5)
        a, b = single.parameters.vector(), stacked.parameters.vector()
        assert single.parameters.like(stacked.parameters)
        assert np.abs(a - b).max() <= tolerance * np.abs(a).max()


@pytest.mark.parametrize("sizes", [EVEN, UNEVEN, (1, 1, 1)], ids=["even", "uneven", "one-record"])
@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adam"])
def test_stacked_equals_one_after_the_other(sizes, optimiser):
    learner = MLP(optimiser=optimiser, learning_rate=0.05 if optimiser == "sgd" else 0.005, batch_size=8)
    assert_alike(*both(learner, sizes, Instructions()))


@pytest.mark.parametrize("outcome", ["binary", "classes", "number"])
def test_every_outcome_is_learned_alike(outcome):
    assert_alike(*both(MLP(learning_rate=0.02), UNEVEN, Instructions(local_epochs=2), outcome))


@pytest.mark.parametrize("layers", [(), (5,), (16, 8, 4)])
def test_every_depth_is_learned_alike(layers):
    assert_alike(*both(MLP(layers=layers), UNEVEN, Instructions()))


def test_dropout_is_drawn_alike():
    assert_alike(*both(MLP(dropout=0.4), UNEVEN, Instructions(local_epochs=2)))


def test_decay_and_proximal_term_and_corrections_are_obeyed_alike():
    learner = MLP(l2=0.05)
    start = learner.initial(rows(3).layout, rng=np.random.default_rng(4))
    rng = np.random.default_rng(0)
    away = start.map(lambda a: a + 1)
    asked = [
        Instructions(
            proximal=0.3,
            anchor=away if at % 2 else None,
            plain_sgd=True,
            correction=start.map(lambda a: rng.normal(size=a.shape).astype(np.float32)),
            learning_rate_factor=0.5,
            max_steps=at,
        )
        for at in range(len(UNEVEN))
    ]
    assert_alike(*both(learner, UNEVEN, asked))


def test_what_cannot_be_stacked_is_trained_one_after_the_other():
    asked = [Instructions(frozen=("layers.0.weight",))] * 3 + [Instructions(learning_rate_factor=0.1)] * 5
    one_by_one, together = both(MLP(), UNEVEN, asked)
    for single, other in zip(one_by_one, together, strict=True):
        assert single.parameters == other.parameters


def test_sites_may_start_from_different_models():
    learner, sites = MLP(batch_size=8), [rows(n, seed=n) for n in (20, 9, 31)]
    starts = [learner.initial(sites[0].layout, rng=np.random.default_rng(at)) for at in range(3)]
    together = learner.fit_many(
        starts, sites, instructions=[Instructions()] * 3, rngs=[np.random.default_rng(at) for at in range(3)]
    )
    alone = [
        learner.fit(start, site, instructions=Instructions(), rng=np.random.default_rng(at))
        for at, (start, site) in enumerate(zip(starts, sites, strict=True))
    ]
    assert_alike(alone, together)


def stack(spare, **options):
    learner = MLP(batch_size=16, **options)
    sites = sorted((rows(n, seed=n) for n in UNEVEN), key=lambda one: -n_steps(len(one), 16, Instructions()))
    start = learner.initial(sites[0].layout, rng=np.random.default_rng(4))
    made = _Stack(
        shape=learner.shape(sites[0].layout),
        starts=[start] * len(sites),
        rows=[rows_of(one) for one in sites],
        instructions=[Instructions()] * len(sites),
        plan=learner.plan,
        batch_sizes=[16] * len(sites),
        rngs=[np.random.default_rng(at) for at in range(len(sites))],
        spare=spare,
    )
    made.train()
    return [made.weights.site(learner.shape(sites[0].layout), at).digest for at in range(len(sites))]


@pytest.mark.parametrize("options", [{}, {"optimiser": "adam"}, {"dropout": 0.3}], ids=str)
def test_garbage_in_the_padding_changes_no_bit(options):
    assert stack(0.0, **options) == stack(1e4, **options) == stack(-3.7, **options)


def test_a_stack_repeats_bit_for_bit():
    assert stack(0.0) == stack(0.0)


def test_no_step_is_wasted_on_sites_that_are_done():
    sizes = [190, 64, 33, 12, 7, 5, 1, 1]
    orders = [np.random.default_rng(at) for at in range(len(sizes))]
    made = pages(sizes, [5] * 8, [Instructions()] * 8, orders)
    slots = sum(made.active(step) for step in range(len(made.index))) * 5
    assert [made.active(step) for step in range(3)] == [8, 5, 4]
    assert slots < sum(sizes) + 8 * 5


def test_every_row_is_taken_once_a_pass_and_padding_is_marked():
    sizes = [20, 9, 3]
    made = pages(sizes, [8, 8, 8], [Instructions(local_epochs=2)] * 3, [np.random.default_rng(at) for at in range(3)])
    taken = [made.index[t, s, : made.n_rows[t, s]] for t in range(6) for s in range(3)]
    rows_taken = np.bincount(np.concatenate(taken), minlength=32)
    assert rows_taken.tolist() == [2] * 32
    for t in range(len(made.index)):
        for s in range(3):
            assert (made.index[t, s, made.n_rows[t, s] :] == made.spare).all()


def test_a_block_keeps_sites_apart():
    learner = MLP(layers=(4,))
    shape = learner.shape(rows(2).layout)
    sites = [learner.initial(rows(2).layout, rng=np.random.default_rng(at)) for at in range(3)]
    block = Block(shape, 3).fill(shape, sites)
    assert [block.site(shape, at) for at in range(3)] == sites
    assert len(block.prefix(3)) == 1
    assert [list(view.shape) for view in block.prefix(2)] == [[2, 4, 6], [2, 4], [2, 1, 4], [2, 1]]
    assert all(view.is_contiguous() for view in block.prefix(2))
    assert isinstance(block.site(shape, 0), Parameters)
