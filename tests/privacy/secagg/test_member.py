from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import PeerError, TrainingFailed
from cohortium.privacy.secagg.member import (
    announce,
    answer,
    deal_shares,
    header_of,
    mask,
    pair_key,
    ranges_of,
    self_key,
)
from cohortium.privacy.secagg.messages import KEY_SHARE, SELF_SHARE, Keys, Shares
from cohortium.privacy.secagg.scratch import Scratch
from cohortium.privacy.secagg.secrets import Secrets, public_key, share_digest
from cohortium.privacy.secagg.shamir import combine


class Site:
    """One site's secrets and messages, without a guard around them."""

    def __init__(self, world, name):
        self.name, self.update = name, world.updates[name]
        self.secrets = Secrets.from_root(name.encode().ljust(32, b"."), world.binding().digest)


def dealt(world):
    binding = world.binding()
    sites = {name: Site(world, name) for name in world.sites}
    keys = {name: announce(binding, name, site.secrets, site.update) for name, site in sites.items()}
    shares = {name: deal_shares(binding, name, site.secrets, keys) for name, site in sites.items()}
    return binding, sites, keys, shares


def test_pair_keys_are_the_same_at_both_ends_and_differ_for_every_pair_segment_and_header(masked) -> None:
    world = masked(5)
    binding, sites, keys, _ = dealt(world)
    found = set()
    for header in (header_of(binding, keys), b"h" * 32):
        for segment in ("floats", "integers"):
            for i, j in combinations(world.sites, 2):
                ends = [
                    pair_key(
                        sites[a].secrets.mask_key, keys[b].mask_key, header=header, segment=segment, pair=(a, b), peer=b
                    )
                    for a, b in ((i, j), (j, i))
                ]
                assert ends[0] == ends[1]
                found.add(ends[0])
            found |= {self_key(s.secrets.b, header=header, segment=segment, site=n) for n, s in sites.items()}
    assert len(found) == 2 * 2 * (10 + 5)


