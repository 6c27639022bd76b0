"""What a run would have ended with after every round, for curves, from the states of its program."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from cohortium.core.parameters import Parameters
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate.exact import Exact
from cohortium.synth.rows import Rows

__all__ = ["states_by_round"]


def states_by_round(
    federation: Any, generator: Any, seen: Sequence[Parameters], sites: Sequence[Rows]
) -> list[Parameters]:
    """A finished generator a round: of networks by closing what each round left, of shared rows by learning them.

    sites: training rows, for the closing. By exact sums: the generator after 1, 2, ... climbs.
    """
    if generator.learns_by == "sums":
        if any(name.startswith("model/model/rows/") for state in seen for name in state):
            return [federation.result(generator, state) for state in seen if len(state.under("model/model/rows"))]
        return [fit_by_sums(one, sites) for one in _shorter(generator)] if isinstance(federation, Exact) else []
    found, last = [], None
    for state in seen:
        shared = state.under("model/model/rows")
        weights = state.under("weights/model/net")
        if len(shared):
            found.append(federation.result(generator, state))
        elif len(weights) and weights.digest != last:
            age = float(state["weights/model/age"][0])
            last = weights.digest
            if age >= 0.5:
                found.append(_closed(generator, state.under("foundation/model"), weights, sites))
    return found


def _closed(generator: Any, foundation: Parameters, weights: Parameters, sites: Sequence[Rows]) -> Parameters:
    learner = generator.closing(weights, foundation)
    closed = Parameters() if learner is None else fit_by_sums(learner, sites)
    made: Parameters = generator.assembled(foundation, weights, closed)
    return made


def _shorter(generator: Any) -> list[Any]:
    """The same generator stopped after 1, 2, ... climbs, where it climbs."""
    if not hasattr(generator, "max_climbs"):
        return []
    return [dataclasses.replace(generator, max_climbs=k) for k in range(1, min(generator.max_climbs, 5) + 1)]
