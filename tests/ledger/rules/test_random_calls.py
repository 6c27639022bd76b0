"""Shared suite of rules and contract: any sequence of calls gives the same events, refusals, getters and time-outs."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.identity import keccak
from cohortium.errors import LedgerRefused
from cohortium.ledger import rules
from cohortium.ledger.rules import key_of, slot_digest
from cohortium.ledger.rules.root import Root

EXTRA = ("varna", "wels", "zadar")
ECHOED = {"vote_admit", "vote_exclude", "vote_rekey", "vote_drop", "vote_void", "vote_end", "record_harm", "failover"}
DIGESTS = [keccak(bytes([i])) for i in range(3)]


class Player:
    """Chooses the next call: mostly what brings the consortium on, often something else, sometimes nonsense."""

    def __init__(self, pair, founders):
        self.pair = pair
        self.state = pair.rules.state
        self.founders = founders
        self.motion = None

    def get(self, table, key):
        return self.state.get(table, key)

    def call(self, rng):
        """(site, function, args)"""
        n_runs = self.get("totals", "n_runs")
        going = [run for run in range(1, n_runs + 1) if self.get("runs", run).state < 4]
        if not going or (n_runs < 3 and rng.random() < 0.02):
            return self.any_site(rng), "propose", self.proposal(rng)
        run = going[-1] if rng.random() < 0.9 else rng.randint(1, n_runs)
        if rng.random() < 0.65:
            useful = self.useful(rng, run)
            if useful is not None:
                return useful
        if self.motion is not None and rng.random() < 0.6:
            return self.any_site(rng), *self.motion
        site, function, args = self.other(rng, run)
        if function in ECHOED:
            self.motion = function, args
        return site, function, args

    def proposal(self, rng):
        flags = rng.choice([0, 0, 1, 2, 2, 3, 4])
        least = rng.choice([2, 2, 3, 3, 1, 4])
        return (DIGESTS[0], least, rng.choice([1, 2, 3, 3, 0]), 3600, 60, rng.choice([0, 9, 9]), flags)

    def useful(self, rng, run):
        record, round = self.get("runs", run), self.get("rounds", run)
        joiners = [self.site(run, i) for i in range(record.n_joiners)]
        live = [site for i, site in enumerate(joiners) if record.live >> i & 1]
        masked = self.get("plans", run).flags & 2
        if record.state == 1:
            slots = range(self.get("totals", "n_members"))
            open_ = [s for s in slots if self.get("totals", "active") >> s & 1 and not record.answered >> s & 1]
            if not open_:
                return None
            site = self.get("members", rng.choice(open_)).name
            return site, "approve", (run, self.pair.commitment(run, site))
        if record.state == 2:
            waiting = [s for i, s in enumerate(joiners) if s in live and not record.ready >> i & 1]
            return (s := rng.choice(waiting), "ready", (run, self.pair.nonce(run, s))) if waiting else None
        if record.state != 3 or not live:
            return None
        if round.phase == 1:
            waiting = [s for i, s in enumerate(joiners) if s in live and not round.committed >> i & 1]
            eps = rng.choice([0, 0, min(round.number, 9)]) if self.get("plans", run).budget else 0
            return (rng.choice(waiting), "commit", (run, round.number, DIGESTS[0], 5, eps)) if waiting else None
        if round.phase == 2:
            frozen = [s for i, s in enumerate(joiners) if s in live and round.frozen >> i & 1]
            if masked and round.survivors == 0:
                if not frozen:
                    return None
                step = rng.choice([2, 3, 3, 3])
                bits = round.frozen if rng.random() < 0.9 else round.frozen & record.live
                digest = bits.to_bytes(32, "big") if step == 3 else DIGESTS[1]
                return rng.choice(frozen), "post", (run, round.number, round.attempt, step, digest)
            contributors = round.survivors if masked else round.frozen & record.live
            leader = joiners[round.leader]
            return leader, "publish", (run, round.number, DIGESTS[1], DIGESTS[0], contributors, bytes(32))
        judges = [s for i, s in enumerate(joiners) if round.contributors >> i & 1 and i != round.leader]
        digest = DIGESTS[1] if rng.random() < 0.85 else DIGESTS[2]
        return (rng.choice(judges), "attest", (run, round.number, round.term, digest)) if judges else None

    def other(self, rng, run):
        function = rng.choice(sorted(rules.FUNCTIONS))
        r = self.get("rounds", run)
        round = r.number if rng.random() < 0.9 else rng.choice([0, r.number + 1, 2**256 - 1])
        term = r.term if rng.random() < 0.9 else rng.choice([0, 1, 2])
        site, code = self.any_site(rng), rng.choice([1, 1, 1, 4, 255, 256, 0])
        someone, digest = self.any_site(rng), rng.choice([*DIGESTS, bytes(32)])
        leader = self.site(run, r.leader) if self.get("runs", run).n_joiners else site
        account = rng.choice([self.pair.address(someone), self.pair.address(someone + "-new"), bytes(20)])
        name = rng.choice([someone, rng.choice(EXTRA), "Bonn", "", "a_b", "x" * 32, "x" * 33])
        args = {
            "vote_admit": (account, name, DIGESTS[0], DIGESTS[1]),
            "vote_exclude": (someone,),
            "vote_rekey": (someone, account, DIGESTS[1], DIGESTS[2]),
            "rotate": (digest, DIGESTS[0]),
            "leave": (),
            "heartbeat": (),
            "record_data": (digest,),
            "propose": self.proposal(rng),
            "approve": (run, rng.choice([self.pair.commitment(run, site), bytes(32)])),
            "decline": (run,),
            "close_approvals": (run,),
            "ready": (run, rng.choice([self.pair.nonce(run, site), digest])),
            "vote_proceed": (run,),
            "withdraw": (run, code),
            "vote_drop": (run, rng.choice([someone, leader]), code),
            "sweep": (run, someone),
            "join": (run,),
            "commit": (run, round, digest, rng.choice([0, 1]), rng.choice([0, 1, 9, 10])),
            "vote_close": (run, round),
            "post": (run, round, rng.choice([r.attempt, 1]), rng.choice([1, 2, 3, 4, 0, 256]), digest),
            "publish": (run, round, digest, digest, rng.choice([r.frozen, r.survivors, 7]), bytes(32)),
            "attest": (run, round, term, digest),
            "dispute": (run, round, term, digest, code),
            "failover": (run, round, term),
            "vote_void": (run, round, code),
            "vote_end": (run, rng.choice([4, 5, 5, 3]), code),
            "report_equivocation": self.evidence(rng, someone),
            "record_harm": (run, round, someone, rng.choice([1, 2, 3, 4, 4, 5, 6, 7, 0]), digest),
            "appeal": (run, rng.choice([1, 5, 6, 0])),
            "spend": (run, round, digest, rng.choice([b"", b"{}", b"x" * 1024, b"x" * 1025]), rng.choice([0, 9, 10])),
            "record_audit": (run, rng.choice([0, 2, 3]), rng.choice([1, 3, 4, 0]), digest),
        }[function]
        if function in ("leave", "vote_rekey", "vote_exclude") and rng.random() < 0.9:
            function, args = rng.choice([("vote_drop", (run, someone, 1)), ("join", (run,))])
        if function in ("vote_end", "propose", "heartbeat", "rotate") and rng.random() < 0.7:
            function, args = "record_harm", (run, max(r.number, 1), someone, rng.choice([3, 4, 5]), DIGESTS[0])
        standing = self.get("standings", self.get("names", site) - 1) if self.get("names", site) else None
        if standing and standing.verdict and rng.random() < 0.2:
            function, args = "appeal", (standing.run, 2)
        if function in ("failover", "publish") and rng.random() < 0.5:
            site = leader
        return site, function, args

    def evidence(self, rng, site):
        h1, h2 = rng.choice([(DIGESTS[0], DIGESTS[1]), (DIGESTS[0], DIGESTS[0])])
        other = rng.choice([site, site, site, self.any_site(rng)])
        s1, s2 = self.pair.signed(site, 1, 1, 0, 1, h1), self.pair.signed(other, 1, 1, 0, 1, h2)
        spoil = rng.randrange(12)
        if spoil == 0:
            s2 = s2[:-1]
        elif spoil == 1:
            s2 = s2[:32] + b"\xff" * 32 + s2[64:]
        elif spoil == 2:
            s2 = bytes(65)
        elif spoil == 3:
            s2 = s2[:64] + b"\x01"
        elif spoil == 4:
            s2 = b"\xff" * 32 + s2[32:]
        return 1, 1, rng.choice([0, 0, 0, 1]), rng.choice([1, 1, 1, 0]), h1, s1, h2, s2

    def site(self, run, index):
        return self.get("members", self.get("joiners", (run, index))).name

    def any_site(self, rng):
        return rng.choice(self.founders) if rng.random() < 0.97 else rng.choice(EXTRA)


class Pair:
    """Rules and contract side by side."""

    def __init__(self, harness, founders):
        self.harness = harness
        made = tuple(harness.founder_named(name) for name in founders)
        self.rules, self.contract = harness.OnRules(made), harness.OnContract(made)
        assert self.rules.founding == self.contract.founding

    def address(self, site):
        return self.harness.key_named(site).address

    def nonce(self, run, site):
        return keccak(site.encode() + bytes([run]))

    def commitment(self, run, site):
        return keccak(run.to_bytes(32, "big") + bytes(12) + self.address(site) + self.nonce(run, site))

    def signed(self, site, *slot):
        digest = slot_digest(self.harness.ADDRESS, self.harness.CHAIN_ID, *slot)
        return self.harness.key_named(site).sign_message(digest)

    def outcome(self, engine, sender, function, args, now):
        try:
            return engine.call(sender, function, args, now)
        except LedgerRefused as refused:
            return refused.reason

    def step(self, site, function, args, now):
        sender = self.address(site)
        root = self.rules.state.root()
        first = self.outcome(self.rules, sender, function, args, now)
        second = self.outcome(self.contract, sender, function, args, now)
        assert first == second, f"{site} {function} {args}: rules {first}, contract {second}"
        if isinstance(first, str):
            assert self.rules.state.root() == root
        return first

    def compare(self, tables):
        state = self.rules.state
        for table in tables:
            for key, value in state.tables[table].items():
                function, args = (key, ()) if table == "totals" else (table, key if isinstance(key, tuple) else (key,))
                (found,) = self.contract.read(function, args)
                expected = tuple(value) if isinstance(value, tuple) else value
                assert found == expected, f"{table} {key}: rules {expected}, contract {found}"


def play(harness, founders, moves):
    """How often each function was allowed, and each reason given."""
    pair = Pair(harness, founders)
    player, now, seen = Player(pair, founders), harness.START, {}
    for number, move in enumerate(moves):
        rng = Random(move)
        now += rng.choice([0, 1, 5, 5, 61, 61, 3601])
        site, function, args = player.call(rng)
        outcome = pair.step(site, function, args, now)
        if number % 20 == 0:
            pair.compare(["totals", "runs", "rounds"])
        word = outcome if isinstance(outcome, str) else function
        seen[word] = seen.get(word, 0) + 1
        for name, _ in outcome if not isinstance(outcome, str) else ():
            seen[name] = seen.get(name, 0) + 1
    pair.compare([t for t in pair.rules.state.tables if t != "commitments"])
    fresh = Root()
    for table, entries in pair.rules.state.tables.items():
        for key in entries:
            fresh.touch(table, key)
    assert fresh.digest(pair.rules.state.tables) == rules.state_root(pair.rules.state)
    return seen


MOVES = st.lists(st.integers(0, 2**32 - 1), min_size=40, max_size=60)
FOUNDERS = st.integers(2, 7)


@pytest.mark.slow
@settings(max_examples=6, deadline=None, derandomize=True)
@given(moves=MOVES, n=FOUNDERS)
def test_some_hundred_random_calls_do_the_same_on_both(harness, moves, n):
    play(harness, harness.SITES[:n], moves)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_random_calls_do_the_same_on_both_and_reach_everything(harness):
    seen = {}
    for seed in range(50):
        rng = Random(seed)
        moves = [rng.getrandbits(32) for _ in range(200)]
        for word, count in play(harness, harness.SITES[: 3 + seed % 5], moves).items():
            seen[word] = seen.get(word, 0) + count
    events = {entry["name"] for entry in harness.artefact().abi if entry["type"] == "event"}
    assert sum(seen.values()) >= 10_000
    assert set(rules.FUNCTIONS) - set(seen) == set()
    assert events - set(seen) == set()


def test_ballot_keys_are_those_of_the_contract():
    """Known answer: keccak of five words of zero."""
    assert key_of(0, 0, 0, 0, bytes(32)) == keccak(bytes(160))
