import numpy as np
import pytest

from cohortium.errors import DataError
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.federate.references import Central, Isolated, fit_alone


def test_central_is_the_pooled_fit_and_isolated_one_per_site(world, sites):
    rows = {site: training for site, (training, _) in sites.items()}
    rng = np.random.default_rng(0)
    central = Central(plan=FederationPlan()).fits(world.generator, rows, rng=rng)
    assert central["central"].digest == fit_by_sums(world.generator, list(rows.values())).digest
    alone = Isolated(plan=FederationPlan()).fits(world.generator, rows, rng=rng)
    assert list(alone) == ["isolated:a", "isolated:b", "isolated:c"]
    assert alone["isolated:a"].digest == fit_by_sums(world.generator, [rows["a"]]).digest


def test_sites_too_small_to_learn_alone_are_left_out(world, sites):
    few = {"tiny": sites["c"][0].take(np.arange(5))}
    with pytest.raises(DataError, match="no site has 30 rows"):
        Isolated(plan=FederationPlan()).fits(world.generator, few, rng=np.random.default_rng(0))


def test_a_network_alone_has_the_whole_budget(tiny, sites):
    state = fit_alone(tiny, sites["a"][0], rng=np.random.default_rng(0))
    assert tiny.calls[-1][:2] == ("train", 1.0)
    assert float(state["age"][0]) == pytest.approx(float(np.nanmean(sites["a"][0]["age"])), rel=1e-6)
