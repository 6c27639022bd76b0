"""The rules a site keeps, section 3.4 of the design: each a test."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.exchange import MASKED
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import InvariantBroken, PeerError, TrainingFailed
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.privacy.secagg.member import header_of, pair_key, self_key
from cohortium.privacy.secagg.messages import KEY_SHARE, SELF_SHARE, Keys, Shares
from cohortium.privacy.secagg.secrets import Secrets, share_digest


def restarted(world, site):
    """The site's guard after a crash: nothing but what `memory` gave."""
    memory = world.guards[site].memory()
    world.guards[site] = MaskedGuard(site, entropy=lambda n: b"\xee" * n)
    world.guards[site].restore(Parameters(dict(memory)))


def test_guard_runs_the_masked_recipe_and_gives_the_sum(masked) -> None:
    world = masked(4, weights=[1, 2, 3, 4]).run()
    assert world.guards["site-00"].recipe is MASKED
    assert np.array_equal(world.open().total["sums"], world.total(world.sites))


@pytest.mark.parametrize("word_bits", [16, 32, 64])
def test_every_word_width_gives_the_mean_within_its_error(masked, word_bits) -> None:
    world = masked(5, word_bits=word_bits, floats=500, weights=[10, 20, 30, 40, 50]).run()
    opened = world.open()
    error = np.abs(opened.total["w"] / opened.weight - world.mean(world.sites)).max()
    assert error <= world.binding().point.error_bound(2)
    assert world.received["masked"]["site-00"]["floats"].dtype.itemsize * 8 == word_bits


# --- rule 1: persist before answering; the same question, the same bytes --------------------------------------------


def test_same_question_gets_the_same_bytes_before_and_after_a_restart(masked) -> None:
    world = masked(4).run()
    for restart in (False, True):
        if restart:
            restarted(world, "site-01")
        for step in ("keys", "shares", "masked", "unmask"):
            assert world.ask("site-01", step) == world.received[step]["site-01"]


def test_memory_taken_after_each_step_is_enough_to_go_on(masked) -> None:
    world = masked(4)
    for step in ("keys", "shares", "masked", "unmask"):
        world.run(step)
        for site in world.sites:
            restarted(world, site)
    assert np.array_equal(world.open("site-02").total["sums"], world.total(world.sites))


def test_what_was_promised_is_not_taken_back_by_older_memory(masked) -> None:
    world = masked(4).run("keys")
    early = world.guards["site-00"].memory()
    world.run("shares", "masked").run("unmask", survivors=world.sites)
    world.guards["site-00"].restore(early)
    with pytest.raises(PeerError, match="for other survivors"):
        world.run("unmask", survivors=world.sites[:3], answering=["site-00"])


def test_masking_again_for_other_keys_is_refused_so_no_stream_is_used_twice(masked) -> None:
    world = masked(4).run("keys", "shares", "masked")
    other = masked(4, seed=9).run("keys")
    keys = {**world.received["keys"], "site-03": world.received["keys"]["site-03"]
            | Parameters({"mask_key": other.received["keys"]["site-02"]["mask_key"]})}  # fmt: skip
    for restart in (False, True):
        if restart:
            restarted(world, "site-00")
        with pytest.raises(PeerError, match="for other keys"):
            world.ask("site-00", "masked", received={**world.received, "keys": keys})
        with pytest.raises(PeerError, match="for other keys"):
            world.ask("site-00", "unmask", received={**world.received, "keys": keys,
                                                    "survivors": dict.fromkeys(world.sites, Parameters())})  # fmt: skip


@pytest.mark.parametrize("change", [{"base": b"other"}, {"study": b"other"}, {"n_joiners": 6}, {"frozen": 3}])
def test_another_set_base_or_study_within_an_attempt_is_refused(masked, change) -> None:
    world = masked(4).run("keys")
    if "frozen" in change:
        change = {"frozen": tuple(world.sites[: change["frozen"]])}
    for step in ("keys", "shares", "masked"):
        with pytest.raises(PeerError, match="begun over another set, base model or layout"):
            world.ask("site-00", step, **change)


def test_another_update_of_another_layout_within_an_attempt_is_refused(masked) -> None:
    world = masked(4).run("keys")
    world.updates["site-00"] = Update(site="site-00", parameters=Parameters({"w": np.zeros(3)}), weight=1)
    with pytest.raises(PeerError, match="another set, base model or layout"):
        world.ask("site-00", "shares")


