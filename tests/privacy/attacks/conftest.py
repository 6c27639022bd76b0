"""What an attacker has: every message, the secrets of colluders, and pencil and paper; and a ledger to lie to.

Each file of this folder is one attack of the design (privacy.md, section 11). It first succeeds against a deliberately
weak variant, kept in that file, and then fails against ours with the named error.
"""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from scipy import stats

from cohortium.core.identity import LedgerKey, keccak
from cohortium.core.messages import Bye, Envelope, encode, sealed
from cohortium.errors import LedgerRefused
from cohortium.ledger import rules
from cohortium.ledger.abi import encode as abi
from cohortium.privacy.secagg.member import header_of, pair_key, self_key
from cohortium.privacy.secagg.messages import SELF_SHARE
from cohortium.privacy.secagg.secrets import SELF_BYTES
from cohortium.privacy.secagg.shamir import SHARE_BYTES, combine

CONTRACT, CHAIN = bytes(19) + b"\1", 7


def bare(world, victim, *, a=None, b=None, friends=(), masked=None):
    """A masked vector without the streams that these secrets give: the victim's a and b, or colluders' own keys."""
    keys, binding = world.keys(), world.binding()
    header = header_of(binding, keys)
    words = np.array((masked or world.received["masked"][victim])["floats"])
    streams = [] if b is None else [(self_key(b, header=header, segment="floats", site=victim), -1)]
    for peer in binding.sites:
        if peer == victim or (a is None and peer not in friends):
            continue
        private = world.secrets(peer).mask_key if a is None else X25519PrivateKey.from_private_bytes(a)
        public = keys[victim if a is None else peer].mask_key
        key = pair_key(private, public, header=header, segment="floats", pair=(victim, peer), peer=peer)
        streams.append((key, -1 if peer > victim else 1))
    world.privacy.apply_streams(words, streams)
    return words


def rebuilt(world, answers, owner, kind):
    """A site's secret from what its peers answered."""
    place = world.sites.index(owner)
    shares = {world.sites.index(holder) + 1: given["shares"][place].tobytes() for holder, given in answers.items()}
    return combine(shares, n_bytes=SELF_BYTES if kind == SELF_SHARE else SHARE_BYTES)


def is_open(words, update):
    """Whether these words are the update: zero words behind, and every value in them."""
    values = update.parameters["w"].astype(float)
    seen = words[:-8].view(f"<i{words.itemsize}").astype(float)
    return not np.any(words[-8:]) and abs(np.corrcoef(values, seen)[0, 1]) > 0.999999


def is_uniform(words, update):
    """Whether nothing can be seen in these words: uniform bytes, no trace of the update."""
    counts = np.bincount(words.view(np.uint8), minlength=256)
    values = update.parameters["w"].astype(float)
    trace = np.corrcoef(values, words[:-8].view(f"<i{words.itemsize}").astype(float))[0, 1]
    return stats.chisquare(counts).pvalue > 1e-5 and abs(trace) < 5 / np.sqrt(len(values))


class Court:
    """The contract's rules, and sites that call them; a masked run brought to its exchange."""

    def __init__(self, n=5):
        self.sites = [f"site-{i:02d}" for i in range(n)]
        self.keys = {s: LedgerKey.from_bytes(bytes(31) + bytes([i + 1])) for i, s in enumerate(self.sites)}
        founders = [rules.Founder(key.address, s, bytes(32), bytes(32)) for s, key in self.keys.items()]
        self.state, _ = rules.genesis(founders, chain_id=CHAIN, contract=CONTRACT, time=1)
        self.height, self.log = 1, []
        self.do(self.sites[0], "propose", keccak(b"study"), 3, 2, 3600, 60, 0, 2)
        for site in self.sites:
            content = abi(["uint256", "address", "bytes32"], [1, self.keys[site].address, keccak(site.encode())])
            self.do(site, "approve", 1, keccak(content))
        for site in self.sites:
            self.do(site, "ready", 1, keccak(site.encode()))
        for site in self.sites:
            self.do(site, "commit", 1, 1, keccak(b"update" + site.encode()), 10, 0)

    def do(self, site, function, *args, key=None):
        """One call. Raises LedgerRefused."""
        self.height += 1
        address = (key or self.keys[site]).address
        call = rules.Call(address, function, tuple(args), 1000 + self.height, self.height)
        events = rules.apply(self.state, call)
        self.log += [(event.name, event.args) for event in events]
        return events

    def refused(self, site, function, *args, key=None):
        """The reason the contract gives."""
        with pytest.raises(LedgerRefused) as refusal:
            self.do(site, function, *args, key=key)
        return refusal.value.reason

    def bitmap(self, sites):
        return sum(1 << i for i, site in enumerate(self.sites) if site in sites)

    def survivors(self, sites):
        """As they are posted."""
        return self.bitmap(sites).to_bytes(32, "big")

    def named(self, name):
        return [args for found, args in self.log if found == name]

    @property
    def leader(self):
        return self.named("Closed")[-1]["leader"]

    @property
    def agreed(self):
        return [args["digest"] for args in self.named("Agreed") if args["step"] == 3]


def frame(key, *, sender, body=None, kind="bye", sequence=1, **fields):
    """A signed message as it goes over the wire."""
    given = {
        "version": 1, "consortium": bytes(32), "run": 1, "round": 1, "term": 0, "attempt": 0, "kind": kind,
        "sender": sender, "receiver": "", "sequence": sequence, "head_height": 0, "head_hash": b"", "body": b"",
    }  # fmt: skip
    return encode(sealed(Envelope(**{**given, **fields}), body or Bye(), key.sign))


@pytest.fixture
def world(privacy):
    """`world(n, guard=..., ...)`: a masked round of 20,000 values a site; guard: a weak variant of ours."""

    def make(n=5, *, guard=None, floats=20_000, integers=0, **options):
        made = privacy.Masked(n, floats=floats, integers=integers, **options)
        made.privacy = privacy
        if guard is not None:
            made.guards = {s: guard(s, entropy=privacy.entropy_of(s), word_bits=made.word_bits) for s in made.sites}
        return made

    return make


@pytest.fixture(scope="session")
def attacker():
    """The attacker's tools."""
    return SimpleNamespace(
        bare=bare, rebuilt=rebuilt, is_open=is_open, is_uniform=is_uniform, Court=Court, frame=frame,
        subsets=lambda sites, size: list(itertools.combinations(sites, size)),
    )  # fmt: skip
