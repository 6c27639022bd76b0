"""The node's side of its worker process: a `Work` that is done elsewhere, and done again where a worker dies.

    foreman = Foreman(plan, sites=joiners, log=home / "logs/worker-7.log")
    update = foreman.train(round, state)        # blocks; any thread

A worker that is killed by the system or falls silent costs one training, never the node: its end becomes a code
(`failures.py`), the next call starts another one. What is pure - merging, measuring - is simply asked again there.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cohortium.core.parameters import Parameters
from cohortium.core.seams import Budget
from cohortium.core.spending import BudgetRecord
from cohortium.core.update import Aggregate, Update
from cohortium.errors import FrameError, InvariantBroken, PeerError, TrainingFailed
from cohortium.node.failures import code_of_exit
from cohortium.node.pipe import Word, read_word, write_word
from cohortium.swarm.ports import Audited, Judged, Proposal

__all__ = ["Foreman", "WorkerPlan"]

_LOOK_S = 0.5
_STUCK_S = 900.0
_KILL_S = 5.0
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class WorkerPlan:
    """What a worker must know. secret: the site's key for its patients. max_s: longest a training may take.

    book: of what the patients' privacy has cost. consortium: its identity. allowed: see `own_protection.open_purse`.
    """

    study: Path
    site: str
    table: Path
    mapping: str
    secret: bytes
    book: Path = Path("budget.sqlite")
    consortium: str = ""
    allowed: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    max_s: float = 86_400.0

    def text(self) -> dict[str, Any]:
        """As the worker's first word says it."""
        return {
            "study": str(self.study),
            "site": self.site,
            "table": str(self.table),
            "mapping": self.mapping,
            "secret": self.secret.hex(),
            "book": str(self.book),
            "consortium": self.consortium,
            "allowed": dict(self.allowed),
        }


class _Gone(Exception):
    """The worker has ended. code: why, as far as its end tells."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(eq=False)
class _Worker:
    """One process, the node's end of its socket, and the questions it owes answers to."""

    process: subprocess.Popen[bytes]
    end: socket.socket
    stream: Any
    waiting: dict[int, Future[Word]]
    heard_s: float
    gap_s: float = 0.0
    moved: bool = False
    code: str = ""


