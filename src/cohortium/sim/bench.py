"""The bench: local trainings that are due at the same virtual moment, answered together.

A simulated training repeats bit for bit, so a site that has failed a round will fail it again however often
its node tries. When failures leave too few sites for any merge, the bench ends the run instead of letting the
nodes wait for a person who will not come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import RunFailed, TrainingFailed
from cohortium.sim.engines import train_all
from cohortium.swarm.program import SiteWork

__all__ = ["Bench"]

_GATHER_S = 1e-3


@dataclass(frozen=True)
class _Order:
    site: str
    round: int
    state: Parameters
    answer: asyncio.Future[Update]


class Bench:
    """Trains the sites of one simulation. `stages` tells which stage each round belonged to.

    quorum: how many sites a merge needs. before: called with (site, round) before a training; raises
    TrainingFailed to inject a fault, which may pass. check: called with each update; raises TrainingFailed for one that
    could not be sent.
    """

    def __init__(
        self,
        works: Mapping[str, SiteWork],
        *,
        engine: str,
        quorum: int = 2,
        stages: dict[int, str] | None = None,
        before: Callable[[str, int], None] | None = None,
        check: Callable[[Update], None] = lambda update: None,
    ) -> None:
        self.stages = {} if stages is None else stages
        self.trainings = 0
        self._works = works
        self._engine = engine
        self._quorum = quorum
        self._before = before
        self._check = check
        self._orders: list[_Order] = []
        self._unable: dict[int, set[str]] = {}

    def trainer(self, site: str) -> Callable[[int, Parameters], Awaitable[Update]]:
        """The coroutine function a node of `site` trains with."""

        async def train(round: int, state: Parameters) -> Update:
            loop = asyncio.get_running_loop()
            if not self._orders:
                loop.call_later(_GATHER_S, self._answer)
            order = _Order(site, round, state, loop.create_future())
            self._orders.append(order)
            return await order.answer

        return train

    def _answer(self) -> None:
        """Train everything that was ordered: together where round and state agree, so that sites can be stacked."""
        orders, self._orders = sorted(self._orders, key=lambda order: order.site), []
        groups: dict[tuple[int, bytes], list[_Order]] = {}
        for order in orders:
            if self._allowed(order):
                groups.setdefault((order.round, order.state.digest), []).append(order)
        for (round, _), group in groups.items():
            program = self._works[group[0].site].program
            self.stages[round] = program.stages[program.position(group[0].state)[0]].name
            if self._engine == "stacked":
                self._train(group)
            else:
                for order in group:
                    self._train([order])

    def _allowed(self, order: _Order) -> bool:
        if order.answer.done():  # the node was stopped while it waited
            return False
        try:
            if self._before is not None:
                self._before(order.site, order.round)
        except TrainingFailed as failed:
            order.answer.set_exception(failed)
            return False
        return True

    def _train(self, group: list[_Order]) -> None:
        works = [self._works[order.site] for order in group]
        try:
            updates = train_all(works, group[0].round, group[0].state, engine=self._engine)
        except TrainingFailed as failed:
            if len(group) == 1:
                group[0].answer.set_exception(self._judged(group[0], failed))
                return
            for order in group:  # one site must not fail for another's reason
                self._train([order])
            return
        except Exception as error:  # noqa: BLE001 - not swallowed: it ends the nodes that wait for the answer
            for order in group:
                order.answer.set_exception(error)
            return
        self.trainings += len(group)
        for order, update in zip(group, updates, strict=True):
            try:
                self._check(update)
            except TrainingFailed as failed:
                order.answer.set_exception(self._judged(order, failed))
            else:
                order.answer.set_result(update)

    def _judged(self, order: _Order, failed: TrainingFailed) -> TrainingFailed | RunFailed:
        """The failure as it is while enough sites can go on, else the end of the run."""
        unable = self._unable.setdefault(order.round, set())
        unable.add(order.site)
        if len(self._works) - len(unable) >= self._quorum:
            return failed
        end = RunFailed(order.site, failed.stage, failed.code)
        end.hint = f"{failed}; {failed.hint}" if failed.hint else str(failed)
        return end
