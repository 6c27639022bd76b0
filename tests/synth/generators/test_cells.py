import numpy as np
import pytest

from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.cells import Cells, Encoded, placed
from cohortium.synth.rows import Rows


@pytest.fixture(scope="module")
def cells(world):
    return Cells.of(world.generator, world.state)


def test_what_was_measured_comes_back_where_tables_are_fine(world, cells):
    encoded = cells.encode(world.training)
    back = cells.decode(encoded, np.random.default_rng(0))
    for fact in world.facts.columns:
        real, again = world.training[fact.name], back[fact.name]
        if fact.is_number:
            there = ~np.isnan(real) & ~np.isnan(again)
            assert np.corrcoef(real[there], again[there])[0, 1] > 0.9, fact.name
        else:
            known = ~np.isnan(real)
            np.testing.assert_array_equal(real[known], again[known])


def test_gaps_that_are_modelled_are_a_level_and_stay_gaps(world, cells):
    encoded = cells.encode(world.training)
    back = cells.decode(encoded, np.random.default_rng(0))
    assert cells.coding.gaps["ferritin"]
    np.testing.assert_array_equal(np.isnan(world.training["ferritin"]), np.isnan(back["ferritin"]))
    at = cells.rest[[c.name for c in cells.coding.numbers].index("ferritin")]
    assert (encoded.codes[np.isnan(world.training["ferritin"]), at] == cells.missing[at]).all()


def test_times_are_those_of_the_dead_and_of_the_living(world, cells):
    encoded = cells.encode(world.training)
    shuffled = np.random.default_rng(1).permutation(len(encoded))
    z = encoded.z.copy()
    z[:, -1] = np.random.default_rng(2).normal(size=len(z))  # a network that learned nothing of time
    back = cells.decode(Encoded(z[shuffled], encoded.codes[shuffled]), np.random.default_rng(0))
    for ended in (0, 1):
        real = world.training["os_years"][world.training["died"] == ended]
        made = back["os_years"][back["died"] == ended]
        assert np.median(made) == pytest.approx(np.median(real), rel=0.1)


def test_margins_are_the_published_frequencies(world, cells):
    for at, fact in enumerate(cells.coding.named):
        known = world.training[fact.name][~np.isnan(world.training[fact.name])]
        assert cells.margins[at][1] == pytest.approx((known == 1).sum() / len(world.training), abs=0.002)
    assert cells.margins[-1][1] == pytest.approx(world.training["died"].mean(), abs=0.002)


def test_few_gaps_are_unknown_not_a_level(world, cells):
    columns = {name: world.training[name].copy() for name in world.facts.names}
    columns["TP53"][:3] = np.nan
    encoded = cells.encode(Rows(world.facts, columns))
    at = [c.name for c in cells.coding.named].index("TP53")
    assert (encoded.codes[:3, at] == -1).all()
    assert (encoded.codes[3:, at] >= 0).all()


def test_a_score_alone_has_its_quantile_and_a_gap_stays(world, cells):
    table = cells.coding.tables["hb"]
    found = placed(np.array([0.0, np.nan, 1.2815515655446004]), table, np.random.default_rng(0))
    real = world.training["hb"]
    assert found[0] == pytest.approx(np.nanmedian(real), abs=0.3)
    assert np.isnan(found[1])
    assert found[2] == pytest.approx(np.nanquantile(real, 0.9), abs=0.3)


def test_a_number_of_spikes_alone_never_has_a_score():
    """0 or 1, half and half: no spike is the rest, the first one neither. Another number has 0 or a score."""
    rng = np.random.default_rng(3)
    facts = Facts(columns=(Fact(name="k", kind="numeric"), Fact(name="v", kind="numeric")))
    values = np.where(rng.random(400) < 0.3, 0.0, np.round(rng.normal(50, 9, 400), 1))
    rows = Rows(facts, {"k": (rng.random(400) < 0.5).astype(float), "v": values})
    learner = BayesianNetwork(facts=facts)
    cells = Cells.of(learner, fit_by_sums(learner, [rows]))
    scored = cells.scored(cells.encode(rows).codes)
    assert not scored[:, 0].any()
    np.testing.assert_array_equal(scored[:, 1], values != 0)