class Foreman:
    """One run's work at this site (seam `Work`), done in a process of its own.

    sites: all joiners, known once approvals are closed. told: hears the fraction of a running training. stages: by
    merge, in which stage of the program it was; filled while the run goes on. findings: of `prepare`, and what the gate
    warns of since. announced: handles of this site's data versions on the ledger.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        *,
        sites: Callable[[], Sequence[str]],
        log: Path,
        told: Callable[[float], None] = lambda fraction: None,
        announced: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.stages: dict[int, str] = {}
        self.findings: Mapping[str, Any] = {}
        self._plan, self._sites, self._log, self._told, self._announced = plan, sites, log, told, announced
        self._memory = Parameters()
        self._worker: _Worker | None = None
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._closed = False

    # --- the seam ----------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Let the worker read the table and build the model. Raises TrainingFailed with the site's own sentence."""
        self.findings = self._asked("prepare").text

    def start(self) -> Parameters:
        """The state before round 1."""
        return self._asked("start").arrays[0]

    def train(self, round: int, state: Parameters) -> Update:
        """This site's contribution. Raises TrainingFailed; a worker that died took this training with it."""
        self._told(0.0)
        try:
            answer = self._ask("train", {"round": round}, arrays=(state, self._memory))
        except _Gone as gone:
            raise TrainingFailed(f"the worker process ended in training ({gone.code})", code=gone.code) from None
        return answer.updates[0]

    def merge(self, state: Parameters, updates: Sequence[Update] | Aggregate) -> Parameters:
        """The next state. Raises PeerError, TrainingFailed or ArithmeticError like the program's own merge."""
        if isinstance(updates, Aggregate):
            return self._asked("merge", arrays=(state,), aggregate=updates).arrays[0]
        return self._asked("merge", arrays=(state,), updates=tuple(updates)).arrays[0]

    def refuse(self, state: Parameters, shown: Sequence[Update]) -> None:
        """Raises like `merge`."""
        self._asked("refuse", arrays=(state,), updates=tuple(shown))

    def finished(self, state: Parameters) -> bool:
        """Whether the program is over."""
        return bool(self._asked("finished", arrays=(state,)).text["finished"])

    def adopt(self, round: int, state: Parameters, own: Update | None) -> Mapping[str, float]:
        """Take a final merge. A measure that fails is no reason not to take it: then there are no figures."""
        if own is not None:
            self._memory = own.memory
        try:
            answer = self._asked("measure", {"round": round}, arrays=(state, self._memory))
        except (TrainingFailed, ArithmeticError, InvariantBroken):
            return {}
        self.stages[round] = str(answer.text["stage"])
        known = list(self.findings.get("checks", ()))
        fresh = [one for one in answer.text["warned"] if one not in known]
        self.findings = {**self.findings, "checks": [*known, *fresh]}
        return {str(name): float(value) for name, value in answer.text["measures"].items()}

    def memory(self) -> Parameters:
        """This site's private arrays."""
        return self._memory

    def restore(self, memory: Parameters) -> None:
        """Take back the private arrays of an earlier process."""
        self._memory = memory

    # --- beyond the seam -----------------------------------------------------------------------------------------

    def look(self, *, n_sites: int) -> Proposal:
        """The terms of the study among so many members. Raises TrainingFailed that says why it cannot be run."""
        return Proposal(**self._asked("look", {"n_sites": n_sites}).text["terms"])

    @property
    def budget(self) -> Budget:
        """The site's purse; a run that promises nothing costs it nothing."""
        return _Purse(self._asked, self._announced)

    def audit(self, state: Parameters) -> tuple[Audited, ...]:
        """What the site's own attacks on the finished model came to; nothing where they could not be made."""
        try:
            said = self._asked("audit", arrays=(state, self._memory)).text["said"]
        except (TrainingFailed, ArithmeticError, InvariantBroken):
            return ()
        return tuple(Audited(tier=t, verdict=v, digest=bytes.fromhex(digest)) for t, v, digest in said)

    def judge(self, state: Parameters) -> tuple[Judged, ...]:
        """What an audit found out about every site's data; nothing where its table cannot be read."""
        try:
            said = self._asked("judge", arrays=(state,)).text["said"]
        except (TrainingFailed, ArithmeticError, InvariantBroken):
            return ()
        return tuple(Judged(site=site, verdict=code, evidence=bytes.fromhex(digest)) for site, code, digest in said)

    def record(self, state: Parameters, *, model: Path, ledger: Path) -> tuple[str, str]:
        """The site's own record of the run as JSON, and why its figures may not leave (empty: they may).

        Its model is written to `model`. ledger: the exported chain. Raises TrainingFailed.
        """
        named = {"model": str(model), "ledger": str(ledger)}
        answer = self._asked("record", named, arrays=(state, self._memory))
        return str(answer.text["record"]), str(answer.text["withheld"])

    def close(self) -> None:
        """End the worker at once, training or not; calls that wait raise."""
        with self._lock:
            self._closed = True
            worker = self._worker
        if worker is not None:
            self._end(worker, "stopped")

    # --- asking --------------------------------------------------------------------------------------------------

    def _asked(self, word: str, text: Mapping[str, Any] | None = None, **more: Any) -> Word:
        """The answer to something that may be asked twice: a worker that dies over it is replaced once."""
        try:
            return self._ask(word, text or {}, **more)
        except _Gone:
            try:
                return self._ask(word, text or {}, **more)
            except _Gone as gone:
                sentence = f"the worker process ended twice while asked to {word} ({gone.code})"
                raise TrainingFailed(sentence, code=gone.code, stage="load") from None

    def _ask(self, word: str, text: Mapping[str, Any], **more: Any) -> Word:
        asked = Word(next(self._numbers), word, {**text, "sites": list(self._sites())}, **more)
        future: Future[Word] = Future()
        worker = self._hired()
        with self._lock:
            worker.waiting[asked.number] = future
            worker.heard_s, worker.gap_s, worker.moved = time.monotonic(), 0.0, False
            broken = worker.code
        if broken:
            raise _Gone(broken)
        try:
            with self._lock:
                write_word(worker.stream, asked)
        except OSError:
            self._end(worker, "")
        began = time.monotonic()
        while True:
            try:
                return _opened(future.result(timeout=_LOOK_S), word)
            except NotYet:
                if self._is_stuck(worker, began):
                    self._end(worker, "stuck")

    def _is_stuck(self, worker: _Worker, began: float) -> bool:
        """Whether a training that told its progress has stopped telling, or anything takes longer than a round may."""
        now = time.monotonic()
        silent = worker.moved and now - worker.heard_s > max(_STUCK_S, 3 * worker.gap_s)
        return silent or now - began > self._plan.max_s

    def _hired(self) -> _Worker:
        """The worker, a new one if there is none."""
        with self._lock:
            if self._closed:
                raise _Gone("stopped")
            if self._worker is None or self._worker.code:
                self._worker = self._start()
            return self._worker

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "cohortium.node.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for the node, which then ends its worker
                env={**os.environ, **dict.fromkeys(_THREADS, str(self._plan.threads))},
            )
        finally:
            os.close(log)
            theirs.close()
        worker = _Worker(process, ours, ours.makefile("rwb"), {}, time.monotonic())
        write_word(worker.stream, Word(0, "plan", self._plan.text()))
        threading.Thread(target=self._listen, args=(worker,), name="cohortium-worker", daemon=True).start()
        return worker

    def _listen(self, worker: _Worker) -> None:
        """Hand answers to whoever waits for them, until the worker has ended."""
        try:
            while (said := read_word(worker.stream)) is not None:
                now = time.monotonic()
                if said.word == "fraction":
                    worker.gap_s, worker.heard_s, worker.moved = max(worker.gap_s, now - worker.heard_s), now, True
                    self._told(min(max(float(said.text["fraction"]), 0.0), 1.0))
                elif (future := worker.waiting.pop(said.number, None)) is not None:
                    future.set_result(said)
        except (OSError, FrameError, TypeError, ValueError, KeyError):
            pass
        self._end(worker, "")

    def _end(self, worker: _Worker, code: str) -> None:
        """Bury a worker: whoever waits for it hears why. code: empty where its own end tells."""
        with self._lock:
            if worker.code:
                return
            worker.code = code or "error"
        if code:
            worker.process.kill()
        try:
            worker.process.wait(_KILL_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        worker.code = code or code_of_exit(worker.process.returncode)
        worker.end.close()
        with self._lock:
            waiting, worker.waiting = worker.waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(_Gone(worker.code))


class _Purse:
    """The site's purse, kept by the worker (seam `Budget`)."""

    def __init__(self, asked: Callable[..., Word], announced: Callable[[], Sequence[str]]) -> None:
        self._asked, self._announced = asked, announced

    def _ask(self, ask: str, run: int = 0, round: int = 0, arrays: tuple[Parameters, ...] = ()) -> Word:
        text = {"ask": ask, "run": run, "round": round, "announced": list(self._announced())}
        answer: Word = self._asked("budget", text, arrays=arrays)
        return answer

    def _records(self, ask: str, run: int, round: int, arrays: tuple[Parameters, ...] = ()) -> tuple[BudgetRecord, ...]:
        return tuple(BudgetRecord.read(one.encode()) for one in self._ask(ask, run, round, arrays).text["records"])

    def admit(self, run: int) -> str:
        """Empty when the site can take part."""
        return str(self._ask("admit", run).text["answer"])

    def reserve(self, run: int, round: int, state: Parameters) -> tuple[BudgetRecord, ...]:
        """Before training. Raises TrainingFailed with code `budget`."""
        return self._records("reserve", run, round, (state,))

    def settle(self, run: int, round: int) -> tuple[BudgetRecord, ...]:
        """After training."""
        return self._records("settle", run, round)

    def give_back(self, run: int, round: int) -> tuple[BudgetRecord, ...]:
        """Nothing has left."""
        return self._records("give_back", run, round)

    def close(self, run: int) -> None:
        """The run is over."""
        self._ask("close", run)

    def spent_micro(self, run: int) -> int:
        """Epsilon of the run so far, millionths."""
        return int(self._ask("spent_micro", run).text["answer"] or 0)

    def new_version(self) -> bytes:
        """A data version that the ledger has not heard of."""
        return bytes.fromhex(str(self._ask("new_version").text["answer"]))


def _opened(answer: Word, word: str) -> Word:
    """The answer, or the error it tells of."""
    if answer.word == "done":
        return answer
    told = answer.text
    sentence, code = str(told.get("sentence", "")), str(told.get("code", "error"))
    match told.get("kind"):
        case "peer":
            raise PeerError(sentence, site=str(told.get("site", "")))
        case "training":
            raise TrainingFailed(sentence, stage=str(told.get("stage") or "train"), code=code)
    if word in ("merge", "refuse"):  # what fails on what peers sent fails at every honest site, and stops none of them
        raise ArithmeticError(sentence)
    if word in ("look", "train", "prepare", "measure", "budget", "audit", "judge", "record"):
        raise TrainingFailed(sentence, stage="train" if word == "train" else "load", code=code)
    raise InvariantBroken(f"{word}: {sentence}")
