import numpy as np
import pytest

from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate.divergence import weight_of_site
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.federate.similarity import Similarity
from cohortium.synth.federate.weighting import fit_by_weighted_sums
from cohortium.synth.rows import rows_of_examples

from .conftest import examples_of, run


def test_sums_are_those_of_the_weighted_patients(world, sites):
    strange = sites["c"][0].with_columns({"age": sites["c"][0]["age"] - 20})
    world_of = {**sites, "c": (strange, sites["c"][1])}
    federation = Similarity(plan=FederationPlan())
    state, _ = run(federation, world.generator, world_of)
    portrait = state.under("portrait/model")
    seen = [rows_of_examples(examples_of(rows), world.facts) for rows, _ in world_of.values()]
    parts = [(rows, weight_of_site(portrait, rows)) for rows in seen]
    expected = fit_by_weighted_sums(world.generator, parts, unit=1024)
    found = federation.result(world.generator, state)
    assert found.digest == expected.digest
    assert found.digest != fit_by_sums(world.generator, seen).digest
    assert parts[2][1] < parts[0][1]


def test_a_network_is_averaged_by_weight_and_held_back(tiny, sites):
    federation = Similarity(plan=FederationPlan(rounds=1, proximal=0.1))
    state, _ = run(federation, tiny, sites)
    portrait = state.under("portrait/model")
    n = [round(len(rows) * weight_of_site(portrait, rows) / 1024) for rows, _ in sites.values()]
    means = [float(np.nanmean(rows["age"])) for rows, _ in sites.values()]
    assert float(federation.result(tiny, state)["age"][0]) == pytest.approx(np.average(means, weights=n), rel=1e-6)
    assert {call[2] for call in tiny.calls if call[0] == "train"} == {0.1}
