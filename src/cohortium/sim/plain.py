"""The same learning without a swarm: one loop over the sites, no ledger, no messages.

It is the reference a swarm is compared with (a swarm must give the same bits), and it trains what the
report sets beside the swarm: every site's own model, the pooled model, the swarm without one site.
"""

from __future__ import annotations

from collections.abc import Sequence

from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.sim.engines import train_all
from cohortium.swarm.program import Program, SiteWork

__all__ = ["learn"]


def learn(program: Program, works: Sequence[SiteWork], *, engine: str = "sequential") -> Parameters:
    """The program's last state after training at all `works`, every site in every round."""
    state = program.start()
    round = 1
    while not program.finished(state):
        updates: list[Update] = train_all(works, round, state, engine=engine)
        state = program.merge(state, updates)
        for work, update in zip(works, updates, strict=True):
            work.adopt(round, state, update)
        round += 1
    return state
