# SPDX-License-Identifier: Apache-2.0
# pragma version 0.4.3
# pragma evm-version london
# pragma optimize codesize
"""
@title Consortium
@notice Who belongs, who is believed: members, runs, rounds, votes and budgets of one consortium of hospitals.
@dev Theory of operation.

  Words. A *member* has a slot (0 to 254) that it keeps through every change of keys. A run is a number from 1 on.
  Whoever approves a run is its *joiner* and gets an index in order of approval (0 to 127). Sets of joiners are
  bitmaps: bit i is joiner i. `live` are the joiners that take part now. Sites are named by String[32] in arguments
  and events; digests are bytes32; times are seconds of block time.

  Run: 1 approving -> 2 readying -> 3 running -> 4 finished or 5 failed. Round: phase 1 collect -> 2 exchange ->
  3 attest -> the next round. Any step takes the consent of more than half of the live sites, or the word of all.

  Ballots are bitmaps under a key; whoever is no longer in the electorate does not count (`ballot & live`). A ballot
  given twice is refused as `voted`, unless the electorate has shrunk so far that it now decides: no vote is stuck.

  Nothing has an owner. Every change of state emits an event; events carry digests, names, votes and budgets only.
  Rules in Python with the same words and the same order of checks: cohortium/ledger/rules.py.
"""

MAX_FOUNDERS: constant(uint256) = 128
MAX_MEMBERS: constant(uint256) = 255
MAX_JOINERS: constant(uint256) = 128
MAX_TIMEOUT_S: constant(uint256) = 31_536_000
MAX_ROUNDS: constant(uint256) = 1_000_000
MAX_CODE: constant(uint256) = 255
MAX_ATTEMPTS: constant(uint256) = 3
MAX_APPEALS: constant(uint256) = 3
HALF_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

# reasons of a refusal: the number a word's letters make; as strings they cost 100 bytes of code more at each place
R_ADDRESS: constant(uint256) = 27413455319692147
R_APPEALED: constant(uint256) = 7021235399799104868
R_APPEALS: constant(uint256) = 27426700780465267
R_BUDGET: constant(uint256) = 108256335193460
R_COMMITTED: constant(uint256) = 1834256857307609851236
R_CONTRIBUTORS: constant(uint256) = 30773728346670042702909764211
R_EARLY: constant(uint256) = 435426585721
R_FROZEN: constant(uint256) = 112641682597230
R_FULL: constant(uint256) = 1718971500
R_JOINER: constant(uint256) = 117026742756722
R_LEADER: constant(uint256) = 119182681466226
R_LIVE: constant(uint256) = 1818850917
R_MEMBER: constant(uint256) = 120282394289522
R_NAME: constant(uint256) = 1851878757
R_NONCE: constant(uint256) = 474315907941
R_ONCE: constant(uint256) = 1869505381
R_PHASE: constant(uint256) = 482787554149
R_QUORUM: constant(uint256) = 124749194884461
R_READY: constant(uint256) = 491327153273
R_RUN: constant(uint256) = 7501166
R_SAME: constant(uint256) = 1935764837
R_SIGNATURE: constant(uint256) = 2128970729138026803813
R_SUBJECT: constant(uint256) = 32498687873999732
R_SURVIVORS: constant(uint256) = 2129838525321711678067
R_VALUE: constant(uint256) = 508440638821
R_VERDICT: constant(uint256) = 33325589237162868
R_VOTED: constant(uint256) = 508676040036

ACTIVE: constant(uint256) = 1
EXCLUDED: constant(uint256) = 2
LEFT: constant(uint256) = 3

APPROVING: constant(uint256) = 1
READYING: constant(uint256) = 2
RUNNING: constant(uint256) = 3
FINISHED: constant(uint256) = 4
FAILED: constant(uint256) = 5

COLLECT: constant(uint256) = 1
EXCHANGE: constant(uint256) = 2
ATTEST: constant(uint256) = 3
FINAL: constant(uint256) = 4

DRAWN: constant(uint256) = 1
MASKED: constant(uint256) = 2
VECTORS: constant(uint256) = 2  # steps of the masked recipe that the contract knows
SURVIVORS: constant(uint256) = 3

ADMIT: constant(uint256) = 1
EXCLUDE: constant(uint256) = 2
REKEY: constant(uint256) = 3
OPEN: constant(uint256) = 4
PROCEED: constant(uint256) = 5
CLOSE: constant(uint256) = 6
DROP: constant(uint256) = 7
END: constant(uint256) = 8
FAILOVER: constant(uint256) = 9
VOID: constant(uint256) = 10
HARM: constant(uint256) = 11
POST: constant(uint256) = 12
DECIDED: constant(uint256) = 255  # the bit of a harm ballot that says a verdict was reached

DECLINED: constant(uint256) = 9  # a reason code; all of them are in docs/reference/contract.md

KEEP_SHIFTED: constant(uint256) = 2
QUARANTINE: constant(uint256) = 4
ELIMINATE: constant(uint256) = 5
INCONCLUSIVE: constant(uint256) = 6


# --- events ---------------------------------------------------------------------------------------------------

event MemberChanged:
    site: String[32]
    account: address
    status: uint256
    tls: bytes32
    seal: bytes32
    epoch: uint256

event Heartbeat:
    site: String[32]

event Voted:
    kind: uint256
    run: uint256
    round: uint256
    subject: String[32]
    site: String[32]
    count: uint256
    need: uint256

event Proposed:
    run: uint256
    site: String[32]
    spec: bytes32
    min_sites: uint256
    n_rounds: uint256
    answer_timeout_s: uint256
    leader_timeout_s: uint256
    budget: uint256
    flags: uint256

event Approved:
    run: uint256
    site: String[32]
    joiner: uint256
    commitment: bytes32

event Declined:
    run: uint256
    site: String[32]

event Readying:
    run: uint256
    live: uint256

event Ready:
    run: uint256
    site: String[32]
    nonce: bytes32

event Started:
    run: uint256
    seed: bytes32
    live: uint256
    missing: uint256

event RoundOpened:
    run: uint256
    round: uint256
    live: uint256
    leader: String[32]

event Committed:
    run: uint256
    round: uint256
    site: String[32]
    digest: bytes32
    weight: uint256
    eps_micro: uint256

event Closed:
    run: uint256
    round: uint256
    attempt: uint256
    frozen: uint256
    missing: uint256
    leader: String[32]
    threshold: uint256

event Withdrawn:
    run: uint256
    round: uint256
    site: String[32]
    reason: uint256

event Dropped:
    run: uint256
    round: uint256
    site: String[32]
    reason: uint256

event Swept:
    run: uint256
    round: uint256
    site: String[32]

