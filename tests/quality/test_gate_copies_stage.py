"""The look for near-copies at other sites: found and told to both, strangers left alone, liars named, nothing kept."""

import functools

import numpy as np
import pytest
from tests.quality.test_gate_copies import pictures

from cohortium.assembly import build_program, check_fit, check_study
from cohortium.core.exact import weighted_sum
from cohortium.core.examples import Examples, Layout
from cohortium.core.frames import pack
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study_text import study_of
from cohortium.core.update import Aggregate, Update
from cohortium.errors import PeerError, StudyError
from cohortium.quality.gate_copies_stage import STAGE, check_records, copies_found, copies_listed, copies_remembered
from cohortium.sim.harm.corruptions import near_copy
from cohortium.swarm.program import SiteWork
from cohortium.swarm.showing import MAX_SHOWN_BYTES, context_of, with_shown

LAYOUT = Layout(features=tuple(f"p{at}" for at in range(196)), outcome="binary", classes=("0", "1"))
SITES = ("a", "b", "c", "d")
POOL = pictures(400, seed=3)


def study(**sections):
    content = {
        "study": {"name": "s", "outcome": "y"},
        "model": {"name": "logistic"},
        "cohort": {"scale": "none", "fill": "none"},
        "quality": {"gate": "consortium", "copies": True},
    }
    return study_of(content | sections)


def examples(x):
    return Examples(layout=LAYOUT, x=x, y=np.arange(len(x)) % 2.0)


def copy_of(rows, seed=0):
    return near_copy(rows, side=14, rng=np.random.default_rng(seed))


def parts(n_training=40, n_held_out=15):
    """(training, held out) of four sites, all strangers."""
    n = n_training + n_held_out
    return {
        site: (POOL[at * n : at * n + n_training].copy(), POOL[at * n + n_training : (at + 1) * n].copy())
        for at, site in enumerate(SITES)
    }


class Run:
    """A program up to the end of the look; every state, answer and merge is kept."""

    def __init__(self, held, *, masked=False, lies=None, absent=(), plan=None):
        chance = Chance(0, secrets_from_system=False)
        self.program = build_program(plan or study(), LAYOUT, sites=tuple(held), chance=chance)
        self.works = {
            site: SiteWork(self.program, site=site, training=examples(t), held_back=examples(h))
            for site, (t, h) in held.items()
        }
        self.held, self.states, self.told = held, [self.program.start()], []
        index = [stage.name for stage in self.program.stages].index(STAGE)
        round = 1
        while (at := self.program.position(self.states[-1]))[0] <= index:
            state = self.states[-1]
            there = [site for site in held if (site, at[1]) not in absent or at[0] < index]
            updates = [self.works[site].train(round, state) for site in there]
            if at[0] == index and lies and at[1] in lies:
                updates = [lies[at[1]](one) for one in updates]
            self.told.append({one.site: one.parameters for one in updates})
            whole = weighted_sum(updates)
            hidden = Aggregate(
                total=whole.total, weight=whole.weight, contributors=whole.contributors, shown=tuple(updates)
            )
            self.states.append(self.program.merge(state, hidden if masked else updates))
            for one in updates:
                self.works[one.site].adopt(round, self.states[-1], one)
            round += 1

    @property
    def state(self):
        return self.states[-1]

    def rows(self, site):
        training, held_out = self.held[site]
        return {
            "training": range(1, len(training) + 1),
            "held_out": range(len(training) + 1, len(training) + len(held_out) + 1),
        }

    def checks(self, site):
        found = copies_found(self.program, self.state, self.works[site].memory(), rows=self.rows(site))
        return [(one.level, one.found) for one in found]

    def listed(self, site):
        return copies_listed(copies_remembered(self.works[site].memory()), self.rows(site))


@functools.cache
def clean():
    """A run in which nobody lies and all are strangers."""
    return Run(parts())


