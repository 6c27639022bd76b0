"""A small ledger for tests of the swarm: the contract's happy paths and votes, without members' votes and budgets.

The real rules are `ledger/rules.py`; tests of the whole (tests/sim/test_faults.py) run on the memory engine. Here one
wants to drive machines event by event and to make the ledger say impossible things.
"""

from collections.abc import Iterable
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from cohortium.core.identity import LedgerKey
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.seams import Head, LedgerEvent, Receipt
from cohortium.core.update import Update
from cohortium.errors import LedgerRefused
from cohortium.swarm.bell import Bell
from cohortium.swarm.election import first_leader, next_leader
from cohortium.swarm.node import Charter, Node, Ports, Proposal
from cohortium.swarm.store import MemoryStore
from cohortium.swarm.waiting import Policy

SPEC = b"\x53" * 32


class SmallLedger:
    """One run (number 1) among fixed members; sites in order of their names."""

    def __init__(self, sites: Iterable[str], *, clock=lambda: 0.0) -> None:
        self.sites = sorted(sites)
        self.keys = {site: LedgerKey.from_bytes(bytes(31) + bytes([i + 1])) for i, site in enumerate(self.sites)}
        self.clock, self.log, self.height, self.calls = clock, [], 0, []
        self.state = self.number = 0
        self.joiners, self.live, self.pending, self.ready_sites = [], set(), set(), set()
        self.nonces = {site: 0 for site in self.sites}
        self._events = []
        for site, key in self.keys.items():
            self._say("MemberChanged", site=site, account=key.address, status=1, tls=b"", seal=b"", epoch=1)
        self._block()

    # seam
    def submit(self, signed: bytes) -> Receipt:
        site, nonce, function, args = msgspec.msgpack.decode(signed, type=tuple[str, int, str, list])
        if nonce != self.nonces[site]:
            raise LedgerRefused("nonce")
        self.nonces[site] += 1
        try:
            self.apply(site, function, *args)
        except AssertionError as refused:
            self._events.clear()
            return Receipt(self.height, False, str(refused).split("\n")[0])
        return Receipt(self.height, True)

    def call(self, function, args=()):
        raise NotImplementedError

    def events(self, from_height=0):
        return [event for event in self.log if event.height >= from_height]

    def head(self) -> Head:
        return Head(self.height, bytes(32), bytes(32))

    def export(self, path):
        raise NotImplementedError

    # rules
    def apply(self, site: str, function: str, *args) -> list[LedgerEvent]:
        self.calls.append((site, function, args))
        getattr(self, f"_{function}")(site, *args)
        return self._block()

    def _block(self):
        self.height += 1
        fresh = [LedgerEvent(self.height, i, name, args) for i, (name, args) in enumerate(self._events)]
        self.log += fresh
        self._events = []
        return fresh

    def _say(self, name, **args):
        self._events.append((name, args))

    def bits(self, sites):
        return sum(1 << i for i, site in enumerate(self.joiners) if site in sites)

    def _names(self, bits):
        return {site for i, site in enumerate(self.joiners) if bits >> i & 1}

    def _ballot(self, key, site, electorate, need):
        votes = self.ballots.setdefault(key, set())
        fresh = site not in votes
        votes.add(site)
        assert fresh or len(votes & electorate) >= need, "voted"
        return len(votes & electorate) >= need

    def _propose(self, site, spec, min_sites, n_rounds, answer_s, leader_s, budget, flags):
        self.state, self.min_sites, self.n_rounds, self.leader_s, self.answer_s = 1, min_sites, n_rounds, leader_s, answer_s
        self.flags, self.since, self.merged, self.ballots = flags, self.clock(), 0, {}
        self._say("Proposed", run=1, site=site, spec=spec, min_sites=min_sites, n_rounds=n_rounds,
                  answer_timeout_s=answer_s, leader_timeout_s=leader_s, budget=budget, flags=flags)  # fmt: skip

    def _approve(self, site, run, commitment):
        assert self.state == 1, "phase"
        self.joiners.append(site)
        self.live.add(site)
        self._say("Approved", run=1, site=site, joiner=len(self.joiners) - 1, commitment=commitment)
        if len(self.joiners) == len(self.sites):
            self._to_ready()

    def _to_ready(self):
        self.state, self.since = 2, self.clock()
        self._say("Readying", run=1, live=self.bits(self.live))

    def _close_approvals(self, site, run):
        assert self.state == 1, "phase"
        assert self.clock() >= self.since + self.answer_s, "early"
        if self._ballot("open", site, self.live, 2):
            self._to_ready()

    def _ready(self, site, run, nonce):
        assert self.state == 2, "phase"
        self.ready_sites.add(site)
        self._say("Ready", run=1, site=site, nonce=nonce)
        if self.ready_sites == self.live:
            self._start()

    def _vote_proceed(self, site, run):
        assert self.state == 2, "phase"
        assert self.clock() >= self.since + self.answer_s, "early"
        if self._ballot("proceed", site, self.live, len(self.live) // 2 + 1):
            self._start()

    def _start(self):
        missing, self.live = self.live - self.ready_sites, self.live & self.ready_sites
        self.state = 3
        self._say("Started", run=1, seed=bytes(32), live=self.bits(self.live), missing=self.bits(missing))
        self._open()

    def _open(self):
        self.number += 1
        self.live |= self.pending
        self.pending, self.since = set(), self.clock()
        self.phase, self.term, self.attempt, self.commits, self.frozen = 1, 0, 0, {}, set()
        self.leader = first_leader(self.joiners, self.live, start=0, round=self.number)
        self._say("RoundOpened", run=1, round=self.number, live=self.bits(self.live), leader=self.leader)

    def _commit(self, site, run, round, digest, weight, eps):
        assert self.state == 3 and self.phase == 1 and round == self.number and site in self.live, "phase"
        assert site not in self.commits, "once"
        self.commits[site] = digest
        self._say("Committed", run=1, round=round, site=site, digest=digest, weight=weight, eps_micro=eps)
        self._try_close()

    def _try_close(self):
        if self.live <= self.commits.keys() and len(self.live) >= self.min_sites:
            self._close()

    def _close(self):
        frozen = self.live & self.commits.keys()
        self._freeze(frozen)
        self.phase, self.since = 2, self.clock()
        self.leader = first_leader(self.joiners, frozen, start=self.joiners.index(self.leader), round=0)
        self._say("Closed", run=1, round=self.number, attempt=self.attempt, frozen=self.bits(frozen),
                  missing=self.bits(self.live - frozen), leader=self.leader, threshold=self.threshold)  # fmt: skip

    def _freeze(self, frozen):
        self.frozen, self.survivors, self.posted = frozen, None, {}
        self.attempt += 1
        self.threshold = (len(frozen) + len(self.joiners) // 3) // 2 + 1

    def _vote_close(self, site, run, round):
        assert self.phase == 1 and round == self.number, "phase"
        committed = self.live & self.commits.keys()
        assert site in committed, "committed"
        assert len(committed) >= self.min_sites, "quorum"
        if self._ballot(("close", round), site, committed, len(self.live) // 2 + 1):
            self._close()

    def _vote_drop(self, site, run, subject, reason):
        assert self.state <= 3, "phase"
        assert site in self.live, "live"
        assert subject in self.live and subject != site, "subject"
        if self._ballot(("drop", self.number, subject), site, self.live - {subject}, len(self.live) // 2 + 1):
            self.ballots.pop(("drop", self.number, subject))
            self.live.discard(subject)
            self._say("Dropped", run=1, round=self.number, site=subject, reason=reason)
            if self.phase == 1:
                self._try_close()
            elif self.phase == 2 and self.leader == subject:
                self._depose()

    def _join(self, site, run):
        assert self.state == 3, "phase"
        assert site not in self.live | self.pending, "once"
        if site not in self.joiners:
            self.joiners.append(site)
        self.pending.add(site)
        self._say("Joined", run=1, round=self.number + 1, site=site, joiner=self.joiners.index(site))

    def _post(self, site, run, round, attempt, step, digest):
        assert round == self.number and attempt == self.attempt and self.phase in (2, 3), "phase"
        assert site in self.frozen, "frozen"
        votes = self.posted.setdefault(step, {})
        assert site not in votes, "once"
        votes[site] = digest
        self._say("Posted", run=1, round=round, attempt=attempt, step=step, site=site, digest=digest)
        if list(votes.values()).count(digest) == self.threshold:
            if step == 3:
                self.survivors = self._names(int.from_bytes(digest, "big"))
            self._say("Agreed", run=1, round=round, attempt=attempt, step=step, digest=digest)

    def _publish(self, site, run, round, digest, root, contributors, transcript):
        assert self.phase == 2 and round == self.number, "phase"
        assert site == self.leader, "leader"
        expected = self.survivors if self.flags & 2 else self.frozen & self.live
        assert expected is not None and self._names(contributors) == expected, "contributors"
        m = len(expected)
        assert m >= self.min_sites, "quorum"
        self.k = min(m // 3 + 1, m - 1) if self.flags & 1 else (m - 1) // 2 + 1
        self.phase, self.digest, self.contributors, self.since = 3, digest, expected, self.clock()
        self.attested, self.disputed = set(), set()
        self._say("Published", run=1, round=round, term=self.term, site=site, digest=digest, inputs_root=root,
                  transcript=transcript, contributors=contributors, k=self.k)  # fmt: skip

    def _attest(self, site, run, round, term, digest):
        assert self.phase == 3 and round == self.number and term == self.term, "phase"
        assert site != self.leader, "leader"
        assert site in self.contributors, "contributors"
        assert site not in self.attested | self.disputed, "once"
        if digest != self.digest:
            return self._dispute(site, run, round, term, digest, 0)
        self.attested.add(site)
        self._say("Attested", run=1, round=round, term=term, site=site, digest=digest)
        if len(self.attested) >= self.k:
            self.merged += 1
            self._say("Final", run=1, round=round, term=term, digest=digest, contributors=self.bits(self.contributors))
            if self.merged == self.n_rounds:
                self._end(4, 0)
            else:
                self._open()

    def _dispute(self, site, run, round, term, digest, reason):
        self.disputed.add(site)
        self._say("Disputed", run=1, round=round, term=term, site=site, digest=digest, reason=reason)
        if len(self.disputed) >= self.k:
            self._depose()

    def _failover(self, site, run, round, term):
        assert self.phase in (2, 3) and round == self.number and term == self.term, "phase"
        if site != self.leader:
            assert self.clock() >= self.since + self.leader_s, "early"
            if not self._ballot(("failover", round, term), site, self.live - {self.leader}, 2):
                return
        self._depose()

    def _depose(self):
        heirs = (self.frozen & self.live) - {self.leader}
        assert heirs, "quorum"
        if self.survivors is None:
            self._freeze(self.frozen & self.live)
        self.leader = next_leader(self.joiners, heirs, self.leader)
        self.term, self.phase, self.since = self.term + 1, 2, self.clock()
        self._say("Failover", run=1, round=self.number, term=self.term, attempt=self.attempt,
                  frozen=self.bits(self.frozen), leader=self.leader, threshold=self.threshold)  # fmt: skip

    def _vote_void(self, site, run, round, reason):
        assert self.phase in (2, 3) and round == self.number, "phase"
        if self._ballot(("void", round), site, self.live, len(self.live) // 2 + 1):
            self._say("Void", run=1, round=round, reason=reason)
            self._open()

    def _vote_end(self, site, run, state, reason):
        assert self.state <= 3, "phase"
        if self._ballot(("end", self.number, state), site, self.live, len(self.live) // 2 + 1):
            self._end(state, reason)

    def _withdraw(self, site, run, reason):
        self.live.discard(site)
        self._say("Withdrawn", run=1, round=self.number, site=site, reason=reason)
        self._try_close()

    def _end(self, state, reason):
        self.state, self.phase = state, 4
        self._say("Ended", run=1, state=state, reason=reason)


class SumWork:
    """Toy work: every site adds its own vector; the state is the running weighted mean."""

    def __init__(self, site: str, index: int, *, stop_after: int | None = None) -> None:
        self.site, self.index, self.stop_after = site, index, stop_after
        self.kept = Parameters({"adopted": np.zeros(1, np.int64)})
        self.seen = []

    def start(self):
        return Parameters({"w": np.zeros(4), "n": np.zeros(1, np.int64)})

    def train(self, round, state):
        assert int(state["n"][0]) == round - 1
        w = np.asarray(state["w"]) + (self.index + 1) * round
        return Update(site=self.site, parameters=Parameters({"w": w}), weight=self.index + 1)

    def merge(self, state, updates):
        total = sum(u.weight * np.asarray(u.parameters["w"]) for u in updates)
        return Parameters({"w": total / sum(u.weight for u in updates), "n": np.asarray(state["n"]) + 1})

    def adopt(self, round, state, own):
        self.seen.append((round, state.digest, own is not None))
        self.kept = Parameters({"adopted": np.array([len(self.seen)], np.int64)})
        return {"n": float(state["n"][0])}

    def finished(self, state):
        return self.stop_after is not None and int(state["n"][0]) >= self.stop_after

    def memory(self):
        return self.kept

    def restore(self, memory):
        self.kept = memory


def make_node(ledger, network, site, *, proposal=None, policy=None, store=None, work=None, bell=None, **ports):
    key = ledger.keys[site]
    chance = Chance(7, secrets_from_system=False)
    return Node(
        site,
        Charter(consortium=bytes(32), contract=bytes(20), chain_id=7, study=SPEC, proposal=proposal),
        Ports(
            ledger=ledger, transport=network.join(site), store=store or MemoryStore(),
            work=work or SumWork(site, ledger.sites.index(site)), key=key,
            sign_call=lambda nonce, function, args: msgspec.msgpack.encode((site, nonce, function, args)),
            next_nonce=lambda: ledger.nonces[site], entropy=lambda n, *names: chance.secret(n, site, *names),
            bell=bell or Bell(), poll_s=60.0, **ports,
        ),
        policy or Policy(),
    )  # fmt: skip


@pytest.fixture
def swarm():
    """What tests of the swarm build worlds from."""
    return SimpleNamespace(SmallLedger=SmallLedger, SumWork=SumWork, make_node=make_node, SPEC=SPEC, Proposal=Proposal)