event Joined:
    run: uint256
    round: uint256
    site: String[32]
    joiner: uint256

event Posted:
    run: uint256
    round: uint256
    attempt: uint256
    step: uint256
    site: String[32]
    digest: bytes32

event Agreed:
    run: uint256
    round: uint256
    attempt: uint256
    step: uint256
    digest: bytes32

event Published:
    run: uint256
    round: uint256
    term: uint256
    site: String[32]
    digest: bytes32
    inputs_root: bytes32
    transcript: bytes32
    contributors: uint256
    k: uint256

event Attested:
    run: uint256
    round: uint256
    term: uint256
    site: String[32]
    digest: bytes32

event Disputed:
    run: uint256
    round: uint256
    term: uint256
    site: String[32]
    digest: bytes32
    reason: uint256

event Final:
    run: uint256
    round: uint256
    term: uint256
    digest: bytes32
    contributors: uint256

event Void:
    run: uint256
    round: uint256
    reason: uint256

event Failover:
    run: uint256
    round: uint256
    term: uint256
    attempt: uint256
    frozen: uint256
    leader: String[32]
    threshold: uint256

event Ended:
    run: uint256
    state: uint256
    reason: uint256

event Equivocated:
    run: uint256
    round: uint256
    term: uint256
    kind: uint256
    site: String[32]
    h1: bytes32
    h2: bytes32

event HarmRecorded:
    run: uint256
    round: uint256
    subject: String[32]
    site: String[32]
    verdict: uint256
    evidence: bytes32

event HarmVerdict:
    run: uint256
    round: uint256
    subject: String[32]
    verdict: uint256
    evidence: bytes32

event Appealed:
    run: uint256
    site: String[32]
    code: uint256
    lost: uint256

event DataChanged:
    site: String[32]
    dataset: bytes32

event Spent:
    run: uint256
    round: uint256
    site: String[32]
    dataset: bytes32
    record: Bytes[1024]
    eps_micro: uint256

event Audited:
    run: uint256
    site: String[32]
    tier: uint256
    verdict: uint256
    digest: bytes32


# --- state ----------------------------------------------------------------------------------------------------

struct Member:
    name: String[32]
    account: address
    status: uint256
    tls: bytes32
    seal: bytes32
    last_seen: uint256

struct Plan:
    spec: bytes32
    proposer: uint256  # slot
    min_sites: uint256
    n_rounds: uint256
    answer_timeout_s: uint256
    leader_timeout_s: uint256
    budget: uint256  # cumulative epsilon of a site in this run, millionths
    flags: uint256

struct Run:
    state: uint256
    since: uint256  # when the present state or phase began
    seed: bytes32
    start: uint256  # where the rotation of leaders begins
    n_joiners: uint256
    answered: uint256  # bitmap of slots
    ready: uint256
    live: uint256
    pending: uint256  # live from the next round on
    merged: uint256  # final rounds
    head: bytes32  # newest final merge

struct Round:  # frozen to threshold are of the newest closing, contributors to k of the newest publication
    number: uint256
    phase: uint256
    leader: uint256
    term: uint256  # leaders of this round before the present one
    attempt: uint256  # generations of round keys, from 1 at the closing
    committed: uint256
    frozen: uint256
    need: uint256  # least size of survivors and contributors
    threshold: uint256  # equal posts that make `Agreed`
    survivors: uint256
    contributors: uint256
    digest: bytes32
    k: uint256
    attested: uint256
    disputed: uint256

struct Standing:
    verdict: uint256
    run: uint256
    round: uint256
    evidence: bytes32
    appeal: uint256  # code of the open appeal, 0 = none
    lost: uint256  # appeals lost since the last data version

# Everything is public: the getters are the reading half of the interface, zero where there is nothing.
epoch: public(uint256)
active: public(uint256)  # bitmap of slots
n_members: public(uint256)
n_runs: public(uint256)
members: public(HashMap[uint256, Member])  # by slot
slots: public(HashMap[address, uint256])  # slot + 1
names: public(HashMap[String[32], uint256])  # slot + 1
standings: public(HashMap[uint256, Standing])  # by slot
plans: public(HashMap[uint256, Plan])
runs: public(HashMap[uint256, Run])
rounds: public(HashMap[uint256, Round])  # the present round of a run
joiners: public(HashMap[uint256, HashMap[uint256, uint256]])  # run, index -> slot
indices: public(HashMap[uint256, HashMap[uint256, uint256]])  # run, slot -> index + 1
commitments: HashMap[uint256, HashMap[uint256, bytes32]]  # run, index
spent: public(HashMap[uint256, HashMap[uint256, uint256]])  # run, index -> cumulative epsilon, millionths
commits: public(HashMap[uint256, HashMap[uint256, HashMap[uint256, bytes32]]])  # run, round, index
finals: public(HashMap[uint256, HashMap[uint256, bytes32]])  # run, round
agreements: public(HashMap[bytes32, bytes32])  # keccak(abi(12, run, round, attempt * 256 + step, 0))
ballots: public(HashMap[bytes32, uint256])  # keccak(abi(kind, run, round, number, subject))


@deploy
def __init__(
    accounts: DynArray[address, MAX_FOUNDERS],
    names: DynArray[String[32], MAX_FOUNDERS],
    tls: DynArray[bytes32, MAX_FOUNDERS],
    seal: DynArray[bytes32, MAX_FOUNDERS],
):
    n: uint256 = len(accounts)
    self._require(n != 0 and len(names) == n and len(tls) == n and len(seal) == n, R_VALUE)
    for i: uint256 in range(n, bound=MAX_FOUNDERS):
        self._check_name(names[i])
        self._require(self.names[names[i]] == 0, R_NAME)
        self._require(accounts[i] != empty(address) and self.slots[accounts[i]] == 0, R_ADDRESS)
        self._seat(i, accounts[i], names[i], tls[i], seal[i])


@internal
@pure
def _require(ok: bool, reason: uint256):
    """Revert with Error(string): a word of at most 32 letters, given as the number its letters make."""
    if ok:
        return
    n: uint256 = 0
    for i: uint256 in range(1, 33):
        if reason >> unsafe_sub(256, unsafe_mul(8, i)) != 0:
            n = unsafe_add(n, 1)
    word: bytes32 = convert(reason << unsafe_sub(256, unsafe_mul(8, n)), bytes32)
    raw_revert(concat(method_id("Error(string)"), convert(32, bytes32), convert(n, bytes32), word))


# --- bitmaps --------------------------------------------------------------------------------------------------

