"""The site half of secure aggregation, as functions of inputs and own secrets: announce, deal, mask, answer.

Theory of operation. A site hides its vector under one stream shared with each other site - added by the one, taken away
by the other, so that they cancel in the sum - and under one of its own, the self mask b. Both its secrets are shared
among all. Of a site that stays, b is rebuilt and its stream removed; of a site that was lost, the mask key a, and what
the others added for it is removed. Never both of one site: with both its vector would lie open. So an answer holds one
share for each site, and which one follows from the agreed survivors alone. Persisting and refusing a second question
is `guard.py`'s part. Design: privacy.md sections 3.2 to 3.4; Bonawitz et al. 2017, Practical Secure Aggregation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.privacy.secagg.context import Binding
from cohortium.privacy.secagg.fixed_point import encode, exponents
from cohortium.privacy.secagg.messages import KEY_SHARE, SEALED_BYTES, SELF_SHARE, Answer, Keys, Shares
from cohortium.privacy.secagg.sealing import seal, unseal
from cohortium.privacy.secagg.secrets import Secrets, agree, public_key, self_digest, share_digest
from cohortium.privacy.secagg.shamir import deal
from cohortium.privacy.secagg.streams import apply_streams, derive

__all__ = ["announce", "answer", "deal_shares", "header_of", "mask", "pair_key", "ranges_of", "self_key"]


def announce(binding: Binding, me: str, secrets: Secrets, update: Update) -> Keys:
    """Public keys, the digest of the self mask, and how large the update's values are."""
    ranges = exponents(update.parameters, binding.layout, site=me)
    return Keys(
        ctx=binding.digest,
        mask_key=public_key(secrets.a),
        seal_key=public_key(secrets.e),
        self_digest=self_digest(binding.digest, secrets.b),
        exponents=tuple(int(one) for one in ranges),
    )


def deal_shares(binding: Binding, me: str, secrets: Secrets, keys: Mapping[str, Keys]) -> Shares:
    """Shares of both secrets for every site of U, each pair sealed to its holder. Raises PeerError for a bad key."""
    pairs = _own_shares(binding, secrets)
    digests, sealed = [], []
    for holder, pair in zip(binding.sites, pairs, strict=True):
        digests.append(
            (
                share_digest(binding.digest, dealer=me, holder=holder, kind=SELF_SHARE, share=pair[SELF_SHARE]),
                share_digest(binding.digest, dealer=me, holder=holder, kind=KEY_SHARE, share=pair[KEY_SHARE]),
            )
        )
        if holder == me:
            sealed.append(bytes(SEALED_BYTES))
        else:
            to = keys[holder].seal_key
            sealed.append(seal(pair, private=secrets.e, public=to, ctx=binding.digest, dealer=me, holder=holder))
    return Shares(digests=tuple(digests), sealed=tuple(sealed))


def header_of(binding: Binding, keys: Mapping[str, Keys]) -> bytes:
    """The salt of all streams; equal at all sites that hold the same keys of all of U."""
    return binding.header(
        {site: one.exponent_bytes for site, one in keys.items()}, {site: one.mask_key for site, one in keys.items()}
    )


def ranges_of(binding: Binding, keys: Mapping[str, Keys]) -> list[int]:
    """The largest announced exponent of each group."""
    return [max(keys[site].exponents[at] for site in binding.sites) for at in range(len(binding.layout.groups))]


def pair_key(a: bytes, public: bytes, *, header: bytes, segment: str, pair: tuple[str, str], peer: str) -> bytes:
    """The stream key of two sites, the same from either end. pair: both names; peer: the other end."""
    info = "|".join(["pair", *sorted(pair), segment]).encode()
    return derive(agree(a, public, site=peer), salt=header, info=info, length=16)


def self_key(b: bytes, *, header: bytes, segment: str, site: str) -> bytes:
    """The stream key of a site's own mask."""
    return derive(b, salt=header, info=f"self|{site}|{segment}".encode(), length=16)


def mask(
    binding: Binding, me: str, secrets: Secrets, update: Update, keys: Mapping[str, Keys], *, seen: bytes
) -> Parameters:
    """The update as words under all its masks, and what this site has seen of the others.

    Raises PeerError for a bad key, TrainingFailed for integers out of range.
    """
    header = header_of(binding, keys)
    vectors = encode(
        update.parameters, binding.layout, site=me, weights=binding.weights, ranges=ranges_of(binding, keys)
    )
    for segment, words in vectors.items():
        streams = [(self_key(secrets.b, header=header, segment=segment, site=me), 1)]
        for peer in binding.sites:
            if peer != me:
                public = keys[peer].mask_key
                key = pair_key(secrets.a, public, header=header, segment=segment, pair=(me, peer), peer=peer)
                streams.append((key, 1 if peer > me else -1))
        apply_streams(words, streams)
    return Parameters({**vectors, "seen": np.frombuffer(seen, dtype=np.uint8)})


def answer(
    binding: Binding,
    me: str,
    secrets: Secrets,
    *,
    keys: Mapping[str, Keys],
    shares: Mapping[str, Shares],
    survivors: tuple[str, ...],
) -> Answer:
    """Exactly one share of each site of U: of its self mask if it survived, else of its mask key.

    Left out is a share that does not open or has not the digest its dealer showed to all: others have theirs.
    """
    place = binding.sites.index(me)
    found: list[bytes | None] = []
    for dealer in binding.sites:
        kind = SELF_SHARE if dealer in survivors else KEY_SHARE
        if dealer == me:
            found.append(_own_shares(binding, secrets)[place][kind])
            continue
        from_ = keys[dealer].seal_key
        ctx, dealt = binding.digest, shares[dealer]
        pair = unseal(dealt.sealed[place], private=secrets.e, public=from_, ctx=ctx, dealer=dealer, holder=me)
        fits = pair is not None and dealt.digests[place][kind] == share_digest(
            ctx, dealer=dealer, holder=me, kind=kind, share=pair[kind]
        )
        found.append(pair[kind] if pair is not None and fits else None)
    return Answer(shares=tuple(found))


def _own_shares(binding: Binding, secrets: Secrets) -> list[tuple[bytes, bytes]]:
    of_b, of_a = (
        deal(secret, seed=seed, threshold=binding.threshold, n=binding.n)
        for secret, seed in zip((secrets.b, secrets.a), secrets.seeds, strict=True)
    )
    return list(zip(of_b, of_a, strict=True))
