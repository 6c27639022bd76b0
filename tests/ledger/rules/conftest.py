"""The contract on a bare EVM and the rules in Python, behind one face: every test of this folder runs on both."""

from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace

import pytest
from eth.chains.base import MiningChain
from eth.consensus.noproof import NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.vm.forks.london import LondonVM
from eth.vm.message import Message

from cohortium.core.identity import LedgerKey, keccak
from cohortium.errors import LedgerRefused
from cohortium.ledger import rules
from cohortium.ledger.abi import revert_reason
from cohortium.ledger.contracts import artefact
from cohortium.ledger.interface import consortium
from cohortium.ledger.rules import Call, Founder, genesis, key_of, slot_digest

START = 1_800_000_000
CHAIN_ID = 7001
ADDRESS = b"\xc0" * 20
NOBODY = bytes(20)
GAS = 100_000_000

# answer time-out, leader time-out
ANSWER_S, LEADER_S = 3600, 60


@lru_cache(maxsize=512)
def key_named(name: str) -> LedgerKey:
    return LedgerKey.from_bytes(keccak(name.encode()))


def founder_named(name: str) -> Founder:
    return Founder(key_named(name).address, name, keccak(b"tls" + name.encode()), keccak(b"seal" + name.encode()))


class OnRules:
    """The rules in Python."""

    def __init__(self, founders):
        self.state, events = genesis(founders, chain_id=CHAIN_ID, contract=ADDRESS, time=START)
        self.founding = [(event.name, event.args) for event in events]

    def call(self, sender, function, args, time):
        events = rules.apply(self.state, Call(sender, function, args, time))
        return [(event.name, event.args) for event in events]

    def read(self, function, args):
        return rules.read(self.state, function, args)


