"""The gate against the consortium: wrong units and reversed labels are warned of, sound and different sites are not."""

import numpy as np
import pytest

from cohortium.assembly import build_program
from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study_text import study_of
from cohortium.core.update import Aggregate, Instructions, Update
from cohortium.errors import PeerError
from cohortium.quality.gate_consortium import STAGE, ConsortiumGate, compared

GATE = ConsortiumGate()
NAMES = ("glucose", "crp", "age", "albumin")
LAYOUT = Layout(features=NAMES, outcome="binary", classes=("0", "1"))
UNITS = {"glucose": "mmol/L"}
JOINERS = tuple(f"site-{at}" for at in range(8))
RNG = np.random.default_rng(0)
STUDY = study_of(
    {"study": {"name": "s", "outcome": "y"}, "model": {"name": "logistic"}, "quality": {"gate": "consortium"}}
)


def site(seed, *, n=60, shift=0.0, layout=LAYOUT):
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 2).astype(float)
    x = rng.normal(size=(n, 4)) * [0.8, 4.0, 9.0, 4.0] + [5.6, 12.0, 61.0 + shift, 40.0]
    return Examples(layout=layout, x=np.abs(x + np.outer(y, [0.8, 6.0, 8.0, -4.0])), y=y)


def times(one, column, factor):
    x = one.x.copy()
    x[:, NAMES.index(column)] *= factor
    return Examples(layout=one.layout, x=x, y=one.y)


def turned(one):
    return Examples(layout=one.layout, x=one.x, y=1 - one.y)


def fitted(one):
    start = GATE.initial(one.layout, rng=RNG)
    return GATE.fit(start, one, instructions=Instructions(), rng=RNG).parameters


def state_of(sites):
    sums = [fitted(one) for one in sites]
    total = Parameters({name: sum(one[name] for one in sums) for name in sums[0]})
    return GATE.advance(GATE.initial(sites[0].layout, rng=RNG), total).prefixed(f"{STAGE}/model")


def warned(sites):
    """(place, id, sentence) of every warning at these sites."""
    program = build_program(STUDY, sites[0].layout, sites=JOINERS, chance=Chance(0))
    state = state_of(sites)
    found = {at: compared(program, state, one, units=UNITS) for at, one in enumerate(sites)}
    return [(at, one.id, one.found) for at, checks in found.items() for one in checks if one.level == "warn"]


def test_a_site_with_glucose_in_mg_per_dl_is_warned_with_the_likely_unit_and_no_other_is():
    sites = [site(seed) for seed in range(8)]
    sites[3] = times(sites[3], "glucose", 18.0)
    ((at, name, found),) = warned(sites)
    assert (at, name) == (3, "units")
    assert found.startswith("column 'glucose': looks like mg/dL (median 1")


def test_a_site_with_reversed_labels_is_warned_and_no_other_is():
    sites = [turned(site(seed)) if seed == 5 else site(seed) for seed in range(8)]
    ((at, name, found),) = warned(sites)
    assert (at, name) == (5, "polarity")
    assert found.endswith("columns go with the outcome here as they go against it elsewhere")


def test_sound_sites_and_a_ward_of_the_elderly_are_not_warned():
    assert warned([site(seed) for seed in range(8)]) == []
    assert warned([site(seed, shift=25.0 if seed < 2 else 0.0) for seed in range(8)]) == []


def test_the_largest_site_does_not_set_the_unit_of_all():
    sites = [times(site(0, n=5000), "crp", 10.0), *(site(seed, n=40) for seed in range(1, 5))]
    assert [(at, name) for at, name, _ in warned(sites)] == [(0, "units")]


def test_a_site_tells_one_bin_a_column_and_signs_and_of_few_values_no_bin():
    told = fitted(site(0))
    assert told["medians"].sum(axis=0).tolist() == [1, 1, 1, 1]
    assert set(told) == {"medians", "plus", "minus"}
    assert fitted(site(0, n=9))["medians"].sum() == 0
    assert fitted(site(0, n=9))["plus"].sum() > 0


def test_a_small_site_that_tells_nothing_is_still_compared():
    sites = [*(site(seed) for seed in range(6)), times(site(7, n=9), "glucose", 18.0)]
    assert [(at, name) for at, name, _ in warned(sites)] == [(6, "units")]


