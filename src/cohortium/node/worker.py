"""The worker process of one run: reads the site's table, trains, merges, measures; knows no key, ledger or peer.

    python -m cohortium.node.worker FD      # FD: its end of a socket pair; started by `foreman.py`

It runs what the study brings along, and whatever else may be killed by a full memory or a lost device, outside of the
process that holds the keys and talks to the peers. Trainings run in a thread, so that merges and measures are not kept
waiting by one that takes hours. When the node is gone the socket ends, and so does the worker.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohortium.assembly import check_study
from cohortium.core.check import Check
from cohortium.core.parameters import Parameters
from cohortium.core.progress import listening
from cohortium.core.spending import BudgetRecord
from cohortium.core.study import Study
from cohortium.errors import FrameError, PeerError, StudyError, TrainingFailed
from cohortium.node.failures import code_of_error, sentence_of
from cohortium.node.gate import checks_beside_all
from cohortium.node.own_protection import Guarding, open_purse
from cohortium.node.pipe import Word, read_word, write_word
from cohortium.node.work import (
    Ward,
    audits,
    deployable,
    empty_program,
    open_ward,
    proposal_of,
    read_own,
    synthesis,
    ward_work,
)
from cohortium.privacy.dp.purse import Purse
from cohortium.quality.gate_free_rider import RiderWatch
from cohortium.sim.inputs import read_study
from cohortium.swarm.book import DiskBook
from cohortium.swarm.program import Program, SiteWork

if TYPE_CHECKING:
    from cohortium.node.own_synth import GateBook, OwnSynthesis

__all__ = ["FRACTION_STEP", "Bench", "main", "serve"]

FRACTION_STEP = 0.05
"""Progress is told in such steps: finer ones would count batches, and so patients."""

_TELL_S = 0.2


class Bench:
    """What one worker holds: the study, its patients once they are asked for, and the work on them."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self.program = cache(self._program)
        self.works = cache(self._works)
        self.guarding = cache(self._guarding)
        self.purse = cache(self._purse)
        self.learned = cache(self._learned)
        self.riders = RiderWatch()

    @cached_property
    def gate(self) -> GateBook:
        """Asked before drawn patients leave."""
        from cohortium.node.own_synth import GateBook

        return GateBook()

    @cached_property
    def study(self) -> Study:
        """The study, its own code loaded."""
        return read_study(Path(self._plan["study"]))

    @cached_property
    def ward(self) -> Ward:
        """The site's patients, read when they are needed first."""
        plan = self._plan
        table, mapping = read_own(Path(plan["table"]), Path(plan["mapping"]) if plan["mapping"] else None)
        secret = bytes.fromhex(plan["secret"])
        return open_ward(self.study, table, site=plan["site"], secret=secret, mapping=mapping)

    def _program(self, sites: tuple[str, ...]) -> Program:
        return empty_program(self.study, sites=sites)

    def _works(self, sites: tuple[str, ...]) -> tuple[SiteWork, SiteWork]:
        """One to train with, watched, and one to measure with: both may be busy at once."""
        if self.study.synth is not None:
            return ward_work(self.ward, sites=sites, judge=self.gate), ward_work(self.ward, sites=sites)
        watch = None if audits(self.study) else self.guarding(sites).watch
        return ward_work(self.ward, sites=sites, watch=watch), ward_work(self.ward, sites=sites)

    def _learned(self, sites: tuple[str, ...], state: Parameters) -> OwnSynthesis:
        from cohortium.node.own_synth import OwnSynthesis

        return OwnSynthesis(ward=self.ward, made=synthesis(self.study, sites=sites), state=state, book=self.gate)

    def _guarding(self, sites: tuple[str, ...]) -> Guarding:
        return Guarding(self.ward, self.program(sites))

    def _purse(self, sites: tuple[str, ...], announced: tuple[str, ...]) -> Purse | None:
        plan = self._plan
        return open_purse(
            self.ward,
            self.program(sites),
            DiskBook(Path(plan["book"])),
            secret=bytes.fromhex(plan["secret"]),
            consortium=plan["consortium"],
            allowed=plan["allowed"],
            announced=announced,
        )

    def _beside_all(self, sites: tuple[str, ...], state: Parameters, memory: Parameters) -> tuple[Check, ...]:
        """The gate against the consortium; nothing where the study has none."""
        if self.study.quality.gate == "site":
            return ()
        ward, program = self.ward, self.program(sites)
        return checks_beside_all(ward.schema, ward.cohort, program, state, self.riders, memory=memory)

    # --- what can be asked; each takes the joiners, further values and arrays ----------------------------------

    def look(self, asked: Word) -> Word:
        """What a proposal of the study says among so many members, or why it cannot be run between them."""
        n_sites = asked.text["n_sites"]
        problems = [*check_study(self.study, n_sites=n_sites), *deployable(self.study)]
        if problems:
            raise StudyError(problems)
        terms = proposal_of(self.study, sites=_sites(asked), n_sites=n_sites)
        return Word(0, "done", {"terms": asdict(terms)})

    def prepare(self, asked: Word) -> Word:
        """Read everything, anew when it was read before, build everything, train nothing.

        n_patients: of this site, for its own eyes.
        """
        if self.__dict__.pop("ward", None) is not None:  # the table may have been mended since
            self.works, self.guarding, self.purse = cache(self._works), cache(self._guarding), cache(self._purse)
            self.learned = cache(self._learned)
        ward = self.ward
        self.works(_sites(asked))[0].start()
        found = [asdict(check) for check in ward.checks]
        told = {"checks": found, "warnings": list(ward.cohort.warnings), "n_patients": len(set(ward.cohort.keys))}
        return Word(0, "done", told)

    def start(self, asked: Word) -> Word:
        """The state before the first merge."""
        return Word(0, "done", arrays=(self.program(_sites(asked)).start(),))

    def train(self, asked: Word) -> Word:
        """One contribution. arrays: state, private memory."""
        work = self.works(_sites(asked))[0]
        work.restore(asked.arrays[1])
        return Word(0, "done", updates=(work.train(asked.text["round"], asked.arrays[0]),))

    def merge(self, asked: Word) -> Word:
        """The next state."""
        program, updates = self.program(_sites(asked)), asked.aggregate or asked.updates
        if self.study.quality.gate == "consortium":
            self.riders.hear(program, asked.arrays[0], updates)
        return Word(0, "done", arrays=(program.merge(asked.arrays[0], updates),))

    def refuse(self, asked: Word) -> Word:
        """Nothing, where all answers shown can be merged. arrays: the state."""
        self.program(_sites(asked)).refuse(asked.arrays[0], asked.updates)
        return Word(0, "done")

    def finished(self, asked: Word) -> Word:
        """Whether the program is over."""
        return Word(0, "done", {"finished": self.program(_sites(asked)).finished(asked.arrays[0])})

    def measure(self, asked: Word) -> Word:
        """Figures of a merge on this site's held-out patients, its stage, and what the gate warns of so far.

        arrays: state, memory.
        """
        work, state = self.works(_sites(asked))[1], asked.arrays[0]
        work.restore(asked.arrays[1])
        index, exchanges = work.program.position(state)
        stage = work.program.stages[index - 1 if exchanges == 0 else index].name
        measures = work.adopt(asked.text["round"], state, None)
        told = {"measures": {name: float(value) for name, value in measures.items()}, "stage": stage}
        found = self._beside_all(_sites(asked), state, asked.arrays[1])
        warned = [asdict(one) for one in found if one.level in ("warn", "fail")]
        return Word(0, "done", {**told, "warned": warned})

    def budget(self, asked: Word) -> Word:
        """One question to the site's purse (seam `Budget`). arrays: the state, where a round is reserved."""
        purse, text = self.purse(_sites(asked), tuple(asked.text["announced"])), asked.text
        if purse is None:
            return Word(0, "done", {"answer": "", "records": []})
        answer, records = _of_purse(purse, text["ask"], text["run"], text["round"], asked.arrays)
        return Word(0, "done", {"answer": answer, "records": [one.canonical().decode() for one in records]})

    def audit(self, asked: Word) -> Word:
        """What the site's own attacks on the finished model, or on drawn patients, came to. arrays: state, memory."""
        if self.study.synth is not None:
            said = self.learned(_sites(asked), asked.arrays[0]).audit()
        else:
            said = () if audits(self.study) else self.guarding(_sites(asked)).audit(*asked.arrays)
        return Word(0, "done", {"said": [[one.tier, one.verdict, one.digest.hex()] for one in said]})

    def judge(self, asked: Word) -> Word:
        """What an audit found out about every site's data; nothing in a run that trains. arrays: state."""
        from cohortium.node.own_audit import judged

        found = judged(self.study, self.program(_sites(asked)), asked.arrays[0])
        return Word(0, "done", {"said": [[one.site, one.verdict, one.evidence.hex()] for one in found]})

    def record(self, asked: Word) -> Word:
        """The site's own record of the finished run, and its model in a file. arrays: state, memory."""
        from cohortium.node.own_audit import audit_record
        from cohortium.node.own_record import site_record, withheld

        (state, memory), sites, model = asked.arrays, _sites(asked), Path(asked.text["model"])
        privacy = self.guarding(sites).record(Path(asked.text["ledger"]))
        if audits(self.study):
            text = audit_record(self.ward, self.program(sites), state, folder=model.parent, privacy=privacy)
            return Word(0, "done", {"record": text, "withheld": "an audit trains no model"})
        if self.study.synth is not None:
            text, why = self.learned(sites, state).record(folder=model.parent, privacy=privacy)
            return Word(0, "done", {"record": text, "withheld": why})
        gate = self._beside_all(sites, state, memory)
        text = site_record(self.ward, self.program(sites), state, memory, model=model, privacy=privacy, gate=gate)
        return Word(0, "done", {"record": text, "withheld": withheld(self.ward.gathered.rows()[0])})


