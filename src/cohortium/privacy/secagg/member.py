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
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import TrainingFailed
from cohortium.privacy.secagg.context import Binding
from cohortium.privacy.secagg.dither import dither_of
from cohortium.privacy.secagg.encoding import Encoder
from cohortium.privacy.secagg.fixed_point import exponents
from cohortium.privacy.secagg.messages import KEY_SHARE, SEALED_BYTES, SELF_SHARE, Answer, Keys, Shares
from cohortium.privacy.secagg.scratch import PIECE_BYTES, Scratch
from cohortium.privacy.secagg.sealing import seal, unseal
from cohortium.privacy.secagg.secrets import Secrets, agree, self_digest, share_digest
from cohortium.privacy.secagg.shamir import deal
from cohortium.privacy.secagg.streams import Streams, derive

__all__ = [
    "announce",
    "answer",
    "check_weight",
    "deal_shares",
    "header_of",
    "mask",
    "pair_key",
    "ranges_of",
    "self_key",
]

_Words = NDArray[np.unsignedinteger]


def check_weight(me: str, update: Update, *, largest: int) -> None:
    """Raise TrainingFailed for a hidden weight above the study's largest (0: weights are public)."""
    if 0 < largest < update.weight:
        raise TrainingFailed(
            f"site '{me}': its weight is above the study's privacy.largest_weight = {largest};"
            " set a larger one, or strategy.cap to it",
            code="unusable",
        )


def announce(binding: Binding, me: str, secrets: Secrets, update: Update) -> Keys:
    """Public keys, the digest of the self mask, and how large the update's values are.

    Raises TrainingFailed for values that are not finite or too large, and for a hidden weight beyond the study's.
    """
    check_weight(me, update, largest=binding.largest_weight)
    ranges = exponents(update.parameters, binding.layout, site=me)
    return Keys(
        ctx=binding.digest,
        mask_key=secrets.mask_key.public_key().public_bytes_raw(),
        seal_key=secrets.seal_key.public_key().public_bytes_raw(),
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
            shared = secrets.seal_with(keys[holder].seal_key, site=holder)
            sealed.append(seal(pair, shared=shared, ctx=binding.digest, dealer=me, holder=holder))
    return Shares(digests=tuple(digests), sealed=tuple(sealed))


def header_of(binding: Binding, keys: Mapping[str, Keys]) -> bytes:
    """The salt of all streams; equal at all sites that hold the same keys of all of U."""
    return binding.header(
        {site: one.exponent_bytes for site, one in keys.items()}, {site: one.mask_key for site, one in keys.items()}
    )


def ranges_of(binding: Binding, keys: Mapping[str, Keys]) -> list[int]:
    """The largest announced exponent of each group."""
    return [max(keys[site].exponents[at] for site in binding.sites) for at in range(len(binding.layout.groups))]


def pair_key(
    a: X25519PrivateKey, public: bytes, *, header: bytes, segment: str, pair: tuple[str, str], peer: str
) -> bytes:
    """The stream key of two sites, the same from either end. pair: both names; peer: the other end."""
    info = "|".join(["pair", *sorted(pair), segment]).encode()
    return derive(agree(a, public, site=peer), salt=header, info=info, length=16)


def self_key(b: bytes, *, header: bytes, segment: str, site: str) -> bytes:
    """The stream key of a site's own mask."""
    return derive(b, salt=header, info=f"self|{site}|{segment}".encode(), length=16)


def mask(
    binding: Binding,
    me: str,
    secrets: Secrets,
    update: Update,
    keys: Mapping[str, Keys],
    *,
    seen: bytes,
    scratch: Scratch,
) -> Parameters:
    """The update as words under all its masks, and what this site has seen of the others.

    A piece is encoded, then every stream is put on it while it lies in the cache; no word lies open but in that piece.

    Raises PeerError for a bad key, TrainingFailed for integers out of range.
    """
    header = header_of(binding, keys)
    masked: dict[str, NDArray[np.generic]] = {}
    with scratch:
        encoder = Encoder(
            update.parameters, binding.layout, binding.point, site=me, weight=update.weight,
            ranges=ranges_of(binding, keys), scratch=scratch,
            dither=dither_of(me, header=header) if binding.point.dithered else None,
        )  # fmt: skip
        for segment, empty, length in binding.layout.segments():
            words: _Words = scratch.vector(segment, length, empty.dtype)
            streams = Streams(_own_streams(binding, me, secrets, keys, header, segment), words.dtype, scratch)
            step = PIECE_BYTES // words.itemsize
            for at in range(0, length, step):
                piece = words[at : at + step]
                encoder.fill(segment, piece, at=at)
                streams.apply(piece)
            masked[segment] = words
    return Parameters.owning({**masked, "seen": np.frombuffer(seen, dtype=np.uint8)})


def _own_streams(
    binding: Binding, me: str, secrets: Secrets, keys: Mapping[str, Keys], header: bytes, segment: str
) -> list[tuple[bytes, int]]:
    """Stream keys and signs of this site's masks: its own, and one with each other site."""
    streams = [(self_key(secrets.b, header=header, segment=segment, site=me), 1)]
    for peer in binding.sites:
        if peer != me:
            public = keys[peer].mask_key
            key = pair_key(secrets.mask_key, public, header=header, segment=segment, pair=(me, peer), peer=peer)
            streams.append((key, 1 if peer > me else -1))
    return streams


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
        ctx, dealt = binding.digest, shares[dealer]
        shared = secrets.seal_with(keys[dealer].seal_key, site=dealer)
        pair = unseal(dealt.sealed[place], shared=shared, ctx=ctx, dealer=dealer, holder=me)
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