@internal
@pure
def _count(bits: uint256) -> uint256:
    """How many bits are set (at most 255)."""
    x: uint256 = unsafe_sub(bits, (bits >> 1) & (max_value(uint256) // 3))
    x = unsafe_add(x & (max_value(uint256) // 5), (x >> 2) & (max_value(uint256) // 5))
    x = unsafe_add(x, x >> 4) & (max_value(uint256) // 17)
    return unsafe_mul(x, max_value(uint256) // 255) >> 248


@internal
@pure
def _from(bits: uint256, index: uint256) -> uint256:
    """The first set bit at or after `index`, going round; `bits` is not empty."""
    above: uint256 = (bits >> index) << index
    if above == 0:
        above = bits
    return self._count(unsafe_sub(above & unsafe_sub(0, above), 1))


@internal
@pure
def _check_name(name: String[32]):
    n: uint256 = len(name)
    self._require(n != 0, R_NAME)
    for i: uint256 in range(n, bound=32):
        letter: uint256 = convert(convert(slice(name, i, 1), Bytes[1]), uint256)
        self._require(letter == 45 or (letter >= 48 and letter <= 57) or (letter >= 97 and letter <= 122), R_NAME)


@internal
@pure
def _key(kind: uint256, run: uint256, round: uint256, number: uint256, subject: bytes32) -> bytes32:
    return keccak256(abi_encode(kind, run, round, number, subject))


@internal
def _cast(key: bytes32, index: uint256) -> bool:
    """Set one ballot; whether it is a new one."""
    before: uint256 = self.ballots[key]
    if (before >> index) & 1 != 0:
        return False
    self.ballots[key] = before | (1 << index)
    return True


@internal
def _ballot(
    kind: uint256,
    run: uint256,
    round: uint256,
    number: uint256,
    matter: bytes32,
    index: uint256,
    electorate: uint256,
    need: uint256,
    subject: String[32],
    slot: uint256,
) -> bool:
    """Cast the ballot of `index`; whether it decides. Ballots from outside the electorate do not count."""
    key: bytes32 = self._key(kind, run, round, number, matter)
    fresh: bool = self._cast(key, index)
    count: uint256 = self._count(self.ballots[key] & electorate)
    self._require(fresh or count >= need, R_VOTED)
    log Voted(
        kind=kind, run=run, round=round, subject=subject, site=self.members[slot].name, count=count, need=need
    )
    return count >= need


# --- who asks -------------------------------------------------------------------------------------------------

@internal
@view
def _seated(seat: uint256, reason: uint256) -> uint256:
    """The slot of an active member; seat = slot + 1, 0 = none."""
    self._require(seat != 0 and (self.active >> unsafe_sub(seat, 1)) & 1 != 0, reason)
    return unsafe_sub(seat, 1)


@internal
@view
def _me() -> uint256:
    return self._seated(self.slots[msg.sender], R_MEMBER)


@internal
@view
def _known(run: uint256):
    self._require(run != 0 and run <= self.n_runs, R_RUN)


@internal
@view
def _joiner(run: uint256) -> uint256:
    """The sender's index in the run, live or not."""
    slot: uint256 = self._me()
    self._known(run)
    index: uint256 = self.indices[run][slot]
    self._require(index != 0, R_JOINER)
    return unsafe_sub(index, 1)


@internal
@view
def _live(run: uint256) -> uint256:
    index: uint256 = self._joiner(run)
    self._require((self.runs[run].live >> index) & 1 != 0, R_LIVE)
    return index


@internal
@view
def _live_in(run: uint256, round: uint256) -> uint256:
    """A live joiner who means the round that is running."""
    index: uint256 = self._live(run)
    self._require(self.runs[run].state == RUNNING and self.rounds[run].number == round, R_PHASE)
    return index


@internal
@view
def _working(run: uint256) -> bool:
    """The round is closed and not final."""
    return self.rounds[run].phase == EXCHANGE or self.rounds[run].phase == ATTEST


@internal
@view
def _subject(run: uint256, site: String[32]) -> uint256:
    slot: uint256 = self.names[site]
    self._require(slot != 0, R_SUBJECT)
    index: uint256 = self.indices[run][unsafe_sub(slot, 1)]
    self._require(index != 0, R_SUBJECT)
    return unsafe_sub(index, 1)


@internal
@view
def _name(run: uint256, index: uint256) -> String[32]:
    return self.members[self.joiners[run][index]].name


@internal
@view
def _needed(run: uint256) -> uint256:
    """Fewest sites a round may close with: the study's, and under masks at least 3 and c + 2, c = joiners // 3."""
    least: uint256 = self.plans[run].min_sites
    if self.plans[run].flags & MASKED != 0:
        least = max(least, max(3, self.runs[run].n_joiners // 3 + 2))
    return least


@internal
@view
def _check_time(run: uint256, timeout_s: uint256):
    self._require(block.timestamp >= unsafe_add(self.runs[run].since, timeout_s), R_EARLY)


@internal
@pure
def _check_code(code: uint256):
    self._require(code != 0 and code <= MAX_CODE, R_VALUE)


# --- members --------------------------------------------------------------------------------------------------

@internal
def _tell_member(slot: uint256):
    m: Member = self.members[slot]
    log MemberChanged(site=m.name, account=m.account, status=m.status, tls=m.tls, seal=m.seal, epoch=self.epoch)


@internal
def _seat(slot: uint256, account: address, name: String[32], tls: bytes32, seal: bytes32):
    """Give a slot to an active member; forgets the address it had."""
    if slot == self.n_members:
        self.n_members = unsafe_add(slot, 1)
    else:
        self.slots[self.members[slot].account] = 0
    self.names[name] = unsafe_add(slot, 1)
    self.slots[account] = unsafe_add(slot, 1)
    self.members[slot] = Member(
        name=name, account=account, status=ACTIVE, tls=tls, seal=seal, last_seen=block.timestamp
    )
    self.active |= 1 << slot
    self.epoch += 1
    self._tell_member(slot)


@internal
def _unseat(slot: uint256, status: uint256):
    self.active &= ~(1 << slot)
    self.members[slot].status = status
    self.epoch += 1
    self._tell_member(slot)


@internal
def _member_vote(kind: uint256, me: uint256, subject: String[32], matter: bytes32, two_thirds: bool) -> bool:
    """Cast the sender's ballot of this epoch; whether it decides."""
    n: uint256 = self._count(self.active)
    need: uint256 = unsafe_add(n // 2, 1)
    if two_thirds:
        need = unsafe_add(unsafe_mul(2, n), 2) // 3
    return self._ballot(kind, 0, self.epoch, 0, matter, me, self.active, need, subject, me)


@internal
@pure
def _matter(account: address, name: String[32], tls: bytes32, seal: bytes32) -> bytes32:
    """What exactly is voted on: the same name with other keys is another matter."""
    return keccak256(abi_encode(account, keccak256(name), tls, seal))


@external
def vote_admit(account: address, name: String[32], tls: bytes32, seal: bytes32):
    """More than half of the active members; two thirds where the name was excluded before."""
    me: uint256 = self._me()
    self._check_name(name)
    slot: uint256 = self.n_members
    known: uint256 = self.names[name]
    excluded: bool = False
    if known != 0:
        slot = unsafe_sub(known, 1)
        self._require((self.active >> slot) & 1 == 0, R_NAME)
        excluded = self.members[slot].status == EXCLUDED
    else:
        self._require(slot < MAX_MEMBERS, R_FULL)
    taken: uint256 = self.slots[account]
    self._require(account != empty(address) and (taken == 0 or taken == known), R_ADDRESS)
    if self._member_vote(ADMIT, me, name, self._matter(account, name, tls, seal), excluded):
        self._seat(slot, account, name, tls, seal)


@external
def vote_exclude(site: String[32]):
    """Two thirds of the active members, the subject counted but without a vote."""
    me: uint256 = self._me()
    slot: uint256 = self._seated(self.names[site], R_SUBJECT)
    self._require(slot != me, R_SUBJECT)
    if self._member_vote(EXCLUDE, me, site, keccak256(site), True):
        self._unseat(slot, EXCLUDED)


@external
def vote_rekey(site: String[32], account: address, tls: bytes32, seal: bytes32):
    """A lost ledger key: same name, same slot, new address; two thirds."""
    me: uint256 = self._me()
    slot: uint256 = self._seated(self.names[site], R_SUBJECT)
    self._require(account != empty(address) and self.slots[account] == 0, R_ADDRESS)
    if self._member_vote(REKEY, me, site, self._matter(account, site, tls, seal), True):
        self._seat(slot, account, site, tls, seal)


@external
def rotate(tls: bytes32, seal: bytes32):
    """New certificate and seal key at once; open votes are untouched."""
    me: uint256 = self._me()
    self.members[me].tls = tls
    self.members[me].seal = seal
    self._tell_member(me)


@external
def leave():
    self._unseat(self._me(), LEFT)


@external
def heartbeat():
    me: uint256 = self._me()
    self.members[me].last_seen = block.timestamp
    log Heartbeat(site=self.members[me].name)


@external
def record_data(dataset: bytes32):
    """A new data version of the sender: its verdict and its lost appeals belong to the old one."""
    me: uint256 = self._me()
    self._require(dataset != empty(bytes32), R_VALUE)
    self.standings[me] = empty(Standing)
    log DataChanged(site=self.members[me].name, dataset=dataset)


# --- a run until its first round ------------------------------------------------------------------------------

@external
def propose(
    spec: bytes32,
    min_sites: uint256,
    n_rounds: uint256,
    answer_timeout_s: uint256,
    leader_timeout_s: uint256,
    budget: uint256,
    flags: uint256,
) -> uint256:
    me: uint256 = self._me()
    least: uint256 = 2
    if flags & MASKED != 0:
        least = 3
    self._require(spec != empty(bytes32) and flags <= DRAWN | MASKED, R_VALUE)
    self._require(min_sites >= least and min_sites <= MAX_JOINERS, R_VALUE)
    self._require(n_rounds != 0 and n_rounds <= MAX_ROUNDS, R_VALUE)
    self._require(answer_timeout_s != 0 and answer_timeout_s <= MAX_TIMEOUT_S, R_VALUE)
    self._require(leader_timeout_s != 0 and leader_timeout_s <= MAX_TIMEOUT_S, R_VALUE)
    self._require(min_sites <= self._count(self.active), R_QUORUM)
    run: uint256 = self.n_runs + 1
    self.n_runs = run
    self.plans[run] = Plan(
        spec=spec,
        proposer=me,
        min_sites=min_sites,
        n_rounds=n_rounds,
        answer_timeout_s=answer_timeout_s,
        leader_timeout_s=leader_timeout_s,
        budget=budget,
        flags=flags,
    )
    self.runs[run].state = APPROVING
    self.runs[run].since = block.timestamp
    log Proposed(
        run=run,
        site=self.members[me].name,
        spec=spec,
        min_sites=min_sites,
        n_rounds=n_rounds,
        answer_timeout_s=answer_timeout_s,
        leader_timeout_s=leader_timeout_s,
        budget=budget,
        flags=flags,
    )
    return run


@internal
def _answer(run: uint256) -> uint256:
    me: uint256 = self._me()
    self._known(run)
    self._require(self.runs[run].state == APPROVING, R_PHASE)
    self._require((self.runs[run].answered >> me) & 1 == 0, R_ONCE)
    self.runs[run].answered |= 1 << me
    return me


@internal
def _enter(run: uint256, me: uint256) -> uint256:
    """The next index of the run for a member who has none."""
    index: uint256 = self.runs[run].n_joiners
    self._require(index < MAX_JOINERS, R_FULL)
    self.runs[run].n_joiners = unsafe_add(index, 1)
    self.joiners[run][index] = me
    self.indices[run][me] = unsafe_add(index, 1)
    return index


@external
def approve(run: uint256, commitment: bytes32):
    """Consent to the study and keccak(abi(run, own address, nonce))."""
    me: uint256 = self._answer(run)
    self._require(commitment != empty(bytes32), R_VALUE)
    index: uint256 = self._enter(run, me)
    self.commitments[run][index] = commitment
    self.runs[run].live |= 1 << index
    log Approved(run=run, site=self.members[me].name, joiner=index, commitment=commitment)
    self._try_ready(run)


@external
def decline(run: uint256):
    me: uint256 = self._answer(run)
    log Declined(run=run, site=self.members[me].name)
    self._try_ready(run)


@internal
def _try_ready(run: uint256):
    """Every active member has answered: go on, or give up where too few approved."""
    if self.active & ~self.runs[run].answered != 0:
        return
    if self._count(self.runs[run].live) >= self._needed(run):
        self._to_ready(run)
    else:
        self._end(run, FAILED, DECLINED)


@internal
def _to_ready(run: uint256):
    self.runs[run].state = READYING
    self.runs[run].since = block.timestamp
    log Readying(run=run, live=self.runs[run].live)


@external
def close_approvals(run: uint256):
    """Two joiners, after the time-out: go on without the members who never answered."""
    index: uint256 = self._live(run)
    self._require(self.runs[run].state == APPROVING, R_PHASE)
    self._check_time(run, self.plans[run].answer_timeout_s)
    self._require(self._count(self.runs[run].live) >= self._needed(run), R_QUORUM)
    if self._run_vote(OPEN, run, index, 0, "", 2):
        self._to_ready(run)


@external
def ready(run: uint256, nonce: bytes32):
    """Open the commitment; XOR of hashes, so that the order of arrival chooses nothing."""
    index: uint256 = self._live(run)
    self._require(self.runs[run].state == READYING, R_PHASE)
    self._require((self.runs[run].ready >> index) & 1 == 0, R_ONCE)
    self._require(keccak256(abi_encode(run, msg.sender, nonce)) == self.commitments[run][index], R_NONCE)
    self.runs[run].seed ^= keccak256(nonce)
    self.runs[run].ready |= 1 << index
    log Ready(run=run, site=self._name(run, index), nonce=nonce)
    self._try_start(run)


@external
def vote_proceed(run: uint256):
    """More than half of the joiners, after the time-out: start without those who are not ready."""
    index: uint256 = self._live(run)
    ready: uint256 = self.runs[run].ready & self.runs[run].live
    self._require(self.runs[run].state == READYING, R_PHASE)
    self._require((ready >> index) & 1 != 0, R_READY)
    self._check_time(run, self.plans[run].answer_timeout_s)
    self._require(self._count(ready) >= self._needed(run), R_QUORUM)
    if self._run_vote(PROCEED, run, index, 0, "", self._majority(run)):
        self._start(run)


@internal
def _try_start(run: uint256):
    live: uint256 = self.runs[run].live
    ready: uint256 = self.runs[run].ready & live
    if self._count(ready) < self._needed(run):
        return
    key: bytes32 = self._key(PROCEED, run, 0, 0, keccak256(""))
    votes: uint256 = self._count(self.ballots[key] & live)
    if ready == live or votes >= self._majority(run):
        self._start(run)


@internal
def _start(run: uint256):
    live: uint256 = self.runs[run].live & self.runs[run].ready
    missing: uint256 = self.runs[run].live & ~live
    seed: bytes32 = self.runs[run].seed
    self.runs[run].live = live
    self.runs[run].state = RUNNING
    self.runs[run].start = convert(keccak256(abi_encode(seed, run)), uint256) % self.runs[run].n_joiners
    log Started(run=run, seed=seed, live=live, missing=missing)
    self._open(run)


# --- votes of a run -------------------------------------------------------------------------------------------

@internal
@view
def _majority(run: uint256) -> uint256:
    """More than half of the live sites."""
    return unsafe_add(self._count(self.runs[run].live) // 2, 1)


@internal
def _run_vote(
    kind: uint256, run: uint256, index: uint256, number: uint256, subject: String[32], need: uint256
) -> bool:
    """Cast a ballot about the present round; whether it decides. Only the live count."""
    return self._ballot(
        kind,
        run,
        self.rounds[run].number,
        number,
        keccak256(subject),
        index,
        self.runs[run].live,
        need,
        subject,
        self.joiners[run][index],
    )


# --- coming and going -----------------------------------------------------------------------------------------

@internal
@view
def _check_alive(run: uint256):
    self._require(self.runs[run].state <= RUNNING, R_PHASE)


@internal
def _settle(run: uint256):
    """Somebody is gone: what waited for that site may go on, and its ballots count no more."""
    state: uint256 = self.runs[run].state
    if state == APPROVING:
        self._try_ready(run)
    elif state == READYING:
        self._try_start(run)
    elif self.rounds[run].phase == COLLECT:
        self._try_close(run)
    elif self.rounds[run].phase == EXCHANGE:
        heirs: uint256 = self.rounds[run].frozen & self.runs[run].live
        if (heirs >> self.rounds[run].leader) & 1 == 0 or self._torn(run, heirs):
            self._lead(run, heirs)


@internal
@view
def _torn(run: uint256, left: uint256) -> bool:
    """Under masks a site that goes while shares are dealt leaves them incomplete, and they are dealt anew. Once a
    masked vector is posted all shares were dealt, and a loss only shrinks the survivors."""
    round: uint256 = self.rounds[run].number
    vectors: bytes32 = self._key(POST, run, round, (self.rounds[run].attempt << 8) | VECTORS, empty(bytes32))
    masked: bool = self.plans[run].flags & MASKED != 0
    return masked and left != self.rounds[run].frozen and self.ballots[vectors] == 0 and self.rounds[run].survivors == 0


@internal
def _remove(run: uint256, index: uint256):
    """Out now and later; votes to drop it from this round are void, should it come back."""
    self.runs[run].live &= ~(1 << index)
    self.runs[run].pending &= ~(1 << index)
    self.ballots[self._key(DROP, run, self.rounds[run].number, 0, keccak256(self._name(run, index)))] = 0


@internal
@view
def _here(run: uint256, index: uint256) -> bool:
    """Takes part, now or from the next round on."""
    return ((self.runs[run].live | self.runs[run].pending) >> index) & 1 != 0


@external
def withdraw(run: uint256, reason: uint256):
    """Out at once, by oneself."""
    index: uint256 = self._joiner(run)
    self._check_alive(run)
    self._check_code(reason)
    self._require(self._here(run, index), R_LIVE)
    self._remove(run, index)
    log Withdrawn(run=run, round=self.rounds[run].number, site=self._name(run, index), reason=reason)
    self._settle(run)


@external
def vote_drop(run: uint256, site: String[32], reason: uint256):
    """More than half of the live sites, the subject counted but without a vote."""
    index: uint256 = self._live(run)
    self._check_alive(run)
    subject: uint256 = self._subject(run, site)
    self._require(subject != index and (self.runs[run].live >> subject) & 1 != 0, R_SUBJECT)
    self._check_code(reason)
    if self._run_vote(DROP, run, index, 0, site, self._majority(run)):
        self._remove(run, subject)
        log Dropped(run=run, round=self.rounds[run].number, site=site, reason=reason)
        self._settle(run)


@external
def sweep(run: uint256, site: String[32]):
    """Anyone: a site that is no longer an active member must not inflate the run's majorities, nor hold its start."""
    self._known(run)
    self._check_alive(run)
    slot: uint256 = self.names[site]
    self._require(slot != 0 and (self.active >> unsafe_sub(slot, 1)) & 1 == 0, R_SUBJECT)
    index: uint256 = self.indices[run][unsafe_sub(slot, 1)]
    state: uint256 = self.runs[run].state
    here: bool = index != 0 and self._here(run, unsafe_sub(index, 1))
    if here:
        self._remove(run, unsafe_sub(index, 1))
        log Swept(run=run, round=self.rounds[run].number, site=site)
    self._settle(run)
    self._require(here or self.runs[run].state != state, R_ONCE)


@external
def join(run: uint256):
    """Late or again: in from the next round; at once where the present one could not close without."""
    me: uint256 = self._me()
    self._known(run)
    self._require(self.runs[run].state == RUNNING, R_PHASE)
    index: uint256 = self.indices[run][me]
    if index == 0:
        index = self._enter(run, me)
    else:
        index = unsafe_sub(index, 1)
        self._require(not self._here(run, index), R_ONCE)
    round: uint256 = self.rounds[run].number
    if self.rounds[run].phase == COLLECT and self._count(self.runs[run].live) < self._needed(run):
        self.runs[run].live |= 1 << index
    else:
        self.runs[run].pending |= 1 << index
        round = unsafe_add(round, 1)
    log Joined(run=run, round=round, site=self.members[me].name, joiner=index)
    if round == self.rounds[run].number:
        self._try_close(run)


# --- a round --------------------------------------------------------------------------------------------------

@internal
def _open(run: uint256):
    live: uint256 = self.runs[run].live | self.runs[run].pending
    number: uint256 = unsafe_add(self.rounds[run].number, 1)
    leader: uint256 = self._from(live, unsafe_add(self.runs[run].start, number) % self.runs[run].n_joiners)
    self.runs[run].live = live
    self.runs[run].pending = 0
    self.runs[run].since = block.timestamp
    self.rounds[run].number = number
    self.rounds[run].phase = COLLECT
    self.rounds[run].leader = leader
    self.rounds[run].term = 0
    self.rounds[run].attempt = 0
    self.rounds[run].committed = 0
    self.rounds[run].survivors = 0
    self.rounds[run].attested = 0
    self.rounds[run].disputed = 0
    log RoundOpened(run=run, round=number, live=live, leader=self._name(run, leader))


@external
def commit(run: uint256, round: uint256, digest: bytes32, weight: uint256, eps_micro: uint256):
    """The digest of the own update. The last of the live sites closes the round."""
    index: uint256 = self._live_in(run, round)
    self._require(self.rounds[run].phase == COLLECT, R_PHASE)
    self._require((self.rounds[run].committed >> index) & 1 == 0, R_ONCE)
    self._require(digest != empty(bytes32) and weight != 0, R_VALUE)
    self._require(eps_micro >= self.spent[run][index] and eps_micro <= self.plans[run].budget, R_BUDGET)
    self.spent[run][index] = eps_micro
    self.commits[run][round][index] = digest
    self.rounds[run].committed |= 1 << index
    log Committed(
        run=run, round=round, site=self._name(run, index), digest=digest, weight=weight, eps_micro=eps_micro
    )
    self._try_close(run)


@external
def vote_close(run: uint256, round: uint256):
    """More than half of the live sites, all of them committed: go on without the missing."""
    index: uint256 = self._live_in(run, round)
    committed: uint256 = self.rounds[run].committed & self.runs[run].live
    self._require(self.rounds[run].phase == COLLECT, R_PHASE)
    self._require((committed >> index) & 1 != 0, R_COMMITTED)
    self._require(self._count(committed) >= self._needed(run), R_QUORUM)
    if self._run_vote(CLOSE, run, index, 0, "", self._majority(run)):
        self._close(run)


@internal
def _try_close(run: uint256):
    live: uint256 = self.runs[run].live
    committed: uint256 = self.rounds[run].committed & live
    if self._count(committed) < self._needed(run):
        return
    key: bytes32 = self._key(CLOSE, run, self.rounds[run].number, 0, keccak256(""))
    if committed == live or self._count(self.ballots[key] & live) >= self._majority(run):
        self._close(run)


@internal
def _freeze(run: uint256, frozen: uint256):
    """A new generation of round keys over `frozen`; two survivor sets would need 2 t > n + c posts."""
    self.rounds[run].attempt += 1
    self.rounds[run].frozen = frozen
    self.rounds[run].need = self._needed(run)
    self.rounds[run].threshold = unsafe_add(self._count(frozen), self.runs[run].n_joiners // 3) // 2 + 1


@internal
def _close(run: uint256):
    live: uint256 = self.runs[run].live
    frozen: uint256 = self.rounds[run].committed & live
    leader: uint256 = self._from(frozen, self.rounds[run].leader)
    self._freeze(run, frozen)
    self.rounds[run].phase = EXCHANGE
    self.rounds[run].leader = leader
    self.runs[run].since = block.timestamp
    log Closed(
        run=run,
        round=self.rounds[run].number,
        attempt=self.rounds[run].attempt,
        frozen=frozen,
        missing=live & ~frozen,
        leader=self._name(run, leader),
        threshold=self.rounds[run].threshold,
    )


@external
def post(run: uint256, round: uint256, attempt: uint256, step: uint256, digest: bytes32):
    """What one site holds after a step. `threshold` equal posts are agreed; step 3 under masks is who survived."""
    index: uint256 = self._live_in(run, round)
    frozen: uint256 = self.rounds[run].frozen
    self._require(self._working(run) and attempt == self.rounds[run].attempt, R_PHASE)
    self._require((frozen >> index) & 1 != 0, R_FROZEN)
    self._check_code(step)
    self._require(digest != empty(bytes32), R_VALUE)
    survivors: bool = step == SURVIVORS and self.plans[run].flags & MASKED != 0
    if survivors:
        bits: uint256 = convert(digest, uint256)
        self._require(self.rounds[run].phase == EXCHANGE, R_PHASE)
        self._require(bits & ~frozen == 0 and self._count(bits) >= self.rounds[run].need, R_SURVIVORS)
    slot: bytes32 = self._key(POST, run, round, (attempt << 8) | step, empty(bytes32))
    self._require(self._cast(slot, index), R_ONCE)
    tally: bytes32 = keccak256(concat(slot, digest))
    self._cast(tally, index)
    log Posted(run=run, round=round, attempt=attempt, step=step, site=self._name(run, index), digest=digest)
    if self.agreements[slot] != empty(bytes32):
        return
    if self._count(self.ballots[tally] & self.runs[run].live) >= self.rounds[run].threshold:
        self.agreements[slot] = digest
        if survivors:
            self.rounds[run].survivors = convert(digest, uint256)
        log Agreed(run=run, round=round, attempt=attempt, step=step, digest=digest)


@external
def publish(
    run: uint256, round: uint256, digest: bytes32, inputs_root: bytes32, contributors: uint256, transcript: bytes32
):
    """The leader's merge. Contributors are who was frozen and is live, or under masks the agreed survivors."""
    index: uint256 = self._live_in(run, round)
    self._require(self.rounds[run].phase == EXCHANGE, R_PHASE)
    self._require(index == self.rounds[run].leader, R_LEADER)
    self._require(digest != empty(bytes32), R_VALUE)
    expected: uint256 = self.rounds[run].frozen & self.runs[run].live
    if self.plans[run].flags & MASKED != 0:
        expected = self.rounds[run].survivors
    self._require(contributors == expected, R_CONTRIBUTORS)
    m: uint256 = self._count(contributors)
    self._require(m >= self.rounds[run].need, R_QUORUM)
    k: uint256 = unsafe_add(m, 1) // 2  # floor((m - 1) / 2) + 1
    if self.plans[run].flags & DRAWN != 0:
        k = min(unsafe_add(m // 3, 1), unsafe_sub(m, 1))
    self.rounds[run].phase = ATTEST
    self.rounds[run].digest = digest
    self.rounds[run].contributors = contributors
    self.rounds[run].k = k
    self.rounds[run].disputed = 0
    self.runs[run].since = block.timestamp
    log Published(
        run=run,
        round=round,
        term=self.rounds[run].term,
        site=self._name(run, index),
        digest=digest,
        inputs_root=inputs_root,
        transcript=transcript,
        contributors=contributors,
        k=k,
    )


@internal
@view
def _judge(run: uint256, round: uint256, term: uint256) -> uint256:
    """A live site other than the leader, which has not judged this leader's work yet."""
    index: uint256 = self._live_in(run, round)
    self._require(term == self.rounds[run].term, R_PHASE)
    self._require(index != self.rounds[run].leader, R_LEADER)
    self._require(((self.rounds[run].attested | self.rounds[run].disputed) >> index) & 1 == 0, R_ONCE)
    return index


@external
def attest(run: uint256, round: uint256, term: uint256, digest: bytes32):
    """A contributor's own recomputation. k equal ones make the merge final; a different one is a dispute."""
    index: uint256 = self._judge(run, round, term)
    self._require(self.rounds[run].phase == ATTEST, R_PHASE)
    contributors: uint256 = self.rounds[run].contributors
    self._require((contributors >> index) & 1 != 0, R_CONTRIBUTORS)
    self._require(digest != empty(bytes32), R_VALUE)
    if digest != self.rounds[run].digest:
        self._dispute(run, index, digest, 0)
        return
    attested: uint256 = self.rounds[run].attested | (1 << index)
    self.rounds[run].attested = attested
    log Attested(run=run, round=round, term=term, site=self._name(run, index), digest=digest)
    if self._count(attested & self.runs[run].live) < self.rounds[run].k:
        return
    self.finals[run][round] = digest
    self.runs[run].head = digest
    merged: uint256 = unsafe_add(self.runs[run].merged, 1)
    self.runs[run].merged = merged
    log Final(run=run, round=round, term=term, digest=digest, contributors=contributors)
    if merged == self.plans[run].n_rounds:
        self.rounds[run].phase = FINAL
        self._end(run, FINISHED, 0)
    else:
        self._open(run)


@external
def dispute(run: uint256, round: uint256, term: uint256, digest: bytes32, reason: uint256):
    """The leader does wrong: left out a site, sends nothing, cannot be recomputed. Enough of them depose it."""
    index: uint256 = self._judge(run, round, term)
    self._require(self._working(run), R_PHASE)
    self._require((self.rounds[run].frozen >> index) & 1 != 0, R_FROZEN)
    self._check_code(reason)
    self._dispute(run, index, digest, reason)


@internal
def _dispute(run: uint256, index: uint256, digest: bytes32, reason: uint256):
    disputed: uint256 = self.rounds[run].disputed | (1 << index)
    self.rounds[run].disputed = disputed
    log Disputed(
        run=run,
        round=self.rounds[run].number,
        term=self.rounds[run].term,
        site=self._name(run, index),
        digest=digest,
        reason=reason,
    )
    bench: uint256 = self.rounds[run].frozen & self.runs[run].live
    need: uint256 = self._count(bench) // 2 + 1
    if self.rounds[run].phase == ATTEST:
        bench = self.rounds[run].contributors & self.runs[run].live
        need = max(self.rounds[run].k, 2)  # nobody is deposed by a single word
    if self._count(disputed & bench) >= need:
        self._depose(run)


@external
def failover(run: uint256, round: uint256, term: uint256):
    """The leader steps down at once; others need the time-out and two different signers."""
    index: uint256 = self._live_in(run, round)
    self._require(term == self.rounds[run].term and self._working(run), R_PHASE)
    leader: uint256 = self.rounds[run].leader
    if index != leader:
        self._check_time(run, self.plans[run].leader_timeout_s)
        if not self._run_vote(FAILOVER, run, index, term, "", 2):
            return
    self._require(self._depose(run), R_QUORUM)


@internal
def _depose(run: uint256) -> bool:
    """The next live joiner of the frozen set leads."""
    live: uint256 = self.runs[run].live
    return self._lead(run, self.rounds[run].frozen & live & ~(1 << self.rounds[run].leader))


@internal
def _lead(run: uint256, heirs: uint256) -> bool:
    """A new term, led by the first heir from the present leader on. Before survivors are agreed it is a new attempt
    over who is still there; afterwards never, because unmask answers may be out. False where nobody can follow."""
    if heirs == 0:
        return False
    frozen: uint256 = self.rounds[run].frozen
    if self.rounds[run].survivors == 0:
        frozen &= self.runs[run].live
        spent: bool = self.plans[run].flags & MASKED != 0 and self.rounds[run].attempt == MAX_ATTEMPTS
        if spent or self._count(frozen) < self._needed(run):
            return False
        self._freeze(run, frozen)
    leader: uint256 = self._from(heirs, self.rounds[run].leader)
    self.rounds[run].leader = leader
    self.rounds[run].term += 1
    self.rounds[run].phase = EXCHANGE
    self.rounds[run].attested = 0
    self.rounds[run].disputed = 0
    self.runs[run].since = block.timestamp
    log Failover(
        run=run,
        round=self.rounds[run].number,
        term=self.rounds[run].term,
        attempt=self.rounds[run].attempt,
        frozen=frozen,
        leader=self._name(run, leader),
        threshold=self.rounds[run].threshold,
    )
    return True


@external
def vote_void(run: uint256, round: uint256, reason: uint256):
    """More than half of the live sites: no merge from this round, on to the next; what was spent stays spent."""
    index: uint256 = self._live_in(run, round)
    self._require(self._working(run), R_PHASE)
    self._check_code(reason)
    if self._run_vote(VOID, run, index, 0, "", self._majority(run)):
        log Void(run=run, round=round, reason=reason)
        self._open(run)


@external
def vote_end(run: uint256, state: uint256, reason: uint256):
    """More than half of the live sites: finished early (4) by the study's stopping rule, or failed (5)."""
    index: uint256 = self._live(run)
    self._check_alive(run)
    self._require(state == FAILED or state == FINISHED, R_VALUE)
    self._check_code(reason)
    self._require(state == FAILED or self.runs[run].merged != 0, R_PHASE)
    if self._run_vote(END, run, index, state, "", self._majority(run)):
        self._end(run, state, reason)


@internal
def _end(run: uint256, state: uint256, reason: uint256):
    self.runs[run].state = state
    self.runs[run].since = block.timestamp
    log Ended(run=run, state=state, reason=reason)


# --- evidence, harm, budgets ----------------------------------------------------------------------------------

@internal
@pure
def _signer(digest: bytes32, signature: Bytes[65]) -> address:
    self._require(len(signature) == 65, R_SIGNATURE)
    r: uint256 = extract32(signature, 0, output_type=uint256)
    s: uint256 = extract32(signature, 32, output_type=uint256)
    v: uint256 = extract32(signature, 33, output_type=uint256) & 255
    self._require(s <= HALF_ORDER and (v == 27 or v == 28), R_SIGNATURE)
    signer: address = ecrecover(keccak256(concat(b"\x19Ethereum Signed Message:\n32", digest)), v, r, s)
    self._require(signer != empty(address), R_SIGNATURE)
    return signer


@external
def report_equivocation(
    run: uint256,
    round: uint256,
    term: uint256,
    kind: uint256,
    h1: bytes32,
    s1: Bytes[65],
    h2: bytes32,
    s2: Bytes[65],
):
    """Two digests, one signer, one slot of this very contract: excluded without a vote."""
    self._me()
    self._require(h1 != h2, R_SAME)
    self._check_code(kind)
    slot: bytes32 = empty(bytes32)
    signer: address = self._signer(keccak256(abi_encode(self, chain.id, run, round, term, kind, h1)), s1)
    other: address = self._signer(keccak256(abi_encode(self, chain.id, run, round, term, kind, h2)), s2)
    self._require(signer == other, R_SIGNATURE)
    liar: uint256 = self._seated(self.slots[signer], R_SUBJECT)
    log Equivocated(
        run=run, round=round, term=term, kind=kind, site=self.members[liar].name, h1=h1, h2=h2
    )
    self._unseat(liar, EXCLUDED)


@internal
@pure
def _guilty(verdict: uint256) -> bool:
    """A verdict that changes what a site may contribute: repair, quarantine, eliminate."""
    return verdict > KEEP_SHIFTED and verdict < INCONCLUSIVE


@external
def record_harm(run: uint256, round: uint256, site: String[32], verdict: uint256, evidence: bytes32):
    """One site's verdict about another: 1 keep, 2 keep-shifted, 3 repair, 4 quarantine, 5 eliminate, 6 inconclusive.
    Equal records of more than half of the live sites make it stand."""
    index: uint256 = self._live(run)
    state: uint256 = self.runs[run].state
    self._require(state == RUNNING or state == FINISHED, R_PHASE)
    self._require(round != 0 and round <= self.rounds[run].number, R_PHASE)
    subject: uint256 = self._subject(run, site)
    self._require(subject != index, R_SUBJECT)
    self._require(verdict != 0 and verdict <= INCONCLUSIVE and evidence != empty(bytes32), R_VALUE)
    slot: uint256 = self.joiners[run][subject]
    standing: uint256 = self.standings[slot].verdict
    appealed: bool = self.standings[slot].appeal != 0
    if verdict == ELIMINATE:
        self._require(standing == QUARANTINE or standing == ELIMINATE, R_VERDICT)
        self._require(not appealed, R_APPEALED)
    given: bytes32 = self._key(HARM, run, round, subject, empty(bytes32))
    tally: bytes32 = keccak256(concat(given, convert(verdict, bytes32), evidence))
    fresh: bool = self._cast(given, index)
    self._require(self._cast(tally, index) == fresh, R_ONCE)
    count: uint256 = self._count(self.ballots[tally] & self.runs[run].live)
    stands: bool = count >= self._majority(run) and (self.ballots[given] >> DECIDED) & 1 == 0
    self._require(fresh or stands, R_ONCE)
    log HarmRecorded(
        run=run, round=round, subject=site, site=self._name(run, index), verdict=verdict, evidence=evidence
    )
    if stands:
        self._cast(given, DECIDED)
        if appealed and self._guilty(verdict):
            self.standings[slot].lost += 1
        self.standings[slot].verdict = verdict
        self.standings[slot].run = run
        self.standings[slot].round = round
        self.standings[slot].evidence = evidence
        self.standings[slot].appeal = 0
        log HarmVerdict(run=run, round=round, subject=site, verdict=verdict, evidence=evidence)


@external
def appeal(run: uint256, code: uint256):
    """Against the verdict that run gave: 1 coding-confirmed, 2 population-differs, 3 device-differs, 4 repaired,
    5 error. Nothing is eliminated while an appeal is open; the next verdict answers it."""
    me: uint256 = self._me()
    self._known(run)
    self._require(self.standings[me].run == run and self._guilty(self.standings[me].verdict), R_VERDICT)
    self._require(code != 0 and code <= 5, R_VALUE)
    self._require(self.standings[me].appeal == 0, R_ONCE)
    lost: uint256 = self.standings[me].lost
    self._require(lost < MAX_APPEALS, R_APPEALS)
    self.standings[me].appeal = code
    log Appealed(run=run, site=self.members[me].name, code=code, lost=lost)


@external
def spend(run: uint256, round: uint256, dataset: bytes32, record: Bytes[1024], eps_micro: uint256):
    """A budget record of the sender's own data: reserved, or spent."""
    index: uint256 = self._joiner(run)
    self._require(round <= unsafe_add(self.rounds[run].number, 1), R_PHASE)
    self._require(dataset != empty(bytes32) and len(record) != 0, R_VALUE)
    self._require(eps_micro <= self.plans[run].budget, R_BUDGET)
    log Spent(
        run=run, round=round, site=self._name(run, index), dataset=dataset, record=record, eps_micro=eps_micro
    )


@external
def record_audit(run: uint256, tier: uint256, verdict: uint256, digest: bytes32):
    """Outcome of a leakage audit, tier 0 to 2: 1 pass, 2 fail, 3 inconclusive."""
    index: uint256 = self._joiner(run)
    self._require(self.runs[run].state >= RUNNING, R_PHASE)
    self._require(tier <= 2 and verdict != 0 and verdict <= 3 and digest != empty(bytes32), R_VALUE)
    log Audited(run=run, site=self._name(run, index), tier=tier, verdict=verdict, digest=digest)