class OnContract:
    """The compiled contract, message by message on one LondonVM; gas as a transaction of its own would pay it."""

    def __init__(self, founders):
        chain_class = MiningChain.configure(
            __name__="Bare",
            vm_configuration=((0, LondonVM.configure(consensus_class=NoProofConsensus)),),
            chain_id=CHAIN_ID,
        )
        first = {"difficulty": 0, "gas_limit": GAS, "timestamp": START - 1, "base_fee_per_gas": 0}
        self.vm = chain_class.from_genesis(AtomicDB(), first).get_vm()
        self.interface = consortium().interface
        shipped = artefact()
        data = self.interface.encode_constructor(
            [[getattr(f, part) for f in founders] for part in ("address", "name", "tls", "seal")]
        )
        computation = self._run(NOBODY, START, b"", code=shipped.bytecode + data)
        self.deployment_gas = 53_000 + _calldata_gas(shipped.bytecode + data) + computation.get_gas_used()
        self.deployment_gas += 200 * len(computation.output)
        self.vm.state.set_code(ADDRESS, computation.output)
        assert computation.output == shipped.runtime
        self.code = computation.output
        self.founding = self._events(computation)
        self.gas = 0

    def call(self, sender, function, args, time):
        data = self.interface.encode_call(function, args)
        computation = self._run(sender, time, data)
        self.gas = 21_000 + _calldata_gas(data) + computation.get_gas_used()
        self.gas -= min(computation.get_gas_refund(), self.gas // 5)
        return self._events(computation)

    def read(self, function, args):
        computation = self._run(NOBODY, START, self.interface.encode_call(function, args), static=True)
        return self.interface.decode_result(function, computation.output)

    def _run(self, sender, time, data, *, code=None, static=False):
        state = self.vm.state
        state.execution_context._timestamp = time
        message = Message(
            gas=GAS, to=ADDRESS, sender=sender, value=0, data=data, code=code or self.code, is_static=static
        )
        context = state.get_transaction_context_class()(gas_price=0, origin=sender)
        computation = state.computation_class.apply_message(state, message, context)
        state.lock_changes()
        if computation.is_error:
            raise LedgerRefused(revert_reason(computation.output))
        return computation

    def _events(self, computation):
        decoded = []
        for _, topics, data in computation.get_log_entries():
            decoded.append(self.interface.decode_log([t.to_bytes(32, "big") for t in topics], data))
        return decoded


def _calldata_gas(data):
    return sum(16 if byte else 4 for byte in data)


@dataclass
class Court:
    """A consortium, its sites by name, and a clock. What was refused comes back as its reason."""

    engine: object
    sites: list[str]
    now: int = START
    log: list = field(default_factory=list)

    def do(self, site: str, function: str, *args: object) -> list:
        """A call that is allowed; its events."""
        events = self.engine.call(key_named(site).address, function, args, self.now)
        self.log += events
        return events

    def refused(self, site: str, function: str, *args: object) -> str:
        """A call that is refused; the reason."""
        with pytest.raises(LedgerRefused) as refusal:
            self.engine.call(key_named(site).address, function, args, self.now)
        return refusal.value.reason

    def read(self, function: str, *args: object):
        (value,) = self.engine.read(function, args)
        return value

    def last(self, name: str) -> dict:
        return next(args for event, args in reversed(self.log) if event == name)

    def names(self, events) -> list[str]:
        return [name for name, _ in events]

    # the usual way

    def propose(self, *, min_sites=2, n_rounds=5, budget=0, flags=0, by=None) -> int:
        spec = keccak(b"study")
        self.do(by or self.sites[0], "propose", spec, min_sites, n_rounds, ANSWER_S, LEADER_S, budget, flags)
        return self.last("Proposed")["run"]

    def nonce(self, run: int, site: str) -> bytes:
        return keccak(site.encode() + bytes([run]))

    def commitment(self, run: int, site: str) -> bytes:
        word = run.to_bytes(32, "big") + bytes(12) + key_named(site).address
        return keccak(word + self.nonce(run, site))

    def approve(self, run: int, *sites: str) -> None:
        for site in sites or self.sites:
            self.do(site, "approve", run, self.commitment(run, site))

    def ready(self, run: int, *sites: str) -> None:
        for site in sites or self.sites:
            self.do(site, "ready", run, self.nonce(run, site))

    def start(self, **plan) -> int:
        run = self.propose(**plan)
        self.approve(run)
        self.ready(run)
        return run

    def start_all_but(self, site: str) -> int:
        run = self.propose()
        self.approve(run)
        self.do(site, "decline", run)
        self.ready(run)
        return run

    def round(self, run: int) -> int:
        return self.read("rounds", run)[0]

    def phase(self, run: int) -> int:
        return self.read("rounds", run)[1]

    def leader(self, run: int) -> str:
        return self.site_at(run, self.read("rounds", run)[2])

    def term(self, run: int) -> int:
        return self.read("rounds", run)[3]

    def live(self, run: int) -> list[str]:
        return self.named(run, self.read("runs", run)[7])

    def named(self, run: int, bits: int) -> list[str]:
        return [self.site_at(run, i) for i in range(128) if bits >> i & 1]

    def site_at(self, run: int, index: int) -> str:
        return self.read("members", self.read("joiners", run, index))[0]

    def index(self, run: int, site: str) -> int:
        return self.read("indices", run, self.read("names", site) - 1) - 1

    def bits(self, run: int, *sites: str) -> int:
        return sum(1 << self.index(run, site) for site in sites)

    def commit(self, run: int, *sites: str, eps: int = 0) -> None:
        for site in sites or self.live(run):
            self.do(site, "commit", run, self.round(run), keccak(site.encode()), 10, eps)

    def agree(self, run: int, *survivors: str) -> None:
        """Every survivor posts the bitmap of survivors."""
        r = self.read("rounds", run)
        bitmap = self.bits(run, *survivors).to_bytes(32, "big")
        for site in survivors:
            self.do(site, "post", run, r[0], r[4], 3, bitmap)

    def publish(self, run: int, digest: bytes = b"\x11" * 32) -> str:
        """The leader publishes what it should; its name."""
        r = self.read("rounds", run)
        masked = self.read("plans", run)[7] & 2
        contributors = r[9] if masked else r[6] & self.read("runs", run)[7]
        leader = self.leader(run)
        self.do(leader, "publish", run, r[0], digest, keccak(b"inputs"), contributors, bytes(32))
        return leader

    def attest(self, run: int, digest: bytes = b"\x11" * 32) -> None:
        """As many attestations as it takes."""
        r = self.read("rounds", run)
        others = [site for site in self.named(run, r[10]) if site != self.leader(run) and site in self.live(run)]
        for site in others[: r[12]]:
            self.do(site, "attest", run, r[0], r[3], digest)

    def attest_more(self, run: int, leader: str, *done: str, digest: bytes = b"\x11" * 32) -> None:
        """Attestations of others than those who gave one, until the merge is final."""
        r = self.read("rounds", run)
        waiting = [site for site in self.sites if site not in (leader, *done)]
        for site in waiting[: r[12] - len(done)]:
            self.do(site, "attest", run, r[0], r[3], digest)

    def play(self, run: int, digest: bytes = b"\x11" * 32) -> None:
        """One plain round in which everybody does as agreed."""
        self.commit(run)
        self.publish(run, digest)
        self.attest(run, digest)

    def wait(self, seconds: int) -> None:
        self.now += seconds

    def signed(self, site: str, run: int, round: int, term: int, kind: int, digest: bytes) -> bytes:
        return key_named(site).sign_message(slot_digest(ADDRESS, CHAIN_ID, run, round, term, kind, digest))

    def votes(self, kind: int, run: int, round: int, number: int, subject: bytes) -> int:
        return self.read("ballots", key_of(kind, run, round, number, subject))


SITES = ("bonn", "graz", "lund", "oslo", "porto", "riga", "turin", "vigo")
ENGINES = {"rules": OnRules, "contract": OnContract}


@pytest.fixture(scope="session")
def harness():
    """The names of this file, for tests that need both engines at once."""
    return SimpleNamespace(**globals())


@pytest.fixture(params=ENGINES)
def found(request):
    """Found a consortium of the first n sites, or of named ones, on this engine."""

    def make(n: int = 5, *, names=None) -> Court:
        sites = list(names or SITES[:n])
        return Court(ENGINES[request.param](tuple(founder_named(site) for site in sites)), sites)

    return make


@pytest.fixture
def court(found):
    """Five sites."""
    return found(5)