CLEAN = [("ok", "no record has a near-copy at other sites")]


def test_both_sites_of_a_copy_are_warned_of_their_own_row_and_nobody_else_is():
    held = parts()
    held["c"][0][7] = copy_of(held["a"][0][3:4])[0]
    run = Run(held)
    assert run.checks("a") == [("warn", "records here have a near-copy at other sites (rows 4)")]
    assert run.checks("c") == [("warn", "records here have a near-copy at other sites (rows 8)")]
    assert run.checks("b") == run.checks("d") == CLEAN
    assert run.listed("a") == [(4, "training", "same part")]
    assert run.listed("b") == []


def test_a_training_record_that_another_site_holds_back_is_a_fail_at_both():
    held = parts()
    held["b"][1][2] = copy_of(held["d"][0][0:1])[0]
    run = Run(held)
    sentence = "near-copies of records here lie at other sites in the other part: training against held-out"
    assert run.checks("d") == [("fail", f"{sentence} (rows 1)")]
    assert run.checks("b") == [("fail", f"{sentence} (rows 43)")]
    assert run.listed("b") == [(43, "held_out", "other part")]


def test_strangers_are_not_found_also_among_many():
    assert all(clean().checks(site) == CLEAN for site in SITES)
    wide = {site: (pictures(400, seed=at), pictures(6, seed=50 + at)) for at, site in enumerate(SITES)}
    run = Run(wide)
    assert all(run.checks(site) == CLEAN for site in SITES)
    assert run.told[-2]["a"]["training"].shape == (4, 4096)


def test_a_wholly_copied_site_is_found_to_the_last_record():
    held = parts()
    held["d"] = (held["a"][0].copy(), held["d"][1])
    run = Run(held)
    assert [row for row, _, _ in run.listed("a")] == [row for row, _, _ in run.listed("d")] == list(range(1, 41))


def test_a_copy_inside_the_site_is_left_to_its_own_gate():
    held = parts()
    held["a"][0][5] = held["a"][0][6]
    assert Run(held).checks("a") == CLEAN


def test_masks_give_the_same_bits_and_the_same_findings():
    held = parts()
    held["c"][0][7] = copy_of(held["a"][0][3:4])[0]
    plain, masked = Run(held), Run(held, masked=True)
    assert [one.digest for one in plain.states] == [one.digest for one in masked.states]
    assert plain.listed("a") == masked.listed("a") != []


def test_states_and_memories_keep_neither_tokens_nor_secret_nor_mean():
    held = parts()
    held["c"][0][7] = copy_of(held["a"][0][3:4])[0]
    run = Run(held)
    during = run.states[-2].under(f"{STAGE}/model")
    secrets = [during["secret"].tobytes(), during["mean"].tobytes()]
    secrets += [array.tobytes() for name, array in during.items() if name.startswith("told/")]
    numbers = {int(v) for name, array in during.items() if name.startswith("told/") for v in array.ravel() if v}
    assert len(numbers) > 4 * 40 * 20
    assert [name for name in run.state if name.startswith(STAGE)] == [f"{STAGE}/model/step", f"{STAGE}/model/why"]
    for kept in (run.state, *(work.memory() for work in run.works.values())):
        whole = b"".join(array.tobytes() for array in kept.values())
        assert not any(secret in whole for secret in secrets)
        whole = {int(v) for array in kept.values() if array.dtype.kind in "iu" for v in array.ravel()}
        assert not whole & numbers


def test_a_memory_cannot_be_guessed_and_asked_for():
    one, two = (clean().works[site].memory().under(STAGE) for site in ("b", "d"))
    assert not one["training"].any()
    assert not two["training"].any()
    assert one.digest != two.digest