def _sites(asked: Word) -> tuple[str, ...]:
    return tuple(asked.text["sites"])


_TASKS = (
    "look", "prepare", "start", "train", "merge", "refuse", "finished", "measure", "budget", "audit", "judge", "record",
)  # fmt: skip


def _of_purse(
    purse: Purse, ask: str, run: int, round: int, arrays: tuple[Parameters, ...]
) -> tuple[str, tuple[BudgetRecord, ...]]:
    """The answer to one question, as text and as records for the ledger."""
    match ask:
        case "admit":
            return purse.admit(run), ()
        case "reserve":
            return "", purse.reserve(run, round, arrays[0])
        case "settle":
            return "", purse.settle(run, round)
        case "give_back":
            return "", purse.give_back(run, round)
        case "close":
            purse.close(run)
            return "", ()
        case "spent_micro":
            return str(purse.spent_micro(run)), ()
        case "new_version":
            return purse.new_version().hex(), ()
    raise FrameError(f"a purse is not asked to {ask!r:.40}")


def serve(end: socket.socket) -> None:
    """Answer until the node closes the socket. The first word is the plan."""
    stream, lock = end.makefile("rwb"), threading.Lock()

    def say(word: Word) -> None:
        with lock:
            write_word(stream, word)

    first = read_word(stream)
    if first is None:
        return
    bench = Bench(first.text)
    while (asked := read_word(stream)) is not None:
        if asked.word == "train":
            threading.Thread(target=_answer, args=(bench, asked, say), daemon=True).start()
        else:
            _answer(bench, asked, say)


