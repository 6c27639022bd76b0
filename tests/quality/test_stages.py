"""The audit by sums: site by site or all at once, the same totals and the same verdicts."""

from dataclasses import replace

import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.marks import shows
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import PeerError
from cohortium.quality.decide import Rules
from cohortium.quality.pool import as_examples, pool_of
from cohortium.quality.repairs import LabelPolarity
from cohortium.quality.rows import FIELDS
from cohortium.quality.stages import BIND, EVIDENCE, Auditor, AuditPlan, Where


def auditor(sites, **changes):
    plan = AuditPlan(sites=tuple(sorted(sites)), repairs=("label-polarity",), **changes)
    return Auditor(plan=plan, repairs=(LabelPolarity(),))


def alone(sites):
    return {name: pool_of({at: sites[name]}) for at, name in enumerate(sorted(sites))}


def together(sites):
    return pool_of({at: sites[name] for at, name in enumerate(sorted(sites))})


def played(one, pool, lot=0):
    state = one.initial(lot)
    while not one.finished(state):
        state = one.advance(state, one.answer(state, pool))
    return state


def summed(one, state, pools, order):
    updates = [Update(site=name, parameters=one.answer(state, pools[name]), weight=1) for name in order]
    return weighted_sum(updates).total


def test_site_by_site_in_any_order_or_all_rows_at_once_every_state_is_the_same(kit):
    sites = kit.flipped(kit.consortium(), "b")
    one, pools, pool = auditor(sites), alone(sites), together(sites)
    state = one.initial()
    while not one.finished(state):
        whole = one.answer(state, pool)
        parts = summed(one, state, pools, sorted(sites))
        assert parts.digest == whole.digest
        assert summed(one, state, pools, sorted(sites, reverse=True)).digest == whole.digest
        state = one.advance(state, whole)
    assert {v.site: v.kind for v in one.table(state, Rules()).verdicts}["b"] == "repair"


def test_a_site_that_starts_again_in_the_middle_answers_the_same(kit):
    sites = kit.consortium()
    one, pools = auditor(sites), alone(sites)
    state = one.initial()
    for _ in range(22):
        state = one.advance(state, summed(one, state, pools, sorted(sites)))
    assert one.answer(state, alone(sites)["c"]).digest == one.answer(state, pools["c"]).digest


def test_a_site_fills_its_own_row_of_the_table_and_small_ones_fill_none(kit):
    sites = kit.consortium()
    one, pools = auditor(sites), alone(sites)
    state = one.initial()
    while Where.read(state).stage != EVIDENCE:
        state = one.advance(state, summed(one, state, pools, sorted(sites)))
    tables = {name: one.answer(state, pools[name])["table"] for name in sites}
    for at, name in enumerate(sorted(sites)):
        others = np.delete(tables[name], at, axis=0)
        assert not others.any()
        assert tables[name][at].any() == (len(sites[name]) >= 5)


def test_reversing_all_labels_everywhere_changes_no_verdict(kit):
    sites = kit.flipped(kit.consortium(), "b", "f")
    verdicts = []
    for these in (sites, {name: LabelPolarity().apply(one) for name, one in sites.items()}):
        one = auditor(these)
        table = one.table(played(one, together(these)), Rules())
        verdicts.append([(v.site, v.kind, v.channel, v.repair) for v in table.verdicts])
    assert verdicts[0] == verdicts[1]


def test_too_weak_scores_get_one_repeat_and_then_silence(kit):
    sites = kit.consortium(strength=0.0)
    one, pool = auditor(sites), together(sites)
    state, attempts = one.initial(), []
    while not one.finished(state):
        attempts.append(Where.read(state).attempt)
        state = one.advance(state, one.answer(state, pool))
    assert set(attempts) == {0, 1}
    table = one.table(state, Rules())
    assert table.status == "inconclusive"
    assert not any(v.left_out for v in table.verdicts)
    assert all(e.sound == e.reversed == 0.0 and not e.repair for e in one.evidence(state))


def test_halves_without_both_classes_are_drawn_again_and_in_the_end_nothing_is_said(kit):
    sites = kit.consortium(sizes=(12, 12, 12, 12, 12, 12))
    few = {name: replace(one, y=np.where(np.arange(12) == 0, one.y + 1, 0.0)) for name, one in sites.items()}
    one = auditor(few)
    state = played(one, together(few))
    assert one.status(state) == "inconclusive"
    assert one.evidence(state) == ()
    rare = {name: replace(one, y=np.where(np.arange(12) < (6 if name < "d" else 0), 1.0, 0.0))
            for name, one in sites.items()}  # fmt: skip
    drawn = auditor(rare)
    state, most, p = drawn.initial(), 0, together(rare)
    while not drawn.finished(state):
        state = drawn.advance(state, drawn.answer(state, p))
        most = max(most, Where.read(state).draws)
    assert most > 0


