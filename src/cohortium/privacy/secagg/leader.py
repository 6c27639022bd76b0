"""Who merges: masked vectors and answers in, the exact sum out. Leader and attestors compute the same bits.

Of each survivor the self mask is rebuilt and its stream taken away; of each lost site the mask key, and with it what
every survivor added for that site. The lost site's own vector, should it arrive late, is never touched: its self mask
stays. Rebuilt secrets are checked against what their owner announced, shares against what their dealer showed: a fault
has a name, but only where no honest site can get it. A holder is named if it had seen the same shares, a dealer if more
sites than can collude say that it gave them nothing that fits. Integers only, so it does not matter which shares were
used. Design: privacy.md section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from cohortium.core.exchange import n_colluders
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate
from cohortium.errors import PeerError
from cohortium.privacy.secagg.context import Binding
from cohortium.privacy.secagg.decoding import Decoder
from cohortium.privacy.secagg.dither import total_dither
from cohortium.privacy.secagg.member import header_of, pair_key, ranges_of, self_key
from cohortium.privacy.secagg.messages import KEY_SHARE, SELF_SHARE, Answer, Keys, Shares
from cohortium.privacy.secagg.scratch import Scratch
from cohortium.privacy.secagg.secrets import SELF_BYTES, public_key, self_digest, share_digest
from cohortium.privacy.secagg.shamir import SHARE_BYTES, combine
from cohortium.privacy.secagg.streams import Streams

__all__ = ["open_sum"]

_Words = NDArray[np.unsignedinteger]


def open_sum(
    binding: Binding,
    *,
    survivors: tuple[str, ...],
    keys: Mapping[str, Keys],
    shares: Mapping[str, Shares],
    masked: Mapping[str, Parameters],
    answers: Mapping[str, Answer],
    seen: bytes,
    scratch: Scratch,
) -> Aggregate:
    """sum of w_i x_i over the survivors, and nothing about any one of them.

    answers: of survivors, at least `binding.threshold`. seen: digest of keys and shares as they are here. Raises
    PeerError, with the site where it is certain: a share that is not the one dealt, a secret that is not the one
    announced, masks that do not cancel, a sum out of range.
    """
    binding.check_survivors(survivors)
    for site in survivors:
        if site not in masked:
            raise PeerError(f"the masked vector of survivor '{site}' is not here")
        binding.layout.check(masked[site], site=site)
    alike = {site for site in survivors if masked[site]["seen"].tobytes() == seen}
    rebuilt = {
        site: _rebuild(binding, site, SELF_SHARE if site in survivors else KEY_SHARE, keys, shares, answers, alike)
        for site in binding.sites
    }
    header = header_of(binding, keys)
    decoder = Decoder(
        binding.layout, binding.point, ranges=ranges_of(binding, keys), scratch=scratch,
        dither=total_dither(survivors, header=header) if binding.point.dithered else None,
    )  # fmt: skip
    with scratch:
        for segment, empty, length in binding.layout.segments():
            vectors = [masked[site][segment] for site in survivors]
            removed = _to_remove(binding, segment, header, survivors, keys, rebuilt)
            streams = Streams(removed, empty.dtype, scratch)
            buffer: _Words = scratch.words.view(empty.dtype)
            for at in range(0, length, buffer.size):
                words = buffer[: min(buffer.size, length - at)]
                np.add(vectors[0][at : at + words.size], vectors[1][at : at + words.size], out=words)
                for vector in vectors[2:]:
                    np.add(words, vector[at : at + words.size], out=words)
                streams.apply(words)
                decoder.take(segment, words, at=at)
    hidden = binding.largest_weight > 0
    weight = decoder.weight if hidden else sum(binding.weights[site] for site in survivors)
    return Aggregate(total=decoder.opened(), weight=weight, contributors=tuple(sorted(survivors)))


def _to_remove(
    binding: Binding,
    segment: str,
    header: bytes,
    survivors: tuple[str, ...],
    keys: Mapping[str, Keys],
    rebuilt: Mapping[str, bytes],
) -> list[tuple[bytes, int]]:
    """Stream keys and signs that undo what survivors added: all self masks, and the masks shared with lost sites."""
    streams = [(self_key(rebuilt[site], header=header, segment=segment, site=site), -1) for site in survivors]
    for lost in binding.sites:
        if lost in survivors:
            continue
        private = X25519PrivateKey.from_private_bytes(rebuilt[lost])
        for site in survivors:
            public = keys[site].mask_key
            key = pair_key(private, public, header=header, segment=segment, pair=(lost, site), peer=site)
            streams.append((key, -1 if lost > site else 1))
    return streams


def _rebuild(
    binding: Binding,
    owner: str,
    kind: int,
    keys: Mapping[str, Keys],
    shares: Mapping[str, Shares],
    answers: Mapping[str, Answer],
    alike: set[str],
) -> bytes:
    """A secret from the first `threshold` good shares of it. alike: who had seen the same keys and shares."""
    ctx, place = binding.digest, binding.sites.index(owner)
    good: dict[int, bytes] = {}
    liars: list[str] = []
    n_empty = 0
    for x, holder in enumerate(binding.sites):
        if holder not in answers or len(good) == binding.threshold:
            continue
        share = answers[holder].shares[place]
        if share is None:
            n_empty += 1
            continue
        digest = share_digest(ctx, dealer=owner, holder=holder, kind=kind, share=share)
        if digest == shares[owner].digests[x][kind]:
            good[x + 1] = share
        elif holder in alike:
            liars.append(holder)
    if len(good) < binding.threshold:
        found = f"{len(good)} of {binding.threshold} shares of site '{owner}' are here"
        if liars:
            raise PeerError(f"{found}; '{liars[0]}' answered another share than it was dealt", site=liars[0])
        raise PeerError(found, site=owner if n_empty > n_colluders(binding.n_joiners) else "")
    secret = combine(good, n_bytes=SELF_BYTES if kind == SELF_SHARE else SHARE_BYTES)
    if secret is None or not _fits(secret, kind, keys[owner], ctx):
        raise PeerError(f"site '{owner}' dealt shares of another secret than it announced", site=owner)
    return secret


def _fits(secret: bytes, kind: int, announced: Keys, ctx: bytes) -> bool:
    if kind == SELF_SHARE:
        return self_digest(ctx, secret) == announced.self_digest
    return public_key(secret) == announced.mask_key