def test_masked_words_are_uniform_though_the_update_is_constant(masked) -> None:
    world = masked(5, floats=40_000, integers=0)
    constant = Parameters({"w": np.ones(40_000, np.float32)})
    world.updates = {s: Update(site=s, parameters=constant, weight=1) for s in world.sites}
    binding, sites, keys, _ = dealt(world)
    for name in world.sites:
        words = np.asarray(
            mask(binding, name, sites[name].secrets, world.updates[name], keys, seen=bytes(32), scratch=Scratch())[
                "floats"
            ]
        )
        counts = np.bincount(words.view(np.uint8), minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-4
        assert abs(np.corrcoef(words[:-1].astype(float), words[1:].astype(float))[0, 1]) < 0.03
    encoded = np.full(40_008, 7, np.uint32).view(np.uint8)  # the other side: unmasked words are noticed
    assert stats.chisquare(np.bincount(encoded, minlength=256)).pvalue < 1e-300


def test_planted_update_leaves_no_trace_in_the_masked_vector(masked) -> None:
    world = masked(5, floats=20_000, integers=0)
    binding, sites, keys, _ = dealt(world)
    name = world.sites[2]
    planted = world.updates[name].parameters["w"].astype(float)
    words = np.asarray(
        mask(binding, name, sites[name].secrets, world.updates[name], keys, seen=bytes(32), scratch=Scratch())["floats"]
    )
    seen = words[:-8].view(np.int32).astype(float)
    assert abs(np.corrcoef(planted, seen)[0, 1]) < 4 / np.sqrt(20_000)


def test_each_share_belongs_to_its_polynomial_and_threshold_of_them_give_the_secrets(masked) -> None:
    world = masked(5)
    binding, sites, keys, shares = dealt(world)
    dealer = world.sites[0]
    for kind, secret, n_bytes in ((SELF_SHARE, sites[dealer].secrets.b, 31), (KEY_SHARE, sites[dealer].secrets.a, 32)):
        survivors = world.sites if kind == SELF_SHARE else world.sites[1:]
        given = {}
        for x, holder in enumerate(world.sites):
            found = answer(binding, holder, sites[holder].secrets, keys=keys, shares=shares, survivors=tuple(survivors))
            given[x + 1] = found.shares[0]
            digest = share_digest(binding.digest, dealer=dealer, holder=holder, kind=kind, share=given[x + 1])
            assert digest == shares[dealer].digests[x][kind]
        for chosen in combinations(given, binding.threshold):
            assert combine({x: given[x] for x in chosen}, n_bytes=n_bytes) == secret
        few = {x: given[x] for x in list(given)[: binding.threshold - 1]}
        assert combine(few, n_bytes=n_bytes) != secret


def test_answer_holds_one_share_of_each_site_and_the_survivors_say_which(masked) -> None:
    world = masked(5)
    binding, sites, keys, shares = dealt(world)
    me, survivors = world.sites[0], tuple(world.sites[:4])
    found = answer(binding, me, sites[me].secrets, keys=keys, shares=shares, survivors=survivors)
    assert len(found.shares) == 5
    for place, owner in enumerate(world.sites):
        kinds = [
            kind
            for kind in (SELF_SHARE, KEY_SHARE)
            if share_digest(binding.digest, dealer=owner, holder=me, kind=kind, share=found.shares[place])
            == shares[owner].digests[0][kind]
        ]
        assert kinds == [SELF_SHARE if owner in survivors else KEY_SHARE]


def test_share_that_does_not_open_or_fit_is_left_out_and_the_others_stay(masked) -> None:
    world = masked(4)
    binding, sites, keys, shares = dealt(world)
    me = world.sites[0]
    broken = shares["site-01"]
    altered = Shares(digests=broken.digests, sealed=(bytes(80), *broken.sealed[1:]))
    other = Shares(digests=((b"x" * 32, b"y" * 32), *shares["site-02"].digests[1:]), sealed=shares["site-02"].sealed)
    given = answer(
        binding, me, sites[me].secrets, keys=keys, survivors=tuple(world.sites),
        shares={**shares, "site-01": altered, "site-02": other},
    )  # fmt: skip
    assert [share is None for share in given.shares] == [False, True, True, False]


def test_captured_payloads_hold_no_secret_and_no_share(masked) -> None:
    world = masked(4).run("keys", "shares", "masked")
    secrets = {site: g._kept[1, 1, 1] for site, g in world.guards.items()}
    captured = b"".join(
        np.asarray(array).tobytes() for sent in world.received.values() for p in sent.values() for array in p.values()
    )
    for kept in secrets.values():
        all_of_it = Secrets.from_root(kept.root, kept.ctx)
        assert not any(part in captured for part in (kept.root, all_of_it.a, all_of_it.b, all_of_it.e))


def test_ranges_are_the_largest_announced(masked) -> None:
    world = masked(3, integers=0)
    _, _, keys, _ = dealt(world)
    exponents = (1, -3, 5)
    changed = {
        site: Keys(ctx=k.ctx, mask_key=k.mask_key, seal_key=k.seal_key, self_digest=k.self_digest, exponents=(e,))
        for (site, k), e in zip(keys.items(), exponents, strict=True)
    }
    assert ranges_of(world.binding(), changed) == [5]
    assert header_of(world.binding(), changed) != header_of(world.binding(), keys)


def test_bad_mask_key_of_a_peer_is_named_before_anything_is_sent(masked) -> None:
    world = masked(3)
    binding, sites, keys, _ = dealt(world)
    bad = Keys(ctx=binding.digest, mask_key=bytes(32), seal_key=keys["site-01"].seal_key, self_digest=bytes(32),
               exponents=keys["site-01"].exponents)  # fmt: skip
    with pytest.raises(PeerError, match="'site-01'"):
        mask(
            binding,
            "site-00",
            sites["site-00"].secrets,
            world.updates["site-00"],
            {**keys, "site-01": bad},
            seen=bytes(32),
            scratch=Scratch(),
        )
    worse = Keys(ctx=binding.digest, mask_key=public_key(b"k" * 32), seal_key=bytes(32), self_digest=bytes(32),
                 exponents=keys["site-01"].exponents)  # fmt: skip
    with pytest.raises(PeerError, match="'site-01'"):
        deal_shares(binding, "site-00", sites["site-00"].secrets, {**keys, "site-01": worse})


def test_update_that_is_not_finite_announces_nothing(masked) -> None:
    world = masked(3)
    site = world.sites[0]
    arrays = Parameters({"w": np.full(12, np.nan, np.float32), "sums": np.zeros(6, np.int64)})
    world.updates[site] = Update(site=site, parameters=arrays, weight=1)
    with pytest.raises(TrainingFailed, match="not finite"):
        announce(world.binding(), site, Secrets.from_root(b"r" * 32, world.binding().digest), world.updates[site])
