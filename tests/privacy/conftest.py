"""Worlds for tests of privacy: several sites' guards, a context, and payloads carried by hand."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from cohortium.core.exchange import Context
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import PeerError
from cohortium.privacy.he.guard import CkksGuard
from cohortium.privacy.he.threshold import missing, require_scheme
from cohortium.privacy.secagg.context import Binding
from cohortium.privacy.secagg.decoding import Decoder
from cohortium.privacy.secagg.dither import dither_of, total_dither
from cohortium.privacy.secagg.encoding import Encoder
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.privacy.secagg.layout import WordLayout
from cohortium.privacy.secagg.member import header_of, ranges_of
from cohortium.privacy.secagg.messages import Keys
from cohortium.privacy.secagg.scratch import Scratch
from cohortium.privacy.secagg.secrets import Secrets
from cohortium.privacy.secagg.streams import Streams


def entropy_of(site):
    """Different bytes at every call, repeatable: what the operating system gives, for tests."""
    calls = iter(range(1_000_000))
    return lambda n: hashlib.shake_256(f"{site}|{next(calls)}".encode()).digest(n)


def apply_streams(words, keys, *, start=0):
    """Put whole streams onto a vector."""
    with Scratch() as scratch:
        Streams(keys, words.dtype, scratch, start=start).apply(words)


def encoded(update, binding, ranges, *, header=b"h" * 32):
    """One site's vectors by segment, not masked."""
    dither = dither_of(update.site, header=header) if binding.point.dithered else None
    encoder = Encoder(
        update.parameters, binding.layout, binding.point, site=update.site, weight=update.weight, ranges=ranges,
        scratch=Scratch(), dither=dither,
    )  # fmt: skip
    vectors = {}
    for name, empty, length in binding.layout.segments():
        vectors[name] = np.empty(length, empty.dtype)
        encoder.fill(name, vectors[name], at=0)
    return vectors


def decoded(vectors, binding, ranges, survivors, *, header=b"h" * 32):
    """What sums of such vectors stand for; with hidden weights, their sum too."""
    dither = total_dither(survivors, header=header) if binding.point.dithered else None
    decoder = Decoder(binding.layout, binding.point, ranges=ranges, scratch=Scratch(), dither=dither)
    for name, words in vectors.items():
        decoder.take(name, words, at=0)
    return (decoder.opened(), decoder.weight) if binding.largest_weight else decoder.opened()


class Masked:
    """n sites in one masked round; `run` carries the payloads of each step to everybody."""

    def __init__(
        self, n=5, *, n_joiners=None, word_bits=32, seed=0, floats=12, integers=6, weights=None, largest_weight=0
    ) -> None:
        self.sites = [f"site-{i:02d}" for i in range(n)]
        rng = np.random.default_rng(seed)
        self.updates = {}
        for i, site in enumerate(self.sites):
            arrays = {}
            if floats:
                arrays["w"] = rng.normal(size=floats).astype(np.float32)
            if integers:
                arrays["sums"] = rng.integers(-(2**50), 2**50, size=integers)
            weight = (weights or [1] * n)[i]
            self.updates[site] = Update(site=site, parameters=Parameters(arrays), weight=weight)
        self.word_bits, self.largest_weight = word_bits, largest_weight
        self.n_joiners = n_joiners or n
        self.guards = {site: self.guard(site) for site in self.sites}
        self.received = {}

    def guard(self, site):
        return MaskedGuard(site, entropy=entropy_of(site), word_bits=self.word_bits, largest_weight=self.largest_weight)

    def context(self, **fields):
        weights = {s: 1 if self.largest_weight else u.weight for s, u in self.updates.items()}
        given = {
            "consortium": b"c", "study": b"s", "run": 1, "round": 1, "attempt": 1, "base": b"b",
            "frozen": tuple(self.sites), "weights": weights,
            "n_joiners": self.n_joiners,
        }  # fmt: skip
        return Context(**{**given, **fields})

    def binding(self, **fields):
        layout = WordLayout.of(
            self.updates[self.sites[0]].parameters, word_bits=self.word_bits, hidden_weight=self.largest_weight > 0
        )
        return Binding(context=self.context(**fields), layout=layout, largest_weight=self.largest_weight)

    def ask(self, site, step, *, received=None, **fields):
        held = self.received if received is None else received
        return self.guards[site].step(step, self.context(**fields), own=self.updates[site], received=held)

    def run(self, *steps, survivors=None, answering=None, **fields):
        """Carry out the steps; `survivors` are agreed after the vectors, `answering` of them answer."""
        for step in steps or ("keys", "shares", "masked", "unmask"):
            if step == "unmask":
                self.received["survivors"] = dict.fromkeys(survivors or self.sites, Parameters())
                asked = answering if answering is not None else survivors or self.sites
            else:
                asked = self.sites
            self.received[step] = {site: self.ask(site, step, **fields) for site in asked}
        return self

    def open(self, by=None, *, survivors=None, received=None, **fields):
        survivors = tuple(survivors or self.sites)
        guard = self.guards[by or survivors[0]]
        return guard.open(self.context(**fields), survivors=survivors, received=received or self.received)

    def keys(self):
        """The keys all of U announced."""
        return {s: Keys.from_parameters(p, self.binding(), site=s) for s, p in self.received["keys"].items()}

    def secrets(self, site):
        """A site's secrets of round 1, attempt 1: what an attacker who broke into it has."""
        kept = self.guards[site]._kept[1, 1, 1]
        return Secrets.from_root(kept.root, kept.ctx)

    def expected(self, survivors):
        """What the integer sum of encodings stands for, without any mask."""
        binding, keys = self.binding(), self.keys()
        ranges, header = ranges_of(binding, keys), header_of(binding, keys)
        words = [encoded(self.updates[s], binding, ranges, header=header) for s in survivors]
        total = {name: sum((one[name] for one in words[1:]), words[0][name].copy()) for name in words[0]}
        return decoded(total, binding, ranges, survivors, header=header)

    def total(self, survivors, name="sums"):
        """The plain sum of integer arrays."""
        return sum(self.updates[s].weight * self.updates[s].parameters[name].astype(np.int64) for s in survivors)

    def mean(self, survivors, name="w"):
        """The plain weighted mean in float64."""
        total = sum(self.updates[s].weight * self.updates[s].parameters[name].astype(np.float64) for s in survivors)
        return total / sum(self.updates[s].weight for s in survivors)