# --- rule 2: never both shares of one site ------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_sequence_of_questions_gets_both_shares_of_one_site(privacy, data) -> None:
    world = privacy.Masked(5, floats=2, integers=0).run("keys", "shares", "masked")
    binding = world.binding()
    shares = {s: Shares.from_parameters(p, binding, site=s) for s, p in world.received["shares"].items()}
    seen = set()
    for _ in range(data.draw(st.integers(1, 8))):
        survivors = data.draw(st.lists(st.sampled_from(world.sites), min_size=3, max_size=5, unique=True))
        world.received["survivors"] = dict.fromkeys(survivors, Parameters())
        attempt = data.draw(st.sampled_from([1, 1, 1, 2]))
        if data.draw(st.booleans()):
            restarted(world, "site-00")
        try:
            given_away = world.ask("site-00", "unmask", attempt=attempt)
        except PeerError:
            continue
        for place, owner in enumerate(world.sites):
            for kind in (SELF_SHARE, KEY_SHARE):
                share = given_away["shares"][place].tobytes()
                digest = share_digest(binding.digest, dealer=owner, holder="site-00", kind=kind, share=share)
                if digest == shares[owner].digests[0][kind]:
                    seen.add((owner, kind))
    owners = [owner for owner, _ in seen]
    assert len(owners) == len(set(owners))


def test_no_share_leaves_before_survivors_are_agreed(masked) -> None:
    world = masked(4).run("keys", "shares", "masked")
    with pytest.raises(PeerError, match="0 survivors of 4"):
        world.ask("site-00", "unmask")


def test_second_set_of_survivors_is_refused_across_restarts(masked) -> None:
    world = masked(5).run("keys", "shares", "masked").run("unmask", survivors=world_sites(4))
    restarted(world, "site-00")
    with pytest.raises(PeerError, match="round 1 was unmasked for other survivors"):
        world.run("unmask", survivors=world.sites, answering=["site-00"])


def world_sites(n):
    return [f"site-{i:02d}" for i in range(n)]


def test_survivor_set_below_c_plus_two_of_all_joiners_is_refused(masked) -> None:
    world = masked(6, n_joiners=12).run("keys", "shares", "masked")  # c = 4: six of twelve are just enough
    with pytest.raises(PeerError, match="5 survivors of 6, at least 6"):
        world.run("unmask", survivors=world.sites[:5])
    with pytest.raises(PeerError, match="masks need 6 to 64 sites of 12, the set has 5"):
        masked(5, n_joiners=12).run("keys")


def test_site_that_is_no_survivor_answers_nothing(masked) -> None:
    world = masked(4).run("keys", "shares", "masked")
    with pytest.raises(PeerError, match="'site-03' is no survivor"):
        world.run("unmask", survivors=world.sites[:3], answering=["site-03"])


# --- rule 3: after an answer no other attempt of the round ----------------------------------------------------------


@pytest.mark.parametrize("restart", [False, True])
def test_no_other_attempt_of_a_round_is_served_after_an_answer(masked, restart) -> None:
    world = masked(5).run()
    if restart:
        restarted(world, "site-00")
    for step in ("keys", "shares", "masked", "unmask"):
        for attempt in (2, 3, 0):
            with pytest.raises(PeerError, match=f"unmasked in attempt 1; attempt {attempt} is refused"):
                world.ask("site-00", step, attempt=attempt, frozen=tuple(world.sites[:4]))
    assert world.ask("site-00", "keys", round=2)  # the next round is another matter


def test_old_attempt_without_an_answer_gives_way_to_a_new_one_with_fresh_keys(masked) -> None:
    world = masked(5).run("keys", "shares")
    before = {s: p["mask_key"].tobytes() for s, p in world.received["keys"].items()}
    world.received = {}
    four = tuple(world.sites[:4])
    for step in ("keys", "shares", "masked"):
        world.received[step] = {s: world.ask(s, step, attempt=2, frozen=four) for s in four}
    world.received["survivors"] = dict.fromkeys(four, Parameters())
    world.received["unmask"] = {s: world.ask(s, "unmask", attempt=2, frozen=four) for s in four}
    opened = world.open(survivors=four, attempt=2, frozen=four)
    assert np.array_equal(opened.total["sums"], world.total(four))
    assert not {p["mask_key"].tobytes() for p in world.received["keys"].values()} & set(before.values())


def test_fresh_keys_even_where_a_simulation_repeats_its_entropy(masked) -> None:
    world = masked(3)
    world.guards = {s: MaskedGuard(s, entropy=lambda n: b"\1" * n) for s in world.sites}
    keys = [world.ask("site-00", "keys", round=r, attempt=a)["mask_key"].tobytes() for r in (1, 2) for a in (1, 2)]
    assert len(set(keys)) == 4


