"""What commands ask of a running node, and what it answers: status, runs, studies, members.

Every request comes over the control socket of the home (`control.py`); names, numbers and texts are checked here, what
they mean is the business of `runs.py` and `voting.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from cohortium.core.study import Study
from cohortium.errors import UsageError
from cohortium.node.means import Means
from cohortium.node.run import Run
from cohortium.node.runs import Runs
from cohortium.node.studies import Parcel, difference

__all__ = ["Commands"]

_MEMBERS = ("admit", "exclude", "rotate", "leave", "members", "appeal", "renew", "answer", "sign")


class Commands:
    """Handlers by word. status: the node's own; survey: what peers say now; about_members: a vote, keys, leaving."""

    def __init__(
        self,
        means: Means,
        runs: Runs,
        *,
        status: Callable[[], dict[str, Any]],
        survey: Callable[[], Awaitable[dict[str, Any]]],
        about_members: Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]],
    ) -> None:
        self._means, self._runs = means, runs
        self._own_status, self._own_survey, self._about_members = status, survey, about_members

    def handlers(self) -> dict[str, Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]]:
        """By the request's `do`."""
        handlers: dict[str, Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]] = {
            "status": self._status,
            "survey": self._survey,
            "runs": self._list,
            "show": self.show,
            "propose": self._propose,
            "approve": lambda asked: self._say(asked, self._runs.approve),
            "decline": lambda asked: self._say(asked, _async(self._runs.decline)),
            "stop": lambda asked: self._say(asked, self._runs.stop),
            "resume": lambda asked: self._say(asked, self._runs.resume),
        }
        return handlers | dict.fromkeys(_MEMBERS, self._about_members)

    async def _status(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return self._own_status()

    async def _survey(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return await self._own_survey()

    async def _list(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"runs": [run.document() for run in self._runs.by_number.values()]}

    async def show(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A run, its study, and what is new in it against the study this site approved last."""
        run = self._runs.known(_number(asked))
        study = run.study or self._means.library.get(run.spec)
        text = self._means.library.path(run.spec).read_text(encoding="utf-8") if study else ""
        before = self._approved_before(run)
        changes = difference(study, before) if study and before else []
        return {
            "run": run.document(),
            "study": text,
            "compared_with": before.name if before else "",
            "changes": changes,
        }

    def _approved_before(self, run: Run) -> Study | None:
        for number in sorted(self._runs.by_number, reverse=True):
            decision = self._means.folder(number).decision() if number < run.number else None
            if decision is not None and decision.word == "approve" and decision.study != run.spec.hex():
                return self._means.library.get(bytes.fromhex(decision.study))
        return None

    async def _propose(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        text, code = asked.get("study"), asked.get("code", "")
        if not isinstance(text, str) or not isinstance(code, str):
            raise UsageError("propose needs the study's text, and its code as hexadecimal digits")
        try:
            run = await self._runs.propose(Parcel(text, bytes.fromhex(code)))
        except ValueError:
            raise UsageError("the code of a study travels as hexadecimal digits") from None
        return {"run": run.document()}

    async def _say(self, asked: Mapping[str, Any], say: Callable[[int], Any]) -> dict[str, Any]:
        run: Run = await say(_number(asked))
        return {"run": run.document()}

    async def watch(self, asked: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """Every line of a run, from its beginning to its end; then one line with its outcome."""
        run = self._runs.known(_number(asked))
        past, queue = run.watch()
        try:
            for line in past:
                yield line
            while True:
                if (ending := run.folder.ending()) is not None and queue.empty():
                    if not any(line["event"] == "ended" for line in past):
                        yield run.ended_line(ending)
                    return
                if (run.halted or run.is_over_without_us) and queue.empty():
                    yield run.ended_line(None)
                    return
                if not run.is_watched(queue):
                    raise UsageError("this watcher read too slowly and was cut off; watch again")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        line = await queue.get()
                        yield line
                        if line["event"] == "ended":
                            return
        finally:
            run.unwatch(queue)


def _async(function: Callable[[int], Run]) -> Callable[[int], Awaitable[Run]]:
    async def call(number: int) -> Run:
        return function(number)

    return call


def _number(asked: Mapping[str, Any]) -> int:
    number = asked.get("run")
    if type(number) is not int or number < 1:
        raise UsageError(f"name a run by its number, got {number!r:.40}")
    return number