def test_tokens_of_one_record_are_not_linked_and_small_parts_tell_nothing_but_hear():
    held = parts()
    held["b"] = (held["b"][0], held["a"][0][3:4].copy())
    held["c"] = (held["c"][0][:4], np.zeros((0, 196)))
    held["c"][0][1] = copy_of(held["a"][0][3:4])[0]
    run = Run(held)
    told = run.told[-2]
    assert not told["b"]["held_out"].any()
    assert not told["c"]["training"].any()
    assert told["a"]["training"].any()
    assert (np.diff(told["a"]["training"][told["a"]["training"] > 0]) > 0).all()
    assert run.checks("b")[0][0] == "fail"
    assert run.checks("c") == [("warn", "records here have a near-copy at other sites (rows 2)")]
    assert run.checks("a") == CLEAN


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_records_of_one_patient_count_once_and_blank_ones_not_at_all(noise):
    held, rng = parts(), np.random.default_rng(0)
    same, blank = np.repeat(held["d"][1][:1], 5, axis=0), np.full((4, 196), 0.5)
    held["d"] = (held["d"][0], same + noise * rng.random(same.shape))
    held["c"] = (held["c"][0], np.concatenate([blank, held["c"][1][:4]]))
    run = Run(held)
    assert not run.told[-2]["c"]["held_out"].any()
    assert not run.told[-2]["d"]["held_out"].any()
    held["d"] = (held["d"][0], np.concatenate([held["d"][1], parts()["d"][1][1:5]]))
    told = Run(held).told[-2]["d"]["held_out"]
    assert (told > 0).sum() > 4 * 32  # five patients, each once


def test_blank_records_of_two_sites_are_no_copies():
    held = parts()
    for site, value in (("a", 0.1), ("b", 0.3), ("c", 0.1)):
        held[site][0][4] = value
    held["c"][1][2] = 0.1
    run = Run(held)
    assert all(run.checks(site) == CLEAN for site in SITES)
    held["b"][0][5] = held["a"][0][6]
    assert Run(held).listed("b") == [(6, "training", "same part")]


def test_strangers_in_columns_of_three_causes_are_never_a_fail():
    loads = np.random.default_rng(9).normal(size=(3, 196))
    held = {}
    for at, site in enumerate(SITES):
        rng = np.random.default_rng(at)
        x = rng.normal(size=(60, 3)) @ loads + 0.2 * rng.normal(size=(60, 196))
        held[site] = (x[:45], x[45:])
    run = Run(held)
    assert all([one[0] for one in run.checks(site)] == ["warn"] for site in SITES)
    assert all("tell too little" in run.checks(site)[0][1] for site in SITES)


def test_where_more_than_a_fifth_is_found_elsewhere_the_columns_may_tell_too_little():
    held = parts()
    held["b"][0][:12] = held["a"][0][:12]
    held["c"][1][:11] = held["d"][0][:11]
    run = Run(held)
    level, sentence = run.checks("a")[0]
    assert level == "warn"
    assert sentence.startswith("more than a fifth of the records here have near-copies at other sites: either the same")
    assert sentence.endswith("tell strangers apart; compare a few by hand (rows 1, 2, 3, 4, 5, ...)")
    assert len(run.listed("a")) == 12
    assert [level for level, _ in run.checks("d")] == ["fail"]  # 11 of 55 are a fifth and no more


def test_of_very_many_records_some_are_told_and_all_are_compared():
    many = np.random.default_rng(0).random((2600, 196))
    held = {**parts(), "a": (many, POOL[-15:])}
    held["b"][0][:10] = many[:10]
    run = Run(held)
    assert run.told[-2]["a"]["training"].shape == (20, 4096)
    assert [row for row, _, _ in run.listed("a")] == list(range(1, 11))
    assert len(run.listed("b")) >= 8


def test_small_sites_add_nothing_to_the_mean():
    held = {**parts(), "d": (POOL[300:319], POOL[319:330])}
    sums = Run(held).told[-3]
    assert not sums["d"]["rows"].any()
    assert sums["d"]["counted"].tolist() == [0, 0]
    assert sums["a"]["rows"].any()
    assert sums["a"]["counted"].tolist() == [40, 1]
    assert sums["d"]["words"].any()