# --- rule 4: late vectors; payloads of other attempts ----------------------------------------------------------------


def test_payloads_of_another_round_or_attempt_do_not_fit(masked) -> None:
    old = masked(4).run("keys", "shares", "masked")
    new = masked(4)
    new.guards = old.guards
    new.received = {"keys": {s: new.ask(s, "keys", round=2) for s in new.sites}}
    with pytest.raises(PeerError, match="for another attempt"):
        new.ask("site-00", "shares", round=2, received=old.received)
    new.received["shares"] = {s: new.ask(s, "shares", round=2) for s in new.sites}
    new.received["masked"] = {s: new.ask(s, "masked", round=2) for s in new.sites}
    new.received["masked"]["site-01"] = old.received["masked"]["site-01"]  # replayed
    new.received["survivors"] = dict.fromkeys(new.sites, Parameters())
    new.received["unmask"] = {s: new.ask(s, "unmask", round=2) for s in new.sites}
    with pytest.raises(PeerError, match="did not cancel"):
        new.open(round=2)


def test_different_base_models_break_the_masks_and_not_the_privacy(masked) -> None:
    world = masked(4)
    world.received["keys"] = {s: world.ask(s, "keys", base=b"b" if s < "site-02" else b"x") for s in world.sites}
    for site, base in (("site-00", b"b"), ("site-03", b"x")):
        with pytest.raises(PeerError, match="another attempt, base model or layout"):
            world.ask(site, "shares", base=base)


# --- rule 5: what is kept ---------------------------------------------------------------------------------------------


def test_secrets_of_past_rounds_are_forgotten(masked) -> None:
    world = masked(4).run()
    old = world.guards["site-00"].memory()["1/1/1/root"].tobytes()
    world.ask("site-00", "keys", round=2)
    memory = world.guards["site-00"].memory()
    assert [name for name in memory if name.endswith("root")] == ["1/2/1/root"]
    assert old not in b"".join(np.asarray(a).tobytes() for a in memory.values())
    with pytest.raises(PeerError, match="took no part in attempt 1 of round 1"):
        world.open("site-00")


def test_secrets_of_a_final_round_are_gone_and_what_was_promised_stands(masked) -> None:
    world = masked(5).run()
    roots = {s: world.guards[s].memory()["1/1/1/root"].tobytes() for s in world.sites}
    whole = world.open("site-01")
    for guard in world.guards.values():
        guard.finish(1)
        assert roots[guard.site] not in b"".join(np.asarray(a).tobytes() for a in guard.memory().values())
    with pytest.raises(PeerError, match="is final: its secrets are gone"):
        world.ask("site-00", "unmask")
    with pytest.raises(PeerError, match="unmasked in attempt 1; attempt 2 is refused"):
        world.ask("site-00", "keys", attempt=2)
    assert world.open("site-01").total.digest == whole.total.digest  # who merges needs no secret of its own
    assert world.ask("site-00", "keys", round=2)


def test_finishing_a_round_leaves_the_next_one_alone(masked) -> None:
    world = masked(4)
    first = world.ask("site-00", "keys", round=2)
    world.guards["site-00"].finish(1)
    assert world.ask("site-00", "keys", round=2) == first


def test_memory_is_small_and_no_vector_is_in_it(masked) -> None:
    world = masked(4, floats=10_000).run()
    assert world.guards["site-00"].memory().size_bytes < 1000


def test_no_stream_key_repeats_over_rounds_attempts_and_segments(masked) -> None:
    world = masked(3, floats=2, integers=2)
    found, n = set(), 0
    for round in range(1, 60):
        for attempt in (1, 2):
            world.received = {"keys": {s: world.ask(s, "keys", round=round, attempt=attempt) for s in world.sites}}
            binding = world.binding(round=round, attempt=attempt)
            keys = {s: Keys.from_parameters(p, binding, site=s) for s, p in world.received["keys"].items()}
            header = header_of(binding, keys)
            for site in world.sites:
                kept = world.guards[site]._kept[1, round, attempt]
                secrets = Secrets.from_root(kept.root, kept.ctx)
                for segment in ("floats", "integers"):
                    found.add(self_key(secrets.b, header=header, segment=segment, site=site))
                    n += 1
                    for peer in world.sites:
                        if peer > site:
                            found.add(pair_key(secrets.mask_key, keys[peer].mask_key, header=header, segment=segment,
                                               pair=(site, peer), peer=peer))  # fmt: skip
                            n += 1
    assert len(found) == n == 59 * 2 * 2 * 6


