"""What a node is given: which consortium and study (`Charter`), and everything that touches the world (`Ports`).

    ports = Ports(
        ledger=ledger, transport=network.join("porto"), store=MemoryStore(), work=work, key=key,
        sign_call=lambda nonce, function, args: sign_call(key, chain_id=..., nonce=nonce, contract=...,
                                                          function=function, args=args),
        next_nonce=lambda: ledger.nonce(key.address), entropy=lambda n, *names: chance.secret(n, "porto", *names),
    )

A node opens nothing itself. In a simulation blocking calls are made in line and all nodes share one bell; at a
hospital `run_blocking` is a worker thread and the transport is a network.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cohortium.core.exchange import Guard, PlainGuard
from cohortium.core.frames import Limits
from cohortium.core.identity import LedgerKey
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Budget, Ledger, LedgerEvent, Transport, Work
from cohortium.core.update import Update
from cohortium.swarm.bell import Bell
from cohortium.swarm.egress import Sent
from cohortium.swarm.notices import Notice
from cohortium.swarm.store import Store

__all__ = ["Audited", "Charter", "Judged", "Ports", "Proposal", "in_line"]

T = TypeVar("T")

_TERMS = ("min_sites", "n_rounds", "answer_timeout_s", "leader_timeout_s", "budget", "flags")


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What `propose` puts on the ledger beside the study's digest. budget: cumulative epsilon, millionths."""

    min_sites: int
    n_rounds: int
    answer_timeout_s: int = 86_400
    leader_timeout_s: int = 120
    budget: int = 0
    drawn: bool = False

    def spoken(self, *, masked: bool) -> tuple[int, ...]:
        """These terms as the contract takes them."""
        flags = (1 if self.drawn else 0) | (2 if masked else 0)
        return self.min_sites, self.n_rounds, self.answer_timeout_s, self.leader_timeout_s, self.budget, flags


@dataclass(frozen=True, kw_only=True)
class Charter:
    """Which consortium, which contract, which study. proposal: None unless this node proposes the run.

    terms: what a proposal of the study must say to be one; the ledger binds a run to the study's digest, but any
    member may propose it, with numbers of its own. None takes any. run: its number where it is known, as a study may
    be run again.
    """

    consortium: bytes
    contract: bytes
    chain_id: int
    study: bytes
    proposal: Proposal | None = None
    terms: Proposal | None = None
    run: int | None = None

    def is_ours(self, proposed: LedgerEvent, *, masked: bool) -> bool:
        """Whether a proposal is of this study, and on its terms."""
        said = proposed.args
        if said["spec"] != self.study or (self.run is not None and self.run != said["run"]):
            return False
        return self.terms is None or tuple(said[name] for name in _TERMS) == self.terms.spoken(masked=masked)


async def in_line(work: Callable[[], T]) -> T:
    """`run_blocking` of a simulation: here and now."""
    return work()


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What an audit came to. tier: 0 to 2. verdict: 1 pass, 2 fail, 3 inconclusive. digest: of what the site keeps."""

    tier: int
    verdict: int
    digest: bytes


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a run found out about one site's data. verdict: the contract's code; evidence: digest of the whole table."""

    site: str
    verdict: int
    evidence: bytes


def _unlogged(sent: Sent) -> None:
    """Nobody keeps a log."""


def _unheard(notice: Notice) -> None:
    """Nobody observes."""


@dataclass(kw_only=True)
class Ports:
    """Everything a node touches.

    sign_call(nonce, function, args): a signed raw transaction. next_nonce(): of this node's account.
    entropy(n, *names): n secret bytes; names make them repeatable in a simulation. trainer(turn, state): trains in
    place of `work.train`, e.g. many simulated sites at once. consent(Proposed event): the site's word.
    prepare: read data and check, before `ready`; raises TrainingFailed. share: what of the last merge's measures the
    peers may see (nothing). budget: asked before the site approves and before it trains; None: nothing is spent.
    audit(state): what this site's own attacks on the finished run came to, for the ledger. judge(state): what the run
    found out about sites' data; this site puts on the ledger what concerns others. egress: told of every frame
    and every transaction before it leaves. poll_s: how often to look at the ledger when the bell stays silent.
    """

    ledger: Ledger
    transport: Transport
    store: Store
    work: Work
    key: LedgerKey
    sign_call: Callable[[int, str, tuple[object, ...]], bytes]
    next_nonce: Callable[[], int]
    entropy: Callable[..., bytes]
    run_blocking: Callable[[Callable[[], Any]], Awaitable[Any]] = in_line
    trainer: Callable[[int, Parameters], Awaitable[Update]] | None = None
    guard: Guard = field(default_factory=PlainGuard)
    consent: Callable[[LedgerEvent], bool] = lambda proposed: True
    prepare: Callable[[], None] = lambda: None
    share: Callable[[Mapping[str, float]], Mapping[str, float]] = lambda measures: {}
    budget: Budget | None = None
    audit: Callable[[Parameters], Sequence[Audited]] = lambda state: ()
    judge: Callable[[Parameters], Sequence[Judged]] = lambda state: ()
    egress: Callable[[Sent], None] = _unlogged
    observe: Callable[[Notice], None] = _unheard
    bell: Bell = field(default_factory=Bell)
    limits: Limits = field(default_factory=Limits)
    poll_s: float = 1.0

    async def blocking(self, work: Callable[[], T]) -> T:
        """Run a blocking call where this node runs them."""
        result: T = await self.run_blocking(work)
        return result
