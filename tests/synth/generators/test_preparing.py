"""The first two exchanges: what sites tell of columns, and the tables that are published."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.preparing import (
    after_histograms,
    after_ranges,
    check_counts,
    coding_of,
    histograms,
    ranges,
)
from cohortium.synth.rows import Rows


def _two_exchanges(world, parts):
    def total(answers):
        return Parameters({name: np.add.reduce([a[name] for a in answers]) for name in answers[0]})

    state = after_ranges(world.facts, total([ranges(world.facts, part) for part in parts]))
    counts = total([histograms(world.facts, state, part) for part in parts])
    return after_histograms(world.facts, state, counts, min_cell=10)


def test_two_halves_publish_what_the_whole_publishes(world):
    half = np.arange(len(world.training)) % 2 == 0
    whole = _two_exchanges(world, [world.training])
    assert _two_exchanges(world, [world.training.take(half), world.training.take(~half)]) == whole


def test_no_published_cell_is_small(world):
    state = _two_exchanges(world, [world.training])
    counts = [array for name, array in state.items() if name.endswith("/counts")]
    assert len(counts) == 5 + 3  # age, blasts, hb, ferritin, ecog; time as a whole and by end
    assert all(((array == 0) | (array >= 10)).all() for array in counts)


def test_gaps_are_modelled_where_there_are_some(world):
    coding = coding_of(world.facts, _two_exchanges(world, [world.training]))
    assert coding.gaps["ferritin"]
    assert not coding.gaps["age"]
    assert coding.middle["TP53"] == pytest.approx(0)


def test_totals_that_no_patients_give_fail_the_merge_not_the_sites_next_answer(world):
    """One lying site is enough, under masks too: the next `histograms` of every honest site would have failed."""
    told = ranges(world.facts, world.training)
    check_counts(told)
    for lie in (-told["coarse"], told["coarse"] + (1 << 50)):
        with pytest.raises(ValueError, match="no counts of patients"):
            after_ranges(world.facts, told | Parameters({"coarse": lie}))
    state = after_ranges(world.facts, told)
    counts = histograms(world.facts, state, world.training)
    with pytest.raises(ValueError, match="no counts of patients"):
        after_histograms(world.facts, state, Parameters({n: -a for n, a in counts.items()}), min_cell=10)


def test_what_lies_beside_a_spike_is_not_heaped_onto_it():
    """30 % are exactly 10, the others even from 5 to 15 in tenths: as many are drawn as 10, and as whole numbers."""
    rng = np.random.default_rng(0)
    x = np.where(rng.random(3000) < 0.3, 10.0, np.round(rng.uniform(5, 15, 3000), 1))
    rows = Rows(Facts(columns=(Fact(name="x", kind="numeric"),)), {"x": x})
    learner = BayesianNetwork(facts=rows.facts)
    drawn = learner.sample(fit_by_sums(learner, [rows]), 3000, rng=rng)["x"]
    assert (drawn == 10).mean() == pytest.approx((x == 10).mean(), abs=0.025)
    assert (drawn == np.rint(drawn)).mean() == pytest.approx((x == np.rint(x)).mean(), abs=0.03)
