"""One local training at a time, and paid before it begins.

A site with a budget reserves what a round may cost, trains, and calls it spent before its digest is told to anybody;
the records go to the ledger in that order, ahead of the commitment. Without a budget nothing is asked. A training that
failed, or whose round was over before it ended, gives its reservation back: nothing of it has left the node.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from cohortium.core.parameters import Parameters
from cohortium.core.spending import BudgetRecord
from cohortium.errors import TrainingFailed
from cohortium.swarm import actions as do
from cohortium.swarm import events as ev
from cohortium.swarm.notices import Progressed, Troubled
from cohortium.swarm.ports import Judged, Ports
from cohortium.swarm.store import StoreBroken
from cohortium.swarm.view import Phase, RunView
from cohortium.swarm.workshop import Workshop

__all__ = ["Training"]


class Training:
    """A site's trainings in one run. fraction: how far the running one is, for the peers' eyes; a trainer may set it.

    submit: puts a call on the ledger. late_is_lost: late updates are discarded.
    """

    def __init__(
        self,
        site: str,
        ports: Ports,
        workshop: Workshop,
        *,
        view: Callable[[], RunView],
        submit: Callable[[do.Submit], None],
        late_is_lost: bool,
    ) -> None:
        self.fraction = 0.0
        self._site, self._ports, self._workshop = site, ports, workshop
        self._view, self._submit, self._late_is_lost = view, submit, late_is_lost
        self._one_at_a_time = asyncio.Lock()

    async def consent(self, run: int) -> bool:
        """Whether the budget lets this site take part. Why not is said here and nowhere else."""
        budget = self._ports.budget
        if budget is None:
            return True
        try:
            why_not = await self._ports.blocking(lambda: budget.admit(run))
        except StoreBroken as broken:
            why_not = str(broken)
        if why_not:
            self._tell("approve", 0, why_not)
        return not why_not

    async def close(self, run: int) -> bool:
        """The run has ended: free what was planned and never begun, say what audits of model and data came to."""
        if (budget := self._ports.budget) is not None:
            with contextlib.suppress(StoreBroken):  # then it stays reserved
                await self._ports.blocking(lambda: budget.close(run))
        if self._site not in self._view().joiners:
            return False
        state = self._workshop.state
        said = await self._ports.blocking(lambda: self._ports.audit(state))
        for one in said:
            args = (run, one.tier, one.verdict, one.digest)
            self._submit(do.Submit("record_audit", args, (0, "record_audit", one.tier)))
        return bool(said) | self._judge(run, await self._ports.blocking(lambda: self._ports.judge(state)))

    def _judge(self, run: int, found: Sequence[Judged]) -> bool:
        """Vote for what was found about others' data; nobody votes on its own. Whether there was anything to say."""
        newest = self._view().newest
        mine = [one for one in found if one.site != self._site]
        if newest is None or not mine:
            return False
        for one in mine:
            args = (run, newest.round, one.site, one.verdict, one.evidence)
            self._submit(do.Submit("record_harm", args, (0, "record_harm", one.site)))
        return True

    async def run(self, action: do.Train) -> ev.Trained | ev.Failed | None:
        """The round's update, packed; why there is none; or None when it was overtaken by the next round."""
        try:
            return await self._run(action)
        except StoreBroken as broken:  # what cannot be booked is not done; a reservation that was booked stands
            return ev.Failed("train", broken.code, round=action.round)

    async def _run(self, action: do.Train) -> ev.Trained | ev.Failed | None:
        round, view = action.round, self._view()
        async with self._one_at_a_time:
            if not self._is_running(round):
                return None
            self.fraction = 0.0
            self._ports.observe(Progressed(site=self._site, round=round, stage="train"))
            try:
                await self._reserve(view.run, round, self._workshop.state)
                update = await self._workshop.train(action.turn)
            except TrainingFailed as failed:
                if failed.code == "budget":
                    self._tell("train", round, str(failed))
                await self._give_back(view.run, round)
                return ev.Failed("train", failed.code, round=round)
            self.fraction = 1.0
            trained = await self._workshop.pack_update(update, run=view.run, round=round)
            if self._late_is_lost and self._is_over(round):
                await self._give_back(view.run, round)
                return trained
            return replace(trained, spent_micro=await self._settle(view.run, round))

    def _tell(self, stage: str, round: int, sentence: str) -> None:
        """Say what the budget forbids, at this site only."""
        self._ports.observe(Troubled(site=self._site, round=round, stage=stage, code="budget", where=sentence))

    def _is_running(self, round: int) -> bool:
        present = self._view().round
        return present is not None and present.number == round

    def _is_over(self, round: int) -> bool:
        """Whether an update of the round comes too late to be committed by this site."""
        present = self._view().round
        committed = present is not None and self._site in present.commits
        return not self._is_running(round) or (
            present is not None and present.phase is not Phase.COLLECT and not committed
        )

    async def _reserve(self, run: int, round: int, state: Parameters) -> None:
        if (budget := self._ports.budget) is None:
            return
        if handle := await self._ports.blocking(budget.new_version):
            self._submit(do.Submit("record_data", (handle,), (0, "record_data")))
        self._book(run, round, await self._ports.blocking(lambda: budget.reserve(run, round, state)))

    async def _settle(self, run: int, round: int) -> int:
        if (budget := self._ports.budget) is None:
            return 0
        self._book(run, round, await self._ports.blocking(lambda: budget.settle(run, round)))
        return await self._ports.blocking(lambda: budget.spent_micro(run))

    async def _give_back(self, run: int, round: int) -> None:
        if (budget := self._ports.budget) is not None:
            self._book(run, round, await self._ports.blocking(lambda: budget.give_back(run, round)))

    def _book(self, run: int, round: int, records: Sequence[BudgetRecord]) -> None:
        for record in records:
            handle, raw = bytes.fromhex(record.dataset), record.canonical()
            args = (run, record.round, handle, raw, record.eps_run_micro)
            self._submit(do.Submit("spend", args, (round, "spend", record.round, record.state)))
