"""Generators: learners that can also sample.

One file each, one registry line each.
"""

from __future__ import annotations

from typing import Final

from cohortium.core.registry import Registry

__all__ = ["GENERATORS"]

GENERATORS: Final = Registry(
    "generator",
    {
        "bn": "cohortium.synth.generators.bn:BayesianNetwork",
        "copula": "cohortium.synth.generators.copula:Copula",
        "ctgan": "cohortium.synth.generators.ctgan:Ctgan",
        "vae_bgm": "cohortium.synth.generators.vae_bgm:VaeBgm",
        "marginal_dp": "cohortium.synth.generators.marginal_dp:MarginalDP",
    },
    group="cohortium.generators",
)
