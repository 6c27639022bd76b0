import numpy as np
import pytest

from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.validation.by_sums import compare
from cohortium.synth.validation.census import Census, on_the_grid
from cohortium.synth.validation.curves import log_rank_p, restricted_mean
from cohortium.synth.validation.fidelity import clinical_parts, edges_and_tau, genomic_parts


def parts_of(rows, *cuts):
    return [rows.take(one) for one in np.split(np.arange(len(rows)), cuts)]


@pytest.mark.parametrize("against", ["training", "reserve"])
def test_scores_from_sums_are_those_of_the_pooled_rows(world, against):
    """c1, c2, c4, g1 to g5, log-rank and restricted means to 1e-9, three hospitals and one with a single patient."""
    census = Census(facts=world.facts)
    real = fit_by_sums(census, parts_of(world.training, 500, 501, 800))
    own = census.like(real)
    out = fit_by_sums(own, parts_of(world.reserve, 100, 101)) if against == "reserve" else real
    found = compare(world.facts, real, out, fit_by_sums(own, [world.synthetic]))
    pooled = {
        name: on_the_grid(world.facts, real, getattr(world, name)) for name in ("training", "reserve", "synthetic")
    }
    edges, tau = edges_and_tau(pooled["training"])
    expected = {**clinical_parts(pooled[against], pooled["synthetic"], edges=edges, tau=tau, seed=0),
                **genomic_parts(pooled[against], pooled["synthetic"])}  # fmt: skip
    followed = [(pooled[name]["os_years"], pooled[name]["died"]) for name in (against, "synthetic")]
    expected["log-rank p"] = log_rank_p(*followed)
    width = float(real["grid/os_years"][1])
    means = [restricted_mean(*one, tau)[0] * width for one in followed]
    expected["mean survival"] = means[1] - means[0]
    assert set(found) == set(expected) - {"indistinguishability"}
    for name, value in found.items():
        assert value == pytest.approx(expected[name], abs=1e-9), name


def test_the_grid_costs_next_to_nothing(world):
    census = Census(facts=world.facts)
    real = fit_by_sums(census, [world.training])
    found = compare(world.facts, real, real, fit_by_sums(census.like(real), [world.synthetic]))
    edges, tau = edges_and_tau(world.training)
    raw = {**clinical_parts(world.training, world.synthetic, edges=edges, tau=tau, seed=0),
           **genomic_parts(world.training, world.synthetic)}  # fmt: skip
    for name in set(found) & set(raw):
        assert found[name] == pytest.approx(raw[name], abs=0.01), name


def test_a_planted_difference_is_seen(world):
    census = Census(facts=world.facts)
    real = fit_by_sums(census, [world.training])
    apart = world.synthetic.with_columns({"TP53": 1.0 - world.synthetic["TP53"]})
    scores = [compare(world.facts, real, real, fit_by_sums(census.like(real), [rows]))["frequency"]
              for rows in (world.synthetic, apart)]  # fmt: skip
    assert scores[1] < scores[0] - 0.2
