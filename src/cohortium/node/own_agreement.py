"""What an audit by agreement leaves in `evidence.json`: how models ranked others' patients, to repeat its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cohortium.core.marks import lot_of
from cohortium.core.parameters import Parameters
from cohortium.quality.agreement import judge_agreement
from cohortium.quality.shown_models import MICRO, ShownModels

__all__ = ["follows", "tried_of"]


def tried_of(auditor: ShownModels, state: Parameters) -> dict[str, Any]:
    """What stands beside the table: the seed; by site how its model ranked the patients of every other, AUROC in

    millionths, nothing where one of both was not scored; and who has not answered to the end.
    """
    aurocs = [[None if np.isnan(v) else round(v * MICRO) for v in row] for row in auditor.aurocs(state)]
    tried = {
        site: {other: v for other, v in zip(auditor.sites, row, strict=True) if other != site and v is not None}
        for site, row in zip(auditor.sites, aurocs, strict=True)
    }
    return {"seed": lot_of(state).hex(), "aurocs": tried, "silent": sorted(auditor.silent(state))}


def follows(held: Mapping[str, Any], digest: bytes) -> bool:
    """Whether the table of an audit by agreement follows from the AUROCs that sites have shown.

    Raises KeyError, TypeError or ValueError for another form.
    """
    sites = sorted(one["site"] for one in held["verdicts"])
    shown = np.full((len(sites), len(sites)), np.nan)
    for i, site in enumerate(sites):
        for j, other in enumerate(sites):
            if (told := held["aurocs"][site].get(other)) is not None:
                shown[i, j] = int(told) / MICRO
    return judge_agreement(sites, shown, silent=held["silent"]).digest == digest