def test_too_few_large_sites_compare_nothing_and_say_so():
    held = {**parts(), "c": (POOL[300:319], POOL[319:330]), "d": (POOL[340:359], POOL[359:370])}
    run = Run(held)
    said = "copies at other sites were not looked for: fewer than 3 sites hold 20 training records, or none has 5"
    assert run.checks("a") == [("skipped", f"{said} to tell of")]
    assert len(run.told) == len(run.program.stages) - 1  # one exchange here, as everywhere else


@pytest.mark.parametrize("large", [2, 3])
def test_nobody_is_asked_for_a_row_before_three_sites_have_told_twenty_records(large):
    run = Run(with_large(large), masked=True)
    asked = [told for told in run.told if "rows" in told["a"]]
    assert len(asked) == (large == 3)
    assert any(name.endswith("copies/model/mean") for state in run.states for name in state) == (large == 3)
    assert run.checks("a")[0][0] == ("ok" if large == 3 else "skipped")
    for told in asked:
        assert sum(one["rows"].any() for one in told.values()) == large


def with_large(n):
    """Only so many sites hold 20 training records."""
    held = parts()
    for at, site in enumerate(SITES[n:]):
        held[site] = (POOL[300 + 25 * at : 319 + 25 * at], POOL[390:395])
    return held


def test_who_claims_a_size_and_adds_nothing_is_not_found_but_no_state_holds_a_mean():
    """Said in the docs: nobody sees whether a site holds what it claims."""
    claims = of("d", lambda told: {"size": np.array([1, 1, 1])})
    run = Run(with_large(2), masked=True, lies={0: claims})
    assert sum(one["rows"].any() for one in run.told[-1].values()) == 2
    assert run.checks("a")[0][0] == "skipped"
    assert not any(name.endswith("copies/model/mean") for state in run.states for name in state)


def test_where_large_sites_fall_out_before_their_rows_are_in_no_state_holds_a_mean():
    run = Run(with_large(3), masked=True, absent={("c", 1)})
    assert run.checks("a")[0][0] == "skipped"
    assert not any(name.endswith("copies/model/mean") for state in run.states for name in state)


def test_equal_and_blank_training_records_do_not_make_a_large_site():
    held = parts()
    held["c"] = (np.concatenate([held["c"][0][:19], np.full((20, 196), 0.3)]), held["c"][1])
    held["d"] = (np.repeat(held["d"][0][:19], 2, axis=0), held["d"][1])
    run = Run(held, masked=True)
    sizes = {site: one["size"].tolist() for site, one in run.told[-1].items()}
    assert sizes == {"a": [1, 1, 1], "b": [1, 1, 1], "c": [0, 1, 1], "d": [0, 1, 1]}
    assert run.checks("a")[0][0] == "skipped"
    held["d"] = parts()["d"]
    assert (Run(held).told[-3]["c"]["counted"] == 0).all()


def test_a_site_that_was_away_or_has_forgotten_says_so():
    held = parts()
    held["c"][0][7] = copy_of(held["a"][0][3:4])[0]
    run = Run(held, absent={("c", 3)})
    why = "copies at other sites were not looked for: this site was not there when the others compared"
    assert run.checks("c") == [("skipped", why)]
    assert run.checks("a")[0][0] == "warn"
    run = Run(held, absent={("c", 1), ("c", 2)})
    assert run.checks("c")[0][0] == "warn"
    assert run.checks("a") == CLEAN
    assert copies_found(run.program, run.states[-2], Parameters(), rows={}) == []


def of(site, change):
    def lie(update):
        if update.site != site:
            return update
        return Update(site=site, parameters=Parameters(change(dict(update.parameters))), weight=1)

    return lie