def _answer(bench: Bench, asked: Word, say: Callable[[Word], None]) -> None:
    """Do what was asked and say what came of it. Nothing is raised: the node decides what an error means."""
    try:
        if asked.word not in _TASKS:
            raise FrameError(f"a worker does not {asked.word!r}")
        with listening(_fractions(asked.number, say)):
            done: Word = getattr(bench, asked.word)(asked)
        answer = Word(asked.number, "done", done.text, done.arrays, done.updates)
    except Exception as error:  # noqa: BLE001 - told to the node by its kind and code
        traceback.print_exc()
        answer = Word(asked.number, "failed", _told(error))
    try:
        say(answer)
    except OSError:
        os._exit(0)  # the node is gone


def _fractions(number: int, say: Callable[[Word], None]) -> Callable[[float], None]:
    """A listener that passes coarse steps on, a few a second at most."""
    last = [0.0, 0.0]

    def hear(fraction: float) -> None:
        coarse = int(fraction / FRACTION_STEP) * FRACTION_STEP
        if coarse > last[0] and time.monotonic() - last[1] > _TELL_S:
            last[0], last[1] = coarse, time.monotonic()
            say(Word(number, "fraction", {"fraction": coarse}))

    return hear


def _told(error: Exception) -> dict[str, Any]:
    """An error as the node hears it. kind: whose matter it is."""
    kind = "error"
    if isinstance(error, PeerError):
        kind = "peer"
    elif isinstance(error, TrainingFailed):
        kind = "training"
    return {
        "kind": kind,
        "sentence": sentence_of(error),
        "code": code_of_error(error),
        "stage": getattr(error, "stage", ""),
        "site": getattr(error, "site", ""),
        "where": _where(error),
    }


def _where(error: Exception) -> str:
    """Kind of error and the last line of ours it passed, without its text."""
    ours = [one for one in traceback.extract_tb(error.__traceback__) if "cohortium" in one.filename]
    line = f"{Path(ours[-1].filename).stem}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}/{line}"[:64]


def main(arguments: Sequence[str]) -> None:
    """Entry point of the process."""
    with socket.socket(fileno=int(arguments[0])) as end:
        try:
            serve(end)
        except FrameError as broken:  # the node was killed in the middle of a word
            print(broken, file=sys.stderr)
    os._exit(0)  # a training that still runs has nobody to answer to


if __name__ == "__main__":
    main(sys.argv[1:])
