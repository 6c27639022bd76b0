from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError, PeerError
from cohortium.privacy.secagg.leader import _rebuild, open_sum
from cohortium.privacy.secagg.member import deal_shares, header_of, pair_key, ranges_of, self_key
from cohortium.privacy.secagg.messages import KEY_SHARE, Answer, Keys, Shares
from cohortium.privacy.secagg.scratch import Scratch
from cohortium.privacy.secagg.secrets import Secrets, public_key, share_digest
from cohortium.privacy.secagg.shamir import combine


def changed(world, step, site, **arrays):
    """The payloads with one site's arrays replaced."""
    return {**world.received, step: {**world.received[step], site: world.received[step][site] | Parameters(arrays)}}


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_allowed_pattern_of_losses_gives_the_exact_sum_of_the_survivors(privacy, data) -> None:
    n = data.draw(st.integers(3, 12))
    world = privacy.Masked(n, seed=n, floats=5, integers=3, weights=data.draw(st.lists(
        st.integers(1, 100), min_size=n, max_size=n)))  # fmt: skip
    binding = world.binding()
    spare = n - max(binding.threshold, binding.least)
    lost = set(data.draw(st.permutations(world.sites))[: data.draw(st.integers(0, spare))])
    survivors = [site for site in world.sites if site not in lost]
    mute = data.draw(st.integers(0, len(survivors) - binding.threshold))
    answering = data.draw(st.permutations(survivors))[: len(survivors) - mute]
    late = data.draw(st.booleans())  # vectors of lost sites may be here all the same
    world.run(survivors=survivors, answering=answering)
    if not late:
        world.received["masked"] = {s: v for s, v in world.received["masked"].items() if s not in lost}
    opened = world.open(survivors=survivors)
    assert opened.contributors == tuple(survivors)
    assert opened.weight == sum(world.updates[s].weight for s in survivors)
    assert opened.single is None
    assert np.array_equal(opened.total["sums"], world.total(survivors))
    assert world.expected(survivors).digest == opened.total.digest  # floats: exactly the integer sum of encodings
    whole = sum(u.weight for u in world.updates.values())
    bound = binding.point.error_bound(ranges_of(binding, world.keys())[0]) * whole / opened.weight
    assert np.abs(opened.total["w"] / opened.weight - world.mean(survivors)).max() <= bound


def test_one_loss_more_than_allowed_opens_nothing(masked) -> None:
    for n in range(3, 9):
        world = masked(n).run("keys", "shares", "masked")
        needed = max(world.binding().threshold, world.binding().least)
        few = world.sites[: needed - 1]
        with pytest.raises(PeerError, match="are needed to unmask"):
            world.run("unmask", survivors=few)
        with pytest.raises(PeerError, match="are needed to unmask"):
            world.open(survivors=few)
        enough = world.sites[:needed]
        world.run("unmask", survivors=enough, answering=enough[:-1] if needed == world.binding().threshold else enough)
        if needed == world.binding().threshold:
            with pytest.raises(PeerError, match=f"{needed - 1} of {needed} shares"):
                world.open(survivors=enough)


def test_total_of_learners_by_sums_equals_the_plain_merge_bit_for_bit(masked) -> None:
    world = masked(5, floats=0, integers=100).run()
    plain = weighted_sum(list(world.updates.values()))
    opened = world.open()
    assert opened.total.digest == plain.total.digest
    assert (opened.weight, opened.contributors) == (plain.weight, plain.contributors)


def test_leader_and_attestors_get_the_same_bits_from_different_answers(masked) -> None:
    world = masked(6, weights=[3, 1, 4, 1, 5, 9]).run()
    threshold = world.binding().threshold
    digests = set()
    for chosen in combinations(world.sites, threshold):
        answers = {site: world.received["unmask"][site] for site in chosen}
        digests.add(
            world.open(chosen[0], survivors=world.sites, received={**world.received, "unmask": answers}).total.digest
        )
    assert len(digests) == 1


def test_wrong_share_names_its_holder_and_is_not_needed_where_others_are(masked) -> None:
    world = masked(5).run()
    shares = np.array(world.received["unmask"]["site-01"]["shares"])
    shares[3, 0] ^= 1
    lied = changed(world, "unmask", "site-01", shares=shares)
    assert np.array_equal(world.open(received=lied).total["sums"], world.total(world.sites))
    del lied["unmask"]["site-04"]  # now it is needed
    with pytest.raises(PeerError, match="'site-01' answered another share than it was dealt") as refused:
        world.open(received=lied)
    assert refused.value.site == "site-01"


