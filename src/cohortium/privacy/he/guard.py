"""`CkksGuard`: sums by threshold encryption at one site (seam `core.exchange.Guard`), and its memory.

    promises     digest of the own share of the public key; how large the update's values are
    publics      the share itself, shown once all have promised: nobody can choose theirs by the others'
    ciphertexts  the update as whole numbers under the joint key, to everybody; digest on the ledger
    survivors    who is in the sum: all of the frozen set, or nothing is opened
    partials     every site's part in opening the sum, which it has added up itself

The numbers are the fixed-point words of the masks (`secagg.encoding`), so what opens is the same sum, bit for bit.
Keys are fresh for every attempt of every round and open one sum: the secret is forgotten with the answer. Held against
**passive** parties: whoever follows the protocol and shares what it saw, up to all sites but one; a site that sends a
wrong part makes a round void without being named. Design: privacy.md section 4; decision 12.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cohortium.core.exchange import Context, Received, Recipe, Step
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Update
from cohortium.errors import FrameError, InvariantBroken, PeerError, TrainingFailed
from cohortium.privacy.he.threshold import ThresholdScheme
from cohortium.privacy.secagg.context import Binding
from cohortium.privacy.secagg.decoding import Decoder
from cohortium.privacy.secagg.encoding import Encoder
from cohortium.privacy.secagg.fixed_point import MAX_EXPONENT, MIN_EXPONENT, exponents
from cohortium.privacy.secagg.layout import WordLayout
from cohortium.privacy.secagg.scratch import Scratch

__all__ = ["CKKS", "LARGEST_CELL", "MOST_VALUES", "CkksGuard"]

MOST_VALUES = 100_000
"""Numbers of one update: 64 bytes each travel to every site."""

LARGEST_CELL = 1 << 38
"""Weight times whole number of one site: a sum over 64 of them stays exact in float64 (up to 2^48 was seen)."""

CKKS = Recipe(
    name="ckks",
    masked=True,
    steps=(
        Step(name="promises", number=0, payload="computed", receivers="each", on_late="drop_restart"),
        Step(name="publics", number=1, payload="computed", receivers="each", on_late="drop_restart"),
        Step(name="ciphertexts", number=2, payload="computed", receivers="each", posted=True),
        Step(name="survivors", number=3, payload="survivors", receivers="each", need="agreed", on_late="wait"),
        Step(
            name="partials", number=4, payload="computed", receivers="each", need="threshold", senders="survivors"
        ),
    ),
)  # fmt: skip

_WORD_BITS = 32
_LEGAL_SUM = 1 << 44
_Attempt = tuple[int, int, int]
_Words = NDArray[np.uint64]
_U64, _U8, _I8 = np.dtype("<u8"), np.dtype("u1"), np.dtype("i1")


@dataclass(frozen=True, kw_only=True, repr=False)
class _Kept:
    """What must survive a restart. secret: gone once it was used. answered: digest of the sum it helped to open."""

    ctx: bytes
    layout: bytes
    secret: bytes
    public: bytes
    answered: bytes = b""


class CkksGuard:
    """One site's part in sums by threshold encryption."""

    recipe = CKKS

    def __init__(self, site: str, *, scheme: ThresholdScheme) -> None:
        self.site = site
        self._scheme = scheme
        self._kept: dict[_Attempt, _Kept] = {}
        self._given: dict[tuple[_Attempt, str], Parameters] = {}

    def check(self, update: Update) -> None:
        """Raise TrainingFailed for what cannot travel: not finite, beyond 2^16, too many numbers, too large a count."""
        layout = WordLayout.of(update.parameters, word_bits=_WORD_BITS)
        exponents(update.parameters, layout, site=self.site)
        n = sum(entry.size for entry in layout.entries)
        if n > MOST_VALUES:
            raise self._unfit(f"an update of {n:,} numbers", f"at most {MOST_VALUES:,}")
        for entry, _ in layout.slices(floats=False):
            array = update.parameters[entry.name]
            largest = max((abs(int(array.min())), abs(int(array.max()))), default=0) if array.size else 0
            if largest * update.weight > LARGEST_CELL:
                raise self._unfit(f"whole numbers as large as in '{entry.name}'", "counts up to 2^38")

    def _unfit(self, found: str, limit: str) -> TrainingFailed:
        sentence = f"site '{self.site}': threshold encryption carries {limit}, not {found}"
        return TrainingFailed(f"{sentence}; set privacy.method = 'masks'", code="unusable")

    def step(self, step: str, context: Context, *, own: Update, received: Received) -> Parameters:
        """This site's payload of a step. Raises PeerError when asked against a rule, TrainingFailed out of range."""
        binding = self._bind(context, WordLayout.of(own.parameters, word_bits=_WORD_BITS))
        at = _attempt(context)
        if (at, step) in self._given and self._kept[at].ctx == _ctx(binding):
            return self._given[at, step]
        kept = self._begin(binding) if step == "promises" else self._known(binding)
        given: dict[str, NDArray[np.generic]]
        match step:
            case "promises":
                ranges = exponents(own.parameters, binding.layout, site=self.site)
                promise = _promise(kept.ctx, self.site, kept.public)
                given = {"ctx": _array(kept.ctx), "promise": _array(promise), "exponents": ranges}
            case "publics":
                _read_promises(binding, received)
                given = {"public": np.frombuffer(kept.public, dtype=_U64).reshape(self._scheme.shape)}
            case "ciphertexts":
                sealed = self._encrypted(binding, kept, own, received)
                given = {"values": sealed, "seen": _array(_seen(binding, received))}
            case "partials":
                _check_survivors(binding, received.get("survivors", {}))
                total = self._total(binding, received)
                said = hashlib.sha256(total.tobytes()).digest()
                if not kept.secret:
                    raise PeerError("asked to open a sum with a key that was used: every key opens one sum")
                given = {"parts": self._scheme.partial(kept.secret, total)}
                self._kept[at] = replace(kept, secret=b"", answered=said)
            case _:
                raise InvariantBroken(f"recipe ckks has no step '{step}' that a guard computes")
        self._given[at, step] = Parameters.owning(given)
        return self._given[at, step]

    def open(self, context: Context, *, survivors: Sequence[str], received: Received) -> Aggregate:
        """The sum over all sites. Raises PeerError while one part is missing, or where the parts do not open it."""
        kept = self._kept.get(_attempt(context))
        if kept is None:
            raise PeerError(f"site '{self.site}' took no part in attempt {context.attempt} of round {context.round}")
        binding = self._bind(context, WordLayout.from_bytes(kept.layout))
        if _ctx(binding) != kept.ctx:
            raise PeerError("asked to open a sum of another set, base model or layout than was encrypted")
        _check_survivors(binding, survivors)
        total, ranges = self._total(binding, received), _read_promises(binding, received)[1]
        shape = (len(total), *self._scheme.shape)
        held = received.get("partials", {})
        parts = [self._polynomials(held, site, "parts", shape) for site in binding.sites]
        return self._decoded(binding, ranges, self._scheme.opened(total, parts))

    def memory(self) -> Parameters:
        """Keys of the newest round's attempts that were not used yet, and what was opened."""
        held: dict[str, object] = {}
        for at, kept in sorted(self._kept.items()):
            room = "/".join(str(one) for one in at)
            for name in _FIELDS:
                held[f"{room}/{name}"] = np.array(bytearray(getattr(kept, name)), dtype=np.uint8)
        return Parameters(held)

    def restore(self, memory: Parameters) -> None:
        """Put back what `memory` gave; a key that was used stays used."""
        for room in dict.fromkeys(name.rpartition("/")[0] for name in memory):
            run, round, attempt = (int(one) for one in room.split("/"))
            found = _Kept(**{name: array.tobytes() for name, array in memory.under(room).items()})
            before = self._kept.get((run, round, attempt))
            if before is None or not before.answered:
                self._kept[run, round, attempt] = found
        self._forget()

    def finish(self, round: int) -> None:
        """Let go of the keys of all rounds up to this one."""
        self._kept = {at: kept if at[1] > round else replace(kept, secret=b"") for at, kept in self._kept.items()}
        self._given = {key: given for key, given in self._given.items() if key[0][1] > round}

    # --- what is remembered ------------------------------------------------------------------------------------

    def _bind(self, context: Context, layout: WordLayout) -> Binding:
        binding = Binding(context=context, layout=layout)
        binding.check(self.site)
        return binding

    def _begin(self, binding: Binding) -> _Kept:
        at = _attempt(binding.context)
        if at not in self._kept:
            self._refuse_after_answer(at)
            secret, public = self._scheme.share(_ctx(binding))
            layout = binding.layout.to_bytes()
            self._kept[at] = _Kept(ctx=_ctx(binding), layout=layout, secret=secret, public=_bytes(public))
            self._forget()
        return self._known(binding)

    def _known(self, binding: Binding) -> _Kept:
        at = _attempt(binding.context)
        self._refuse_after_answer(at)
        kept = self._kept.get(at)
        if kept is None:
            raise PeerError(f"site '{self.site}' promised no key in attempt {at[2]} of round {at[1]}")
        if kept.ctx != _ctx(binding):
            raise PeerError(f"attempt {at[2]} of round {at[1]} was begun over another set, base model or layout")
        return kept

    def _refuse_after_answer(self, at: _Attempt) -> None:
        """A second sum of the same round over a smaller set would uncover the missing site by subtraction."""
        for other, kept in self._kept.items():
            if kept.answered and other[:2] == at[:2] and other != at:
                raise PeerError(f"round {at[1]} was opened in attempt {other[2]}; attempt {at[2]} is refused")

    def _forget(self) -> None:
        """Keep the newest round only."""
        newest = max(at[:2] for at in self._kept)
        self._kept = {at: kept for at, kept in self._kept.items() if at[:2] == newest}
        self._given = {key: given for key, given in self._given.items() if key[0] in self._kept}

    # --- what travels ------------------------------------------------------------------------------------------

    def _encrypted(self, binding: Binding, kept: _Kept, own: Update, received: Received) -> _Words:
        """The update's words under the joint key of all."""
        promises, ranges = _read_promises(binding, received)
        held, publics = received.get("publics", {}), []
        for site in binding.sites:
            public = self._polynomials(held, site, "public", self._scheme.shape)
            if _promise(kept.ctx, site, _bytes(public)) != promises[site]:
                raise PeerError(f"site '{site}' shows another share of the key than it promised", site=site)
            publics.append(public)
        encoder = Encoder(
            own.parameters, binding.layout, binding.point, site=self.site, weight=own.weight, ranges=ranges,
            scratch=Scratch(),
        )  # fmt: skip
        numbers = []
        for segment, empty, length in binding.layout.segments():
            words = np.empty(length, dtype=empty.dtype)
            encoder.fill(segment, words, at=0)
            numbers.append(words.view(f"<i{words.itemsize}").astype(np.float64))
        return self._scheme.encrypt(kept.ctx, self._scheme.add(publics), np.concatenate(numbers))

    def _total(self, binding: Binding, received: Received) -> _Words:
        """The sum of everybody's ciphertexts; a site opens nothing else."""
        n = sum(length for _, _, length in binding.layout.segments())
        shape = (-(-n // self._scheme.n_values), 2, *self._scheme.shape)
        held, seen = received.get("ciphertexts", {}), _seen(binding, received)
        values = [self._polynomials(held, site, "values", shape, beside=("seen",)) for site in binding.sites]
        if other := [site for site in binding.sites if held[site]["seen"].tobytes() != seen]:
            raise PeerError(f"site '{other[0]}' encrypted for other keys than are here")
        return self._scheme.add(values)

    def _polynomials(
        self,
        held: Mapping[str, Parameters],
        site: str,
        name: str,
        shape: tuple[int, ...],
        *,
        beside: tuple[str, ...] = (),
    ) -> _Words:
        """A site's polynomials, exactly as many as were agreed; nothing of them is parsed before."""
        if site not in held:
            raise PeerError(f"{name} of site '{site}' are missing; all sites are needed to open a sum")
        found = held[site]
        if list(found) != [name, *beside] or (found[name].dtype, found[name].shape) != (_U64, shape):
            raise FrameError(f"{name} of site '{site}' are not of the agreed size", site=site)
        words = found[name].astype(np.uint64, copy=False)
        if np.any(words >= self._scheme.primes):
            raise FrameError(f"{name} of site '{site}' are no polynomials of this scheme", site=site)
        return words

    def _decoded(self, binding: Binding, ranges: Sequence[int], values: NDArray[np.float64]) -> Aggregate:
        if not np.all(np.abs(values) <= _LEGAL_SUM):
            raise PeerError("the parts do not open the sum: one was made with another key")
        decoder, at = Decoder(binding.layout, binding.point, ranges=ranges, scratch=Scratch()), 0
        for segment, empty, length in binding.layout.segments():
            whole = values[at : at + length].astype(np.int64)
            if empty.dtype.itemsize < 8 and np.any(whole != whole.astype(np.int32)):
                raise PeerError(f"sum of the {segment} is outside of the legal range: a site left its range")
            decoder.take(segment, whole.astype(f"<i{empty.dtype.itemsize}").view(empty.dtype), at=0)
            at += length
        weight = sum(binding.weights[site] for site in binding.sites)
        return Aggregate(total=decoder.opened(), weight=weight, contributors=binding.sites)


_FIELDS = ("ctx", "layout", "secret", "public", "answered")


def _check_survivors(binding: Binding, survivors: Iterable[str]) -> None:
    if gone := sorted(set(binding.sites) - set(survivors)):
        raise PeerError(f"threshold encryption opens a sum of all sites or none; missing: {', '.join(gone)}")


def _read_promises(binding: Binding, received: Received) -> tuple[dict[str, bytes], list[int]]:
    """Promises of all sites, and the largest exponent of each group. Raises FrameError, naming the site."""
    held, promises, every = received.get("promises", {}), {}, []
    if missing := [site for site in binding.sites if site not in held]:
        raise PeerError(f"step 'promises' is not complete: missing {', '.join(missing)}")
    described = [("ctx", _U8, (32,)), ("promise", _U8, (32,)), ("exponents", _I8, (len(binding.layout.groups),))]
    for site in binding.sites:
        arrays = held[site]
        if [(name, array.dtype, array.shape) for name, array in arrays.items()] != described:
            raise FrameError(f"promises of site '{site}' are not of the agreed layout", site=site)
        if arrays["ctx"].tobytes() != _ctx(binding):
            raise FrameError(f"promise of site '{site}' is for another attempt, base model or layout", site=site)
        ranges = arrays["exponents"].astype(np.int64)
        if np.any((ranges < MIN_EXPONENT) | (ranges > MAX_EXPONENT)):
            raise FrameError(f"site '{site}' announces a range that is none", site=site)
        promises[site] = arrays["promise"].tobytes()
        every.append(ranges)
    return promises, [int(one) for one in np.max(every, axis=0)] if binding.layout.groups else []


def _ctx(binding: Binding) -> bytes:
    """What keys, promises and ciphertexts of an attempt are bound to; never that of a masked round."""
    return hashlib.sha256(b"cohortium-ckks-1" + binding.digest).digest()


def _promise(ctx: bytes, site: str, public: bytes) -> bytes:
    return hashlib.sha256(b"cohortium-ckks-share-1" + ctx + site.encode() + b"|" + public).digest()


def _seen(binding: Binding, received: Received) -> bytes:
    """Digest of all promises, so of the joint key, as this site holds them."""
    promises, ranges = _read_promises(binding, received)
    said = b"".join(site.encode() + b"|" + promises[site] for site in binding.sites)
    return hashlib.sha256(b"cohortium-ckks-seen-1" + said + bytes(one & 0xFF for one in ranges)).digest()


def _array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)


def _bytes(words: _Words) -> bytes:
    return words.astype("<u8").tobytes()


def _attempt(context: Context) -> _Attempt:
    return context.run, context.round, context.attempt