def with_training(make):
    def change(told):
        sets = told["training"].copy()
        make(sets)
        return {**told, "training": sets}

    return change


def twice(sets):
    sets[0, -2] = sets[0, -1]


def unsorted(sets):
    sets[0, -1], sets[0, -2] = sets[0, -2], sets[0, -1]


def gap(sets):
    sets[0, -3] = 0


def wide(sets):
    sets[0, -1] = 1 << 48


def negative(sets):
    sets[0, 0] = -1


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("change", "why"), [
    (with_training(twice), "tells tokens twice, or not in their order"),
    (with_training(unsorted), "tells tokens twice, or not in their order"),
    (with_training(gap), "tells tokens twice, or not in their order"),
    (with_training(wide), "tells numbers that are no tokens"),
    (with_training(negative), "tells numbers that are no tokens"),
])  # fmt: skip
def test_who_tells_what_is_no_set_of_tokens_is_refused_by_name(change, why, masked):
    with pytest.raises(PeerError, match=f"site 'b' {why}") as wrong:
        Run(parts(), masked=masked, lies={2: of("b", change)})
    assert wrong.value.site == "b"


def test_who_tells_a_million_tokens_or_other_arrays_is_refused_by_name():
    run = clean()
    learner, start = run.program.stages[-2].learner, run.states[-3].under(f"{STAGE}/model")
    told = run.told[-2]
    many = Parameters({**told["a"], "training": np.arange(1 << 20).reshape(-1, 4096)})
    with pytest.raises(PeerError, match="site 'a' tells more tokens than were asked for, or fewer"):
        learner.gather(start, {**told, "a": many})
    with pytest.raises(PeerError, match="site 'a' tells other things than its tokens"):
        learner.gather(start, {**told, "a": Parameters({"training": told["a"]["training"]})})
    assert learner.gather(start, told)["a/training"].shape == (1, 4096)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("size", "why"), [
    ({"size": np.array([2, 1, 1])}, "tells a size that cannot be"),
    ({"size": np.array([1, 21, 1])}, "tells a size that cannot be"),
    ({"size": np.array([1, 1, -1])}, "tells a size that cannot be"),
])  # fmt: skip
def test_who_tells_a_size_that_cannot_be_is_refused_by_name(size, why, masked):
    with pytest.raises(PeerError, match=f"site 'b' {why}") as wrong:
        Run(parts(), masked=masked, lies={0: of("b", lambda told: size)})
    assert wrong.value.site == "b"


def test_who_tells_other_things_than_its_size_is_refused_by_name():
    run = clean()
    learner, start, told = run.program.stages[-2].learner, run.states[-5].under(f"{STAGE}/model"), run.told[-4]
    for lie in ({"size": np.ones(4, dtype=np.int64)}, {"size": np.ones(3)}, {**told["a"], "more": np.ones(1)}, {}):
        with pytest.raises(PeerError, match="site 'a' tells other things than its size"):
            learner.gather(start, {**told, "a": Parameters(lie)})
    assert learner.gather(start, told)["a"].tolist() == [1, 1, 1]


def test_random_tokens_alarm_nobody():
    def noise(told):
        sets = told["training"].copy()
        drawn = np.random.default_rng(1).choice(1 << 40, size=sets.shape[1], replace=False)
        sets[0] = np.sort(drawn) + 1
        return {**told, "training": sets}

    run = Run(parts(), lies={2: of("b", noise)})
    assert all(run.checks(site) == CLEAN for site in SITES)


def test_a_site_that_tells_tokens_of_records_it_does_not_hold_can_alarm_those_who_do():
    """A member who knows a patient can look it up, and make its hospital believe in a copy: said in the docs."""
    held = parts()
    liar = {**held, "b": (np.concatenate([held["b"][0], held["a"][0][:1]]), held["b"][1])}
    assert Run(liar).checks("a")[0][0] == "warn"