# --- faults -----------------------------------------------------------------------------------------------------------


def test_incomplete_keys_or_shares_name_who_is_missing(masked) -> None:
    world = masked(4).run("keys", "shares")
    for step, asked in (("keys", "shares"), ("shares", "masked")):
        held = {**world.received, step: {s: p for s, p in world.received[step].items() if s != "site-02"}}
        with pytest.raises(PeerError, match=f"step '{step}' is not complete: missing site-02"):
            world.ask("site-00", asked, received=held)


def test_asked_to_open_what_it_took_no_part_in_or_of_another_set(masked) -> None:
    world = masked(5).run()
    with pytest.raises(PeerError, match="took no part in attempt 2"):
        world.open(attempt=2)
    with pytest.raises(PeerError, match="another set, base model or layout than was masked"):
        world.open(base=b"x")


def test_answers_of_sites_that_are_no_survivors_count_for_nothing(masked) -> None:
    world = masked(5).run(survivors=world_sites(4))
    stranger = world.received["unmask"]["site-00"]
    held = {**world.received, "unmask": {**world.received["unmask"], "site-04": stranger}}
    assert np.array_equal(
        world.open(survivors=world_sites(4), received=held).total["sums"], world.total(world_sites(4))
    )


def test_site_whose_values_leave_every_range_says_so_before_anything_is_sent(masked) -> None:
    world = masked(3, integers=0)
    arrays = world.updates["site-00"].parameters.map(lambda a: a * np.float32(1e9))
    world.updates["site-00"] = Update(site="site-00", parameters=arrays, weight=1)
    with pytest.raises(TrainingFailed, match="exceeds 2\\^16"):
        world.ask("site-00", "keys")


def test_update_that_could_not_be_sent_is_refused_before_it_is_committed(masked) -> None:
    world = masked(3, weights=[1, 1, 5000], largest_weight=4096)
    world.guards["site-00"].check(world.updates["site-00"])
    with pytest.raises(TrainingFailed, match="largest_weight = 4096"):
        world.guards["site-02"].check(world.updates["site-02"])
    far = Update(site="site-00", parameters=Parameters({"w": np.array([1e9])}), weight=1)
    with pytest.raises(TrainingFailed, match="exceeds 2\\^16"):
        world.guards["site-00"].check(far)


def test_wrong_use_by_the_node_itself_is_an_error_of_its_own(masked) -> None:
    world = masked(3).run("keys", "shares")
    with pytest.raises(InvariantBroken, match="no step 'survivors'"):
        world.ask("site-00", "survivors")
    with pytest.raises(PeerError, match="announced no keys in attempt 1 of round 9"):
        world.ask("site-00", "shares", round=9)
    with pytest.raises(ValueError, match="word_bits"):
        MaskedGuard("a", entropy=bytes, word_bits=8)
    world.guards["site-00"] = MaskedGuard("site-00", entropy=lambda n: b"short")
    with pytest.raises(InvariantBroken, match="entropy gave 5 bytes"):
        world.ask("site-00", "keys", round=3)


def test_hidden_weights_come_out_with_the_sum_and_no_single_one_is_shown(masked) -> None:
    weights = [10, 2000, 30, 400, 5]
    world = masked(5, weights=weights, largest_weight=4096)
    small = {s: Parameters({**u.parameters, "sums": u.parameters["sums"] >> 20}) for s, u in world.updates.items()}
    world.updates = {s: Update(site=s, parameters=small[s], weight=u.weight) for s, u in world.updates.items()}
    assert world.guards["site-00"].recipe.hidden_weights
    opened = world.run().open()
    assert opened.weight == 2445
    assert np.array_equal(opened.total["sums"], world.total(world.sites))
    error = np.abs(opened.total["w"] / opened.weight - world.mean(world.sites)).max()
    assert error <= world.binding().point.error_bound(2)
    assert set(world.context().weights.values()) == {1}
    lost = masked(5, weights=weights, largest_weight=4096, integers=0)
    assert lost.run(survivors=lost.sites[:4]).open(survivors=lost.sites[:4]).weight == 2440


def test_hidden_weight_above_the_studys_is_refused_before_anything_is_sent(masked) -> None:
    world = masked(3, weights=[1, 1, 5000], largest_weight=4096)
    world.ask("site-00", "keys")
    with pytest.raises(TrainingFailed, match="largest_weight = 4096") as refused:
        world.ask("site-02", "keys")
    assert "5000" not in str(refused.value)
