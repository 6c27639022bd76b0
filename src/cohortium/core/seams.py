"""Every seam of the system on one page. A new learner, strategy, engine or transport fits one of these.

    Learner      what is learned            models/, later synth/generators/
    Preparation  a learner whose result changes what the next stage sees       data/
    Strategy     how updates become a merge                                    strategies/
    Work         what a node executes for one run                              swarm/program.py
    Budget       what a site lets its patients' privacy cost                   privacy/dp/purse.py
    Book         where it is written down                                      swarm/book.py
    Ledger       six calls                                                     ledger/
    Transport    frames to and from peers                                      transport/

Learners see `Examples`, exchange `Parameters`; nothing here knows a file, a socket or a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.spending import BudgetRecord, DataVersion, Entry
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update

__all__ = [
    "Book",
    "Budget",
    "Gathering",
    "Head",
    "Learner",
    "Leaving",
    "Ledger",
    "LedgerEvent",
    "Looking",
    "Preparation",
    "Receipt",
    "Refusing",
    "StackedLearner",
    "Strategy",
    "Transport",
    "Work",
]


class Learner(Protocol):
    """One model, or one statistic, learned from examples.

    learns_by: `sums` - `fit` answers the state's question with sums over patients (int64 fixed point),
    which are added up exactly and fed to `advance`; `weights` - `fit` trains locally.
    """

    @property
    def learns_by(self) -> Literal["sums", "weights"]: ...

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """Parameters before the first round; equal at all sites for equal layout and stream."""
        ...

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """One local training (weights), or this site's sums (sums)."""
        ...

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half of learning by sums: pure, bit-exact, repeated by every node."""
        ...

    def finished(self, parameters: Parameters) -> bool:
        """Whether more rounds would change nothing (always False for weights)."""
        ...

    def predict(self, parameters: Parameters, examples: Examples) -> NDArray[np.float64]:
        """binary: P(1), (n,); classes: (n, k); number, count: mean (n,); survival: log risk (n,)."""
        ...

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """Names of arrays by role: `norm` (normalisation layers), `head` (last layer); may be empty."""
        ...


@runtime_checkable
class StackedLearner(Protocol):
    """A learner that can train many sites at once; results in the order given."""

    def fit_many(
        self,
        starts: Sequence[Parameters],
        examples: Sequence[Examples],
        *,
        instructions: Sequence[Instructions],
        rngs: Sequence[np.random.Generator],
    ) -> list[Fitted]: ...


@runtime_checkable
class Refusing(Protocol):
    """A learner by sums that knows what a single site can answer."""

    def refuse(self, answer: Parameters, *, site: str) -> None:
        """Raise PeerError, naming the site, for an answer that no site can give. Asked where answers lie open."""
        ...


@runtime_checkable
class Looking(Protocol):
    """A learner by sums that looks at more of its site than training rows: `Instructions.beside` is there for it."""

    @property
    def looks_beside(self) -> bool: ...


class Gathering(Learner, Protocol):
    """A learner by sums of which some answers are public (`core.marks.SHOWN` stands in its parameters then)."""

    def gather(self, parameters: Parameters, answers: Mapping[str, Parameters]) -> Parameters:
        """What `advance` takes, of each site's own answer. Raises PeerError naming a site whose answer is none."""
        ...


class Preparation(Learner, Protocol):
    """A learner by sums (scaling, filling, harmonising) that changes what later stages see."""

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """What only this site knows and needs to apply it: moments of its own training rows (often empty)."""
        ...

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """The examples as the next stage sees them; pure in the shared parameters, `own` and the rows."""
        ...

    def layout(self, parameters: Parameters, layout: Layout) -> Layout:
        """The layout as the next stage sees it."""
        ...