@pytest.mark.parametrize("change", [
    lambda told: {**told, "rows": told["rows"] + (1 << 40)},
    lambda told: {**told, "counted": np.array([19, 1])},
    lambda told: {**told, "counted": np.array([1 << 30, 1])},
    lambda told: {**told, "counted": np.array([40, 2])},
    lambda told: {**told, "words": told["words"] - (1 << 32)},
])  # fmt: skip
def test_sums_that_no_site_can_add_are_refused_by_name_where_they_lie_open(change):
    with pytest.raises(PeerError, match="site 'b': no site can add this to the look for copies") as wrong:
        Run(parts(), lies={1: of("b", change)})
    assert wrong.value.site == "b"


@pytest.mark.parametrize("change", [
    lambda told: {**told, "rows": told["rows"] + (1 << 50)},
    lambda told: {**told, "counted": np.array([-500, 1])},
    lambda told: {**told, "words": told["words"] - (1 << 40)},
])  # fmt: skip
def test_under_masks_sums_that_cannot_be_end_the_look_and_nothing_else(change):
    run = Run(parts(), masked=True, lies={1: of("b", change)})
    why = "copies at other sites were not looked for: what sites have told to agree on a secret cannot be"
    assert run.checks("a") == [("skipped", why)]
    assert run.program.position(run.state)[0] == len(run.program.stages) - 1


def test_the_secret_follows_from_what_all_sites_throw_in_and_is_another_in_the_next_run():
    run, seen = clean(), set()
    for at, site in enumerate((None, *SITES)):
        told = {name: dict(one) for name, one in run.told[-3].items()}
        if site:
            told[site]["words"] = told[site]["words"] ^ at
        updates = [Update(site=name, parameters=Parameters(one), weight=1) for name, one in told.items()]
        seen.add(run.program.merge(run.states[-4], updates)[f"{STAGE}/model/secret"].tobytes())
    assert len(seen) == 5


def test_nodes_throw_in_bytes_of_the_operating_system():
    program = build_program(study(), LAYOUT, sites=SITES, chance=Chance(0))
    work = SiteWork(program, site="a", training=examples(POOL[:40]))
    state = program.start()
    index = [stage.name for stage in program.stages].index(STAGE)
    round = 1
    while program.position(state) < (index, 1):
        updates = [
            SiteWork(program, site=site, training=examples(POOL[at * 40 : at * 40 + 40])).train(round, state)
            for at, site in enumerate(SITES)
        ]
        state, round = program.merge(state, updates), round + 1
    one, two = (work.train(round, state).parameters for _ in range(2))
    assert (one["words"] != two["words"]).any()
    assert (one["rows"] == two["rows"]).all()


def refused(n_sites=5, **sections):
    return {one.key: one.message for one in check_study(study(**sections), n_sites=n_sites)}


BOTH = {"gate": "consortium", "copies": True}


def test_the_look_is_refused_without_the_gate_with_noise_and_in_a_generator():
    assert refused() == {}
    why = 'copies at other sites are looked for by the gate of a run; set gate = "consortium"'
    assert refused(quality={"copies": True}) == {"quality.copies": why}
    why = "tokens of single records are told without noise, which differential privacy rules out; leave copies out"
    assert refused(privacy={"dp": {"epsilon": 2.0}})["quality.copies"] == why
    noisy = {**BOTH, "detector": "out-of-bag", "dp": {"epsilon": 1.0}, "on_harm": "report"}
    assert refused(n_sites=12, quality=noisy)["quality.copies"] == why
    content = {"study": {"name": "s", "outcome": "y"}, "synth": {"generator": "bn"}, "quality": BOTH}
    found = {one.key: one.message for one in check_study(study_of(content), n_sites=5)}
    assert found["quality.copies"] == "they are looked for in runs that train a model; leave it out"


