import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.synth.federate.local import MOST_RECEIVED, fit_with_received, least_of, none_too_large, train_further


def test_received_rows_count_half(world, sites):
    own, other = sites["a"][0], sites["b"][0]
    rng = np.random.default_rng(0)
    assert int(fit_with_received(world.generator, own, other, rng)["n"][0]) == len(own) + len(other) // 2
    assert int(fit_with_received(world.generator, own, None, rng)["n"][0]) == len(own)


def test_rows_of_a_site_that_claims_very_many_do_not_drown_own_patients(world, sites):
    """Four received rows count for each own one, at half weight."""
    own = sites["c"][0]
    flood = world.training.take(np.arange(20 * len(own)) % len(world.training))
    found = fit_with_received(world.generator, own, flood, np.random.default_rng(0))
    assert int(found["n"][0]) == len(own) + MOST_RECEIVED * len(own) // 2


def test_a_network_goes_on_where_it_stopped_and_closes_on_its_own_rows(tiny, sites):
    own, other = sites["c"][0], sites["a"][0]
    rng = np.random.default_rng(0)
    state, memory = train_further(tiny, Parameters(), own, None, effort=0.5, rng=rng)
    mean = float(np.nanmean(own["age"]))
    assert float(state["age"][0]) == pytest.approx(50 + 0.5 * (mean - 50), rel=1e-6)
    state, _ = train_further(tiny, memory, own, other, effort=0.5, rng=rng)
    assert state["closing/n"].tolist() == [len(own)]
    assert tiny.calls == [("warm", 1.0, 0.0, 0), ("train", 0.5, 0.0, 0), ("train", 0.5, 0.0, 1)]


def test_received_rows_are_capped(world):
    assert len(least_of(world.training, 10, np.random.default_rng(0))) == 10
    assert least_of(world.training, 10_000, np.random.default_rng(0)) is world.training


def test_no_shared_table_is_more_than_so_many_times_the_others(world):
    def rows(n):
        return world.training.take(np.arange(n) % len(world.training))

    honest = {0: rows(300), 1: rows(100), 2: rows(60)}
    assert [len(one) for one in none_too_large(honest)] == [300, 100, 60]
    liar = {**honest, 3: rows(9000)}
    assert [len(one) for one in none_too_large(liar)] == [300, 100, 60, MOST_RECEIVED * 100]
    assert [len(one) for one in none_too_large({5: rows(70)})] == [70]
    again = dict(reversed(liar.items()))
    assert [len(one) for one in none_too_large(again)] == [300, 100, 60, 400]
