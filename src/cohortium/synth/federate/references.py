"""The two ends every federation is measured between: all rows in one place, and every site alone. Simulation only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.errors import DataError
from cohortium.synth.exchange import fit_by_sums, fit_network
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.rows import Rows, joined

__all__ = ["Central", "Isolated", "fit_alone"]

LEAST_ROWS = 30


@dataclass(frozen=True, kw_only=True)
class Central:
    """What could be learned if all rows lay in one place."""

    plan: FederationPlan

    def fits(self, generator: Any, sites: Mapping[str, Rows], *, rng: np.random.Generator) -> dict[str, Parameters]:
        """One state, named `central`."""
        return {"central": fit_alone(generator, joined(list(sites.values())), rng=rng)}


@dataclass(frozen=True, kw_only=True)
class Isolated:
    """What every site learns alone; sites of fewer than 30 rows are left out."""

    plan: FederationPlan

    def fits(self, generator: Any, sites: Mapping[str, Rows], *, rng: np.random.Generator) -> dict[str, Parameters]:
        """A state by `isolated:<site>`. Raises DataError when every site is too small."""
        found = {
            f"isolated:{site}": fit_alone(generator, rows, rng=rng)
            for site, rows in sites.items()
            if len(rows) >= LEAST_ROWS
        }
        if not found:
            raise DataError(f"no site has {LEAST_ROWS} rows to learn from alone")
        return found


def fit_alone(generator: Any, rows: Rows, *, rng: np.random.Generator) -> Parameters:
    """The finished state from rows in one place."""
    if generator.learns_by == "sums":
        return fit_by_sums(generator, [rows])
    return fit_network(generator, [rows], rng=rng)