def test_the_look_is_refused_on_scales_of_single_sites_and_beside_other_masks():
    why = "records are compared on one scale, and scale = 'shrunk' gives every site its own"
    found = refused(cohort={"scale": "shrunk"})
    assert found == {"quality.copies": f"{why}; set cohort.scale = 'standard', 'public' or 'none'"}
    why = "tokens are shown beside a masked sum; leave privacy.method, weights and groups as they are"
    assert refused(privacy={"weights": "hidden"})["quality.copies"] == why
    assert "quality.copies" not in refused(privacy={"secure_aggregation": False})


@pytest.mark.parametrize(("n", "fine"), [(63, False), (64, True), (65536, True), (65537, False)])
def test_records_too_narrow_or_too_wide_are_refused_before_anybody_trains(n, fine):
    layout = Layout(features=tuple(f"x{at}" for at in range(n)), outcome="binary", classes=("0", "1"))
    if fine:
        check_records(layout)
        return
    with pytest.raises(StudyError, match=f"64 to 65536 values a record, and these have {n}; leave copies out"):
        check_records(layout)


def test_check_fit_asks_for_the_columns_and_a_study_without_copies_does_not():
    layout = Layout(features=("a", "b"), outcome="binary", classes=("0", "1"))
    check_fit(study(quality={"gate": "consortium"}), layout)
    with pytest.raises(StudyError, match="these have 2"):
        check_fit(study(), layout)


def test_a_study_without_copies_keeps_its_digest_and_its_stages():
    plain = study(quality={"gate": "consortium"})
    assert "copies" not in plain.canonical().decode()
    assert study().digest != plain.digest
    names = [one.name for one in build_program(plain, LAYOUT, sites=SITES, chance=Chance(0)).stages]
    assert STAGE not in names
    assert [one.name for one in build_program(study(), LAYOUT, sites=SITES, chance=Chance(0)).stages][-2:] == [
        STAGE, "model",
    ]  # fmt: skip


def test_tables_whose_columns_are_dropped_below_64_say_so_and_go_on():
    layout = Layout(features=tuple(f"x{at}" for at in range(64)), outcome="binary", classes=("0", "1"))
    x = np.random.default_rng(0).normal(size=(4, 30, 64))
    x[:, :, 0] = np.nan
    program = build_program(study(), layout, sites=SITES, chance=Chance(0))
    works = [
        SiteWork(program, site=site, training=Examples(layout=layout, x=x[at], y=np.arange(30) % 2.0))
        for at, site in enumerate(SITES)
    ]
    state, round = program.start(), 1
    while program.position(state)[0] < len(program.stages) - 1:
        state, round = program.merge(state, [work.train(round, state) for work in works]), round + 1
    (check,) = copies_found(program, state, Parameters(), rows={})
    assert check.level == "skipped"
    assert check.found.endswith("fewer than 64 values a record are left")


def test_the_largest_answer_is_shown_whole():
    told = {"training": np.ones((20, 4096), dtype=np.int64), "held_out": np.ones((10, 4096), dtype=np.int64)}
    context = context_of("a" * 64, run=1 << 30, round=1 << 30, study=bytes(32), salt=bytes(16))
    shown = with_shown(Parameters(), pack(Parameters(told), context))
    assert sum(array.nbytes for array in shown.values()) <= MAX_SHOWN_BYTES


def test_no_salt_of_the_tokens_stays_in_a_state():
    assert not any("salts" in name for one in clean().states for name in one)


def test_only_a_learner_that_looks_beside_its_rows_gets_more_of_a_site():
    run = clean()
    for state in run.states[:-1]:
        (asked,) = run.works["a"].instructions(1, state)
        stage = run.program.stages[run.program.position(state)[0]]
        if stage.name != STAGE:
            assert asked.beside is None
            continue
        assert asked.beside.site == "a"
        np.testing.assert_array_equal(asked.beside.held_out.x, run.held["a"][1])
        assert asked.beside.entropy(16) != run.works["b"].instructions(1, state)[0].beside.entropy(16)