def test_the_middle_median_is_found_to_a_sixteenth_of_an_octave():
    sites = [times(site(seed, n=400), "crp", factor) for seed, factor in enumerate((0.5, 1.0, 1.0, 1.1, 7.0))]
    program, state = build_program(STUDY, LAYOUT, sites=JOINERS, chance=Chance(0)), state_of(sites)
    assert state[f"{STAGE}/model/sites"].tolist() == [5, 5, 5, 5]
    middle = 2.0 ** (-20 + (state[f"{STAGE}/model/bin"][1] + 0.5) / 8)
    exact = sorted(float(np.median(one.x[:, 1])) for one in sites)[2]
    assert abs(np.log2(middle / exact)) <= 1 / 16 + 1e-12
    assert compared(program, program.start(), sites[0]) == []


@pytest.mark.parametrize("layout", [
    Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 4, 4)),
    Layout(features=tuple(f"g{at}" for at in range(1001)), outcome="binary", classes=("0", "1")),
])  # fmt: skip
def test_images_and_very_wide_tables_are_asked_nothing(layout):
    x = np.ones((20, *(layout.image or (1001,))))
    one = Examples(layout=layout, x=x, y=np.arange(20.0) % 2)
    assert all(array.size == 0 for name, array in fitted(one).items())
    program = build_program(STUDY, layout, sites=JOINERS, chance=Chance(0)) if layout.image is None else None
    if program is not None:
        (check,) = compared(program, state_of([one] * 4), one)
        assert check.level == "skipped"


def test_two_sites_are_too_few_to_compare_units():
    sites = [site(0), times(site(1), "glucose", 18.0)]
    program = build_program(STUDY, LAYOUT, sites=JOINERS, chance=Chance(0))
    assert [one.level for one in compared(program, state_of(sites), sites[1])] == ["skipped", "skipped"]


def merged(sites, *, masked=False, **lie):
    """What comes of a first exchange in which site-0 tells `lie` beside its own sums."""
    program = build_program(STUDY, LAYOUT, sites=JOINERS, chance=Chance(0))
    told = [fitted(one) for one in sites]
    told[0] = Parameters({name: array + lie.get(name, 0) for name, array in told[0].items()})
    updates = [Update(site=name, parameters=one, weight=1) for name, one in zip(JOINERS, told, strict=True)]
    if not masked:
        return program, program.merge(program.start(), updates)
    total = Parameters({name: sum(one[name] for one in told) for name in told[0]})
    return program, program.merge(program.start(), Aggregate(total=total, weight=8, contributors=JOINERS))


def far(n):
    """n votes for a median of 18 times the usual glucose."""
    lie = np.zeros((400, 4), dtype=np.int64)
    lie[216, 0] = n
    return lie


LIES = [
    {"medians": far(1)}, {"medians": far(1_000)}, {"medians": far(-1)}, {"medians": far(1 << 62)},
    {"plus": 1}, {"minus": 9}, {"plus": -1}, {"minus": 1 << 40},
]  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_site_with_several_votes_is_refused_by_name_where_answers_lie_open(lie):
    sites = [site(seed) for seed in range(8)]
    merged(sites)
    with pytest.raises(PeerError, match="update of site 'site-0': a site tells one median and one sign") as wrong:
        merged(sites, **lie)
    assert wrong.value.site == "site-0"


@pytest.mark.parametrize("lie", LIES)
def test_under_masks_several_votes_of_one_site_warn_nobody_and_other_columns_are_compared(lie):
    sites = [*(site(seed) for seed in range(7)), times(site(7), "crp", 10.0)]
    program, state = merged(sites, masked=True, **lie)
    found = [(at, one.found) for at, mine in enumerate(sites)
             for one in compared(program, state, mine) if one.level == "warn"]  # fmt: skip
    assert [at for at, _ in found] == [7]
    assert found[0][1].startswith("column 'crp'")


def test_the_state_that_travels_with_the_model_holds_no_bin_of_fewer_than_three_sites():
    sites = [times(site(seed), "crp", 1.0 if seed < 2 else -1.0) for seed in range(8)]
    state = state_of(sites)
    assert state[f"{STAGE}/model/sites"].tolist() == [8, 2, 8, 8]
    assert (state[f"{STAGE}/model/bin"] > 0).tolist() == [True, False, True, True]