PRIME = (1 << 61) - 1
CKKS_STEPS = ("promises", "publics", "ciphertexts", "partials")


class GlassScheme:
    """Additive and opened by all keys together, like ours; whoever looks at a public share sees its key."""

    n_values, shape = 16, (1, 16)
    primes = np.array([[PRIME]], dtype=np.uint64)

    def __init__(self):
        self._calls = 0

    def _drawn(self, *what):
        self._calls += 1
        data = hashlib.shake_256(repr((self._calls, what)).encode()).digest(16 * 8)
        return np.frombuffer(data, dtype="<u8").reshape(self.shape) % np.uint64(PRIME)

    def add(self, arrays):
        return np.array(sum(np.asarray(one, dtype=object) for one in arrays) % PRIME, dtype=np.uint64)

    def share(self, seed):
        key = self._drawn("key")
        return key.tobytes(), key

    def encrypt(self, seed, joint, values):
        padded = np.zeros(-(-len(values) // 16) * 16)
        padded[: len(values)] = values
        made = []
        for row in padded.reshape(-1, 1, 16):
            r = self._drawn("r")
            message = np.array([[int(one) % PRIME for one in row[0]]], dtype=object)
            c0 = (message + r.astype(object) * joint.astype(object)) % PRIME
            made.append([c0.astype(np.uint64), r])
        return np.array(made, dtype=np.uint64)

    def partial(self, secret, total):
        key = np.frombuffer(secret, dtype=np.uint64).reshape(self.shape).astype(object)
        return np.array((-total[:, 1].astype(object) * key) % PRIME, dtype=np.uint64)

    def opened(self, total, parts):
        words = self.add([total[:, 0], *parts]).reshape(-1).astype(object)
        found = np.array([int(one) - PRIME if one > PRIME // 2 else int(one) for one in words], dtype=np.float64)
        if np.abs(found).max() > 2.0**48:
            raise PeerError("the parts do not open the sum: one is missing or was made with another key")
        return found


class Encrypted:
    """n sites in one round of recipe ckks; `run` carries the payloads of each step to everybody."""

    def __init__(self, n=5, *, scheme=None, floats=40, integers=6, weights=None, seed=0, guard=CkksGuard):
        self.sites = [f"site-{i:02d}" for i in range(n)]
        self.scheme = scheme or GlassScheme()
        rng = np.random.default_rng(seed)
        self.updates = {}
        for i, site in enumerate(self.sites):
            arrays = {}
            if floats:
                arrays["w"] = rng.normal(size=floats).astype(np.float32)
            if integers:
                arrays["counts"] = rng.integers(-(2**30), 2**30, size=integers)
            self.updates[site] = Update(site=site, parameters=Parameters(arrays), weight=(weights or [1] * n)[i])
        self.make = guard
        self.guards = {site: guard(site, scheme=self.scheme) for site in self.sites}
        self.received = {}

    def context(self, **fields):
        weights = {site: update.weight for site, update in self.updates.items()}
        given = {
            "consortium": b"c", "study": b"s", "run": 1, "round": 1, "attempt": 1, "base": b"b",
            "frozen": tuple(self.sites), "weights": weights, "n_joiners": len(self.sites),
        }  # fmt: skip
        return Context(**{**given, **fields})

    def ask(self, site, step, *, received=None, **fields):
        held = self.received if received is None else received
        return self.guards[site].step(step, self.context(**fields), own=self.updates[site], received=held)

    def run(self, *steps, **fields):
        for step in steps or CKKS_STEPS:
            if step == "partials":
                self.received["survivors"] = dict.fromkeys(self.sites, Parameters())
            self.received[step] = {site: self.ask(site, step, **fields) for site in self.sites}
        return self

    def open(self, by=None, **fields):
        guard = self.guards[by or self.sites[0]]
        return guard.open(self.context(**fields), survivors=self.sites, received=self.received)

    def change(self, step, site, **arrays):
        """A payload with other arrays in it; its order stays."""
        held = dict(self.received[step][site])
        self.received[step][site] = Parameters({**held, **arrays})
        return self

    def total(self, name):
        kind = np.int64 if name == "counts" else np.float64
        return sum(u.weight * u.parameters[name].astype(kind) for u in self.updates.values())


@pytest.fixture
def encrypted():
    """`encrypted(n, ...)`: a round of n sites, under a scheme in plain sight unless another is given."""
    return Encrypted


@pytest.fixture(scope="session")
def openfhe():
    """The real scheme; skips with the reason where it cannot be imported."""
    if reason := missing():
        pytest.skip(f"extra 'he': {reason}")
    return require_scheme()


@pytest.fixture(scope="session")
def masked():
    """`masked(n, ...)`: a masked round of n sites."""
    return Masked


@pytest.fixture(scope="session")
def privacy():
    """What tests of privacy build worlds from."""
    return SimpleNamespace(
        Masked=Masked, entropy_of=entropy_of, apply_streams=apply_streams, encoded=encoded, decoded=decoded
    )