def test_dealer_whose_shares_do_not_open_is_named_when_too_few_are_left(masked) -> None:
    world = masked(4).run("keys", "shares", "masked")
    sealed = np.array(world.received["shares"]["site-02"]["sealed"])
    sealed[[0, 1]] = 0
    world.received = changed(world, "shares", "site-02", sealed=sealed)
    world.run("unmask")
    assert world.received["unmask"]["site-00"]["held"].tolist() == [1, 1, 0, 1]
    with pytest.raises(PeerError, match="2 of 3 shares of site 'site-02'") as refused:
        world.open()
    assert refused.value.site == "site-02"


def test_dealer_of_shares_of_another_secret_is_named(masked) -> None:
    world = masked(4).run("keys", "shares", "masked")
    world.run("unmask")
    digest = np.zeros(32, np.uint8)
    with pytest.raises(PeerError, match="'site-03' dealt shares of another secret than it announced") as refused:
        world.open(received=changed(world, "keys", "site-03", self_digest=digest))
    assert refused.value.site == "site-03"
    # and of a lost site: its mask key
    world = masked(4).run("keys", "shares", "masked").run("unmask", survivors=["site-00", "site-01", "site-02"])
    other = np.frombuffer(public_key(b"o" * 32), np.uint8)
    with pytest.raises(PeerError, match="'site-03' dealt shares of another secret"):
        world.open(survivors=world.sites[:3], received=changed(world, "keys", "site-03", mask_key=other))


def test_missing_or_misshapen_vector_of_a_survivor_is_refused(masked) -> None:
    world = masked(4).run()
    held = {**world.received, "masked": {s: v for s, v in world.received["masked"].items() if s != "site-02"}}
    with pytest.raises(PeerError, match="vector of survivor 'site-02' is not here"):
        world.open(received=held)
    short = np.asarray(world.received["masked"]["site-02"]["floats"])[:-1]
    with pytest.raises(FrameError, match="masked vector of site 'site-02'") as refused:
        world.open(received=changed(world, "masked", "site-02", floats=short))
    assert refused.value.site == "site-02"


def test_changed_vector_is_noticed_by_its_zero_words_or_its_range(masked) -> None:
    world = masked(4).run()
    words = np.array(world.received["masked"]["site-02"]["floats"])
    words[-1] += 1
    with pytest.raises(PeerError, match="did not cancel"):
        world.open(received=changed(world, "masked", "site-02", floats=words))
    words[-1] -= 1
    words[0] += 2**31
    with pytest.raises(PeerError, match="legal range"):
        world.open(received=changed(world, "masked", "site-02", floats=words))


def test_leader_who_declares_a_site_lost_cannot_open_its_late_vector(masked, privacy) -> None:
    """All it gets: the vector, the victim's mask key, the self masks of the others. The victim's self mask stays."""
    world = masked(5, floats=20_000, integers=0)
    survivors, victim = world.sites[:4], "site-04"
    world.run(survivors=survivors)
    binding = world.binding()
    keys = {s: Keys.from_parameters(p, binding, site=s) for s, p in world.received["keys"].items()}
    answers = {s: Answer.from_parameters(p, binding, site=s) for s, p in world.received["unmask"].items()}
    key = combine({x + 1: answers[s].shares[4] for x, s in enumerate(survivors)}, n_bytes=32)
    assert public_key(key) == keys[victim].mask_key
    words = np.array(world.received["masked"][victim]["floats"])
    header = header_of(binding, keys)
    pairs = [
        (
            pair_key(
                X25519PrivateKey.from_private_bytes(key),
                keys[s].mask_key,
                header=header,
                segment="floats",
                pair=(victim, s),
                peer=s,
            ),
            1,
        )
        for s in survivors
    ]
    privacy.apply_streams(words, pairs)  # the victim is last by name: it took all pair masks away
    assert stats.chisquare(np.bincount(words.view(np.uint8), minlength=256)).pvalue > 1e-4
    seen = words[:-8].view(np.int32).astype(float)
    planted = world.updates[victim].parameters["w"].astype(float)
    assert abs(np.corrcoef(planted, seen)[0, 1]) < 4 / np.sqrt(20_000)
    # the weak variant: with the self mask as well, every bit of the update lies open
    kept = world.guards[victim]._kept[1, 1, 1]

    b = Secrets.from_root(kept.root, kept.ctx).b
    privacy.apply_streams(words, [(self_key(b, header=header, segment="floats", site=victim), -1)])
    assert not np.any(words[-8:])
    assert np.corrcoef(planted, words[:-8].view(np.int32).astype(float))[0, 1] > 0.999999