class Strategy(Protocol):
    """Both halves of one merge algorithm.

    sums: the merge uses `Aggregate.total` only, so it works under masks.
    learns_by: which learners it serves.
    """

    @property
    def sums(self) -> bool: ...

    @property
    def learns_by(self) -> Literal["sums", "weights"]: ...

    def init(self, start: Parameters) -> Parameters:
        """The shared state before the first round (empty if none)."""
        ...

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """Site half, before training: the local trainings wanted (none, one or two)."""
        ...

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """Site half, after training: the contribution, its weight, and what the site will remember."""
        ...

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """Leader half: (new shared model, new state). Bit-exact: + - x / sqrt, sorted sites, no BLAS."""
        ...

    def personal(self, turn: Turn) -> Parameters:
        """The parameters this site itself predicts with: `turn.start`, or its own variant."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Leaving:
    """An update on its way out. start: the shared model it was trained from; sent: its arrays; training: the rows.

    trained: the local model, None where sums leave. see(examples): any raw rows of the site as the model sees them.
    """

    learner: Learner
    start: Parameters
    sent: Parameters
    trained: Parameters | None
    training: Examples
    see: Callable[[Examples], Examples]


class Work(Protocol):
    """What a node executes for one run, at one site. `swarm` knows learning only through this."""

    def start(self) -> Parameters:
        """The state before round 1, equal at all nodes."""
        ...

    def train(self, round: int, state: Parameters) -> Update:
        """This site's contribution; raises TrainingFailed."""
        ...

    def merge(self, state: Parameters, updates: Sequence[Update] | Aggregate) -> Parameters:
        """The next state from updates sorted by site, or from their sum; the same bits on every node."""
        ...

    def refuse(self, state: Parameters, shown: Sequence[Update]) -> None:
        """Raise PeerError, naming the site, for a public answer that `merge` would refuse. Asked when it is heard."""
        ...

    def adopt(self, round: int, state: Parameters, own: Update | None) -> Mapping[str, float]:
        """Take a final merge; `own` is this site's update if the merge lists it. Returns measures."""
        ...

    def finished(self, state: Parameters) -> bool:
        """Whether the study's stopping rule holds: the nodes then vote the run finished."""
        ...

    def memory(self) -> Parameters:
        """Private arrays to persist between rounds."""
        ...

    def restore(self, memory: Parameters) -> None:
        """Put back what `memory` gave, after a restart."""
        ...


class Budget(Protocol):
    """One site's purse in one run. Its own node asks it, before it approves and before every training, and obeys.

    What it answers with are records for the ledger, persisted at the site before they are given out. A round that is
    asked for again costs nothing more: a noisy update is made once and sent once, or its first try never left.
    """

    def admit(self, run: int) -> str:
        """Before approving: empty when the site can take part, else why not, in one sentence for the site itself."""
        ...

    def reserve(self, run: int, round: int, state: Parameters) -> tuple[BudgetRecord, ...]:
        """Before training: what it may cost. Raises TrainingFailed with code `budget`: then nothing is trained."""
        ...

    def settle(self, run: int, round: int) -> tuple[BudgetRecord, ...]:
        """After training, before anything leaves: the reservation is spent, for ever."""
        ...

    def give_back(self, run: int, round: int) -> tuple[BudgetRecord, ...]:
        """The training failed or came too late, and nothing of it has left nor will: the reservation is void."""
        ...

    def close(self, run: int) -> None:
        """The run is over: what was planned for it and never begun is free again."""
        ...

    def spent_micro(self, run: int) -> int:
        """Epsilon of the run so far in millionths, rounded up: what `commit` says."""
        ...

    def new_version(self) -> bytes:
        """The handle of a data version that the ledger has not heard of, once; else empty."""
        ...


class Book(Protocol):
    """A site's memory of what its patients' privacy has cost; durable, and only ever added to."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Nobody else, here or in another process, reads or writes meanwhile; all that is written is kept, or none."""
        ...

    def versions(self) -> tuple[DataVersion, ...]:
        """All data versions, oldest first."""
        ...

    def add_version(self, version: DataVersion) -> None: ...

    def entries(self) -> tuple[Entry, ...]:
        """The newest state of every (data version, run, round), in the order in which they were first written."""
        ...

    def write(self, entry: Entry) -> None:
        """Keep an entry; it takes the place of an older one of its round."""
        ...


@dataclass(frozen=True)
class Receipt:
    """What became of one transaction. reason: the contract's word where it refused, else empty."""

    height: int
    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class LedgerEvent:
    """One event of the contract. `args` by name: ints, bytes, str, tuples of them."""

    height: int
    index: int
    name: str
    args: Mapping[str, object]


@dataclass(frozen=True)
class Head:
    """The newest block: height, block hash, state root (32 bytes each)."""

    height: int
    hash: bytes
    state_root: bytes


class Ledger(Protocol):
    """Six calls. Errors: LedgerRefused, LedgerUnreachable, LedgerForked."""

    def submit(self, signed: bytes) -> Receipt:
        """Put one raw signed transaction into a block. A revert gives a receipt with `ok = False`."""
        ...

    def call(self, function: str, args: tuple[object, ...] = ()) -> tuple[object, ...]:
        """Read without changing anything."""
        ...

    def events(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """All events from that height on, ordered, no gaps."""
        ...

    def head(self) -> Head: ...

    def hash_at(self, height: int) -> bytes | None:
        """The hash of the block at a height, None where the chain here is shorter."""
        ...

    def export(self, path: Path) -> None:
        """JSON lines from which anyone can replay and verify the chain offline."""
        ...


class Transport(Protocol):
    """Frames between this node and its peers. Delivery may fail, repeat or come out of order."""

    async def send(self, peer: str, frame: bytes) -> None: ...

    async def receive(self) -> tuple[str, bytes]: ...

    async def close(self) -> None: ...
