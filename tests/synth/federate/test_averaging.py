import numpy as np
import pytest

from cohortium.synth.federate.averaging import Averaging, Laps
from cohortium.synth.federate.plan import FederationPlan

from .conftest import TinyNetwork, run


def test_one_round_is_the_mean_of_the_sites_by_patients(tiny, sites):
    federation = Averaging(plan=FederationPlan(rounds=1))
    state, _ = run(federation, tiny, sites)
    n = [len(rows) for rows, _ in sites.values()]
    means = [float(np.nanmean(rows["age"])) for rows, _ in sites.values()]
    found = federation.result(tiny, state)
    assert float(found["age"][0]) == pytest.approx(np.average(means, weights=n), rel=1e-6)
    assert found["closing/n"].tolist() == [sum(n)]


def test_rounds_share_the_budget_warm_up_once_and_keep_moments_at_the_site(tiny, sites):
    _, memories = run(Averaging(plan=FederationPlan(rounds=4)), tiny, sites)
    trained = [call for call in tiny.calls if call[0] == "train"]
    assert [call for call in tiny.calls if call[0] == "warm"] == [("warm", 1.0, 0.0, 0)]
    assert {call[1] for call in trained} == {0.25}
    assert [call[3] for call in trained] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert all(int(memory["weights/moments/n"][0]) == 4 for memory in memories.values())


def test_without_a_closing_the_weights_are_the_last_stage(world, sites):
    network = TinyNetwork(facts=world.facts, closes=False)
    federation = Averaging(plan=FederationPlan(rounds=1))
    assert [stage.name for stage in federation.stages(network)] == ["foundation", "weights"]
    state, _ = run(federation, network, sites)
    assert list(federation.result(network, state)) == ["age"]


def test_in_laps_one_site_trains_a_round_and_the_last_has_the_last_word(tiny, sites):
    federation = Laps(plan=FederationPlan(rounds=1), n_sites=3)
    state, _ = run(federation, tiny, sites)
    assert len([call for call in tiny.calls if call[0] == "train"]) == 3
    age = float(federation.result(tiny, state)["age"][0])
    means = [float(np.nanmean(rows["age"])) for rows, _ in sites.values()]
    assert min(abs(age - mean) for mean in means) < 1e-4