def test_leader_and_colluders_see_only_the_sum_of_the_honest_sites(masked, privacy) -> None:
    """n = 5, c = 1: leader site-00 knows its own secrets and all messages; the others stay hidden from each other."""
    world = masked(5, floats=20_000, integers=0).run()
    binding = world.binding()
    keys = {s: Keys.from_parameters(p, binding, site=s) for s, p in world.received["keys"].items()}
    opened = world.open("site-00")

    header = header_of(binding, keys)
    shares = {s: Shares.from_parameters(p, binding, site=s) for s, p in world.received["shares"].items()}
    answers = {s: Answer.from_parameters(p, binding, site=s) for s, p in world.received["unmask"].items()}
    kept = world.guards["site-00"]._kept[1, 1, 1]
    mine = Secrets.from_root(kept.root, kept.ctx)
    victims = world.sites[1:]
    bare = {}
    for victim in victims:  # everything the coalition can take away
        b = _rebuild(binding, victim, 0, keys, shares, answers, set())
        words = np.array(world.received["masked"][victim]["floats"])
        pair = pair_key(
            mine.mask_key, keys[victim].mask_key, header=header, segment="floats", pair=("site-00", victim), peer=victim
        )
        privacy.apply_streams(words, [(self_key(b, header=header, segment="floats", site=victim), -1), (pair, 1)])
        bare[victim] = words
    for size in (1, 2, 3):
        for group in combinations(victims, size):
            words = sum(bare[v] for v in group).astype(np.uint32)
            assert stats.chisquare(np.bincount(words.view(np.uint8), minlength=256)).pvalue > 1e-5
    everyone = sum(bare.values()).astype(np.uint32)
    assert not np.any(everyone[-8:])  # the sum of all honest sites, which is what the opened sum less its own is
    rest = opened.total["w"] - world.updates["site-00"].parameters["w"].astype(np.float64)
    steps = np.corrcoef(rest, everyone[:-8].view(np.int32).astype(float))[0, 1]
    assert steps > 0.999999


def test_survivors_that_are_not_allowed_are_refused_whatever_was_answered(masked) -> None:
    world = masked(5).run()
    for survivors in (world.sites[:3], [*world.sites[:4], "lund"]):
        with pytest.raises(PeerError):
            open_sum(world.binding(), survivors=tuple(survivors), keys={}, shares={}, masked={}, answers={},
                     seen=b"", scratch=Scratch())  # fmt: skip


def test_mask_key_share_digest_is_not_that_of_the_self_mask(masked) -> None:
    world = masked(4).run(survivors=["site-00", "site-01", "site-02"])
    binding = world.binding()
    shares = Shares.from_parameters(world.received["shares"]["site-03"], binding, site="site-03")
    given = Answer.from_parameters(world.received["unmask"]["site-00"], binding, site="site-00").shares[3]
    digest = share_digest(binding.digest, dealer="site-03", holder="site-00", kind=KEY_SHARE, share=given)
    assert digest == shares.digests[0][KEY_SHARE]
    assert digest != shares.digests[0][0]


def test_dealer_that_shows_two_faces_cannot_have_an_honest_holder_blamed(masked) -> None:
    """site-02 shows other shares to site-00 than to the rest: site-00's answer fits what it saw."""
    world = masked(4).run("keys", "shares")
    binding = world.binding()
    kept = world.guards["site-02"]._kept[1, 1, 1]
    secrets = Secrets.from_root(kept.root, kept.ctx)
    keys = {s: Keys.from_parameters(p, binding, site=s) for s, p in world.received["keys"].items()}
    other = Secrets(a=secrets.a, e=secrets.e, b=secrets.b, seeds=(b"another", b"polynomial"))
    shown = {**world.received, "shares": {**world.received["shares"]}}
    shown["shares"]["site-02"] = deal_shares(binding, "site-02", other, keys).to_parameters()
    views = {site: shown if site == "site-00" else world.received for site in world.sites}
    masked_by = {s: world.ask(s, "masked", received=views[s]) for s in world.sites}
    survivors = dict.fromkeys(world.sites, Parameters())
    answers = {s: world.ask(s, "unmask", received={**views[s], "survivors": survivors}) for s in world.sites}
    assert answers["site-00"]["held"].tolist() == [1, 1, 1, 1]
    held = {**world.received, "masked": masked_by, "unmask": answers}
    assert np.array_equal(
        world.open("site-01", survivors=world.sites, received=held).total["sums"], world.total(world.sites)
    )
    del answers["site-03"]  # now its share would be needed: the round cannot be opened, and nobody is accused
    with pytest.raises(PeerError, match="2 of 3 shares of site 'site-02'") as refused:
        world.open("site-01", survivors=world.sites, received=held)
    assert refused.value.site == ""


def test_colluders_who_say_they_got_nothing_cannot_have_an_honest_dealer_blamed(masked) -> None:
    world = masked(5).run()  # c = 1, t = 4
    held = np.array(world.received["unmask"]["site-01"]["held"])
    held[3] = 0
    lied = changed(world, "unmask", "site-01", held=held)
    assert np.array_equal(world.open(received=lied).total["sums"], world.total(world.sites))
    del lied["unmask"]["site-04"]
    with pytest.raises(PeerError, match="3 of 4 shares of site 'site-03'") as refused:
        world.open(received=lied)
    assert refused.value.site == ""