def test_other_seeds_draw_other_halves_and_the_same_seed_the_same(kit):
    sites = kit.consortium()
    digests = [played(auditor(sites), together(sites), lot=seed).digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_the_ledgers_seed_of_32_bytes_draws_and_a_number_draws_as_before(kit):
    sites = kit.consortium()
    one, pool = auditor(sites), together(sites)
    lots = (bytes(range(32)), bytes(range(1, 33)), 5, (5).to_bytes(32, "little"))
    states = [played(one, pool, lot).digest for lot in lots]
    assert states[0] != states[1]
    assert states[2] == states[3]


def test_before_its_evidence_each_site_shows_the_root_of_its_scores_and_nobody_elses(kit):
    sites = kit.consortium()
    one, pools = auditor(sites), alone(sites)
    state = one.initial(7)
    while Where.read(state).stage != BIND:
        assert not shows(state)
        state = one.advance(state, summed(one, state, pools, sorted(sites)))
    assert shows(state)
    answers = {name: one.answer(state, pools[name]) for name in sites}
    state = one.advance(state, one.gather(state, answers))
    assert not shows(state)
    assert len({bytes(row.astype("<u4").tobytes()) for row in state["roots"]}) == len(sites)


def test_a_site_that_answers_for_another_or_says_what_cannot_be_is_named(kit):
    sites = kit.consortium()
    one, pools = auditor(sites), alone(sites)
    state = one.initial(7)
    while Where.read(state).stage != EVIDENCE:
        state = one.advance(state, summed(one, state, pools, sorted(sites)))
    honest = {name: one.answer(state, pools[name]) for name in sites}
    assert one.gather(state, honest) == one.answer(state, together(sites))

    def lying(change):
        table = np.array(honest["b"]["table"])
        change(table)
        return {**honest, "b": Parameters({"table": table})}

    def into_a(table):
        table[0, FIELDS.index("reversed")] = 60_000_000

    def no_gain(table):
        table[1, FIELDS.index("gain")] = 7

    def no_repair(table):
        table[1, FIELDS.index("repair")] = 99

    for change, words in ((into_a, "'b' answers for another"), (no_gain, "'b' shows evidence that no site"),
                          (no_repair, "'b' shows evidence that no site")):  # fmt: skip
        with pytest.raises(PeerError, match=words) as caught:
            one.gather(state, lying(change))
        assert caught.value.site == "b"
    for wrong in (Parameters({"other": honest["b"]["table"]}), Parameters({"table": honest["b"]["table"][:-1]})):
        with pytest.raises(PeerError, match="'b' shows"):
            one.gather(state, {**honest, "b": wrong})


def test_a_row_that_is_not_what_was_added_up_before_is_asked_to_be_looked_at(kit):
    sites = kit.flipped(kit.consortium(), "b")
    one, pool = auditor(sites), together(sites)
    state = one.initial(3)
    while Where.read(state).stage != EVIDENCE:
        state = one.advance(state, one.answer(state, pool))
    honest = one.answer(state, pool)["table"]
    at, donor = sorted(sites).index("b"), sorted(sites).index("c")
    forged = np.array(honest)
    forged[at] = honest[donor]
    verdicts = {}
    for name, table in (("honest", honest), ("forged", forged)):
        ended = one.advance(state, Parameters({"table": table}))
        verdicts[name] = {v.site: v for v in one.table(ended, Rules()).verdicts}
    assert verdicts["honest"]["b"].kind == "repair"
    assert not any("does not fit the rows" in v.reason for v in verdicts["honest"].values())
    assert verdicts["forged"]["b"].kind == "keep", "it is believed"
    assert verdicts["forged"]["b"].look
    assert "does not fit the rows that sites show" in verdicts["forged"]["b"].reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"halves": 7}, "halves must be even"),
        ({"passes": 4}, "passes must"),
        ({"anchors": frozenset({"nowhere"})}, "unknown anchor 'nowhere'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        AuditPlan(sites=("a", "b"), **changes)


def test_an_anchor_keeps_its_trust(kit):
    sites = kit.flipped(kit.consortium(), "b")
    pool, kept = together(sites), {}
    for anchors in (frozenset(), frozenset({"b"})):
        one = auditor(sites, anchors=anchors)
        state = played(one, pool)
        kept[anchors] = one.trust(state, 1, together(sites))[pool.rows(1)].max()
    assert kept[frozenset()] < 0.05
    assert kept[frozenset({"b"})] == 1.0


def test_missing_values_do_not_stop_an_audit(kit):
    sites = kit.consortium()
    x = np.array(sites["a"].x)
    x[::3, 1] = np.nan
    sites["a"] = as_examples((x, sites["a"].y))
    one = auditor(sites)
    assert one.status(played(one, together(sites))) == "decided"
