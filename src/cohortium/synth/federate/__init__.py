"""Federations: how sites learn one generator together, as stages of the unchanged round machine.

One file each, one registry line each.
"""

from __future__ import annotations

from typing import Final

from cohortium.core.registry import Registry

__all__ = ["FEDERATIONS"]

FEDERATIONS: Final = Registry(
    "federation",
    {
        "central": "cohortium.synth.federate.references:Central",
        "cyclic": "cohortium.synth.federate.averaging:Laps",
        "ensemble": "cohortium.synth.federate.ensemble:Ensemble",
        "exact": "cohortium.synth.federate.exact:Exact",
        "fedavg": "cohortium.synth.federate.averaging:Averaging",
        "isolated": "cohortium.synth.federate.references:Isolated",
        "sharing": "cohortium.synth.federate.sharing:Sharing",
        "similarity": "cohortium.synth.federate.similarity:Similarity",
    },
    group="cohortium.federations",
)
