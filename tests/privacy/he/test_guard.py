"""A round of threshold encryption: the exact sum, opened by all or by nobody, and what a guard refuses."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import FrameError, InvariantBroken, PeerError, TrainingFailed
from cohortium.privacy.he.guard import CKKS, LARGEST_CELL, MOST_VALUES, CkksGuard
from cohortium.privacy.secagg.context import Binding
from cohortium.privacy.secagg.layout import WordLayout


@pytest.mark.parametrize(("n", "weights"), [(3, None), (5, [3, 1, 4, 1, 5]), (20, None)])
def test_counts_are_exact_and_means_within_half_a_step_a_site(encrypted, n, weights):
    world = encrypted(n, weights=weights).run()
    opened = world.open()
    assert np.array_equal(opened.total["counts"], world.total("counts"))
    layout = WordLayout.of(world.updates["site-00"].parameters, word_bits=32)
    bound = Binding(context=world.context(), layout=layout).point.error_bound(3) * opened.weight
    assert np.abs(opened.total["w"] - world.total("w")).max() <= bound
    assert (opened.weight, opened.contributors) == (sum(weights or [1] * n), tuple(world.sites))


def test_the_sum_is_the_one_of_the_masks_bit_for_bit(encrypted, masked):
    ours = encrypted(5).run()
    theirs = masked(5, floats=0, integers=0)
    theirs.updates = ours.updates
    theirs.run()
    survivors = theirs.sites
    assert ours.open().total == theirs.open(survivors=survivors).total


def test_every_site_opens_the_same_bits(encrypted):
    world = encrypted(4).run()
    assert len({world.open(site).total.digest for site in world.sites}) == 1


def test_one_missing_part_blocks_the_sum(encrypted):
    world = encrypted(3).run()
    del world.received["partials"]["site-01"]
    with pytest.raises(PeerError, match="parts of site 'site-01' are missing; all sites are needed"):
        world.open()


def test_a_part_of_another_key_opens_nothing(encrypted):
    world = encrypted(3, floats=0).run()
    parts = world.received["partials"]["site-01"]["parts"]
    world.change("partials", "site-01", parts=(parts + np.uint64(12345)) % world.scheme.primes[0, 0])
    with pytest.raises(PeerError, match=r"zero words|legal range|do not open"):
        world.open()


def test_a_smaller_sum_than_of_all_is_refused_by_name(encrypted):
    world = encrypted(4).run("promises", "publics", "ciphertexts")
    world.received["survivors"] = dict.fromkeys(world.sites[:3], Parameters())
    with pytest.raises(PeerError, match="a sum of all sites or none; missing: site-03"):
        world.ask("site-00", "partials")


def test_an_update_that_cannot_travel_is_refused_before_it_is_committed(encrypted):
    guard = CkksGuard("porto", scheme=encrypted().scheme)
    of = lambda **arrays: Update(site="porto", parameters=Parameters(arrays), weight=2)  # noqa: E731
    guard.check(of(w=np.zeros(MOST_VALUES)))
    guard.check(of(n=np.array([LARGEST_CELL // 2])))
    guard.check(of(n=np.zeros(0, dtype=np.int64)))
    with pytest.raises(TrainingFailed, match="at most 100,000, not an update of 100,001 numbers"):
        guard.check(of(w=np.zeros(MOST_VALUES + 1)))
    with pytest.raises(TrainingFailed, match=r"counts up to 2\^38, not whole numbers as large as in 'n'; set privacy"):
        guard.check(of(n=np.array([-LARGEST_CELL // 2 - 1])))
    with pytest.raises(TrainingFailed, match="'w' is not finite"):
        guard.check(of(w=np.array([np.nan])))


def test_equal_questions_get_equal_bytes_and_a_used_key_is_not_used_again_after_a_restart(encrypted):
    world = encrypted(3).run()
    again = {step: world.ask("site-00", step) for step in ("promises", "publics", "ciphertexts", "partials")}
    assert all(again[step] is world.received[step]["site-00"] for step in again)
    restarted = CkksGuard("site-00", scheme=world.scheme)
    restarted.restore(world.guards["site-00"].memory())
    world.guards["site-00"] = restarted
    assert world.ask("site-00", "publics") == world.received["publics"]["site-00"]
    with pytest.raises(PeerError, match="a key that was used: every key opens one sum"):
        world.ask("site-00", "partials")


def test_a_restart_before_the_answer_changes_nothing(encrypted):
    world = encrypted(3).run("promises", "publics", "ciphertexts")
    memory = world.guards["site-01"].memory()
    world.guards["site-01"] = CkksGuard("site-01", scheme=world.scheme)
    world.guards["site-01"].restore(memory)
    assert np.array_equal(world.run("partials").open("site-01").total["counts"], world.total("counts"))


def test_what_is_older_on_disk_does_not_give_a_used_key_back(encrypted):
    world = encrypted(3).run("promises", "publics", "ciphertexts")
    before = world.guards["site-00"].memory()
    world.run("partials")
    world.guards["site-00"].restore(before)
    world.guards["site-00"]._given.clear()
    with pytest.raises(PeerError, match="a key that was used"):
        world.ask("site-00", "partials")


def test_after_an_answer_no_other_attempt_of_the_round_is_served(encrypted):
    world = encrypted(5).run()
    with pytest.raises(PeerError, match="round 1 was opened in attempt 1; attempt 2 is refused"):
        world.ask("site-00", "promises", attempt=2, frozen=tuple(world.sites[:4]))
    world.ask("site-00", "promises", round=2)


def test_every_attempt_has_its_own_key_and_secrets_end_with_the_round(encrypted):
    world = encrypted(3)
    first, second = (world.ask("site-00", "promises", attempt=number) for number in (1, 2))
    assert first["promise"].tobytes() != second["promise"].tobytes()
    held = world.guards["site-00"].memory()
    assert len(held["1/1/1/secret"]) == len(held["1/1/2/secret"]) > 0
    world.guards["site-00"].finish(1)
    assert len(world.guards["site-00"].memory()["1/1/2/secret"]) == 0


def test_a_question_of_another_context_is_refused(encrypted):
    world = encrypted(3).run("promises")
    with pytest.raises(PeerError, match="begun over another set, base model or layout"):
        world.ask("site-00", "publics", base=b"other")
    with pytest.raises(PeerError, match="promised no key"):
        world.ask("site-00", "publics", attempt=2)
    with pytest.raises(InvariantBroken, match="no step 'unmask'"):
        world.ask("site-00", "unmask")
    with pytest.raises(PeerError, match="took no part in attempt 2"):
        world.open(attempt=2)
    with pytest.raises(PeerError, match="masks need 3 to 64 sites"):
        world.ask("site-00", "promises", round=2, frozen=("site-00", "site-01"))


def test_promises_are_read_strictly(encrypted):
    world = encrypted(3).run("promises", "publics")
    good = dict(world.received["promises"]["site-02"])
    for wrong, why in (
        ({**good, "ctx": np.zeros(32, np.uint8)}, "is for another attempt"),
        ({**good, "promise": np.zeros(31, np.uint8)}, "not of the agreed layout"),
        ({**good, "exponents": np.array([99], np.int8)}, "announces a range that is none"),
    ):
        world.received["promises"]["site-02"] = Parameters(wrong)
        with pytest.raises(FrameError, match=why) as named:
            world.ask("site-00", "ciphertexts")
        assert named.value.site == "site-02"
    del world.received["promises"]["site-02"]
    with pytest.raises(PeerError, match="step 'promises' is not complete: missing site-02"):
        world.ask("site-00", "ciphertexts")


def test_ciphertexts_for_other_keys_are_noticed(encrypted):
    world = encrypted(3).run("promises", "publics", "ciphertexts")
    world.change("ciphertexts", "site-01", seen=np.zeros(32, dtype=np.uint8))
    world.received["survivors"] = dict.fromkeys(world.sites, Parameters())
    with pytest.raises(PeerError, match="'site-01' encrypted for other keys than are here"):
        world.ask("site-00", "partials")


def test_the_steps_are_those_the_contract_knows():
    assert [(step.number, step.posted) for step in CKKS.steps if step.posted] == [(2, True)]
    assert [step.number for step in CKKS.steps if step.payload == "survivors"] == [3]
    assert CKKS.masked
