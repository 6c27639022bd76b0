"""What this site has committed of its records in an audit, so that a person here can check it afterwards.

`scores.json`, for this site's own reviewer, holds score, label and salt of each of its records, in the order of the
leaves; roots and rows of all sites stand in `evidence.json` (`quality.proof`). Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.quality.binding import leaves, root_of
from cohortium.quality.calibrate import margin
from cohortium.quality.evidence import COIN, site_evidence
from cohortium.quality.halves import stream_of
from cohortium.quality.pool import Pool
from cohortium.quality.protection import ranking
from cohortium.quality.stages import Auditor

__all__ = ["Review", "review", "scores_of"]

_WITHIN = 2e-6  # rows hold millionths
_FIELDS = ("sound", "reversed", "shifted", "auroc")


def scores_of(auditor: Auditor, state: Parameters, pool: Pool, *, rows: Sequence[int]) -> str:
    """`scores.json` of the one site of the pool. rows: where its records stand in its table."""
    last = auditor.plan.passes - 1
    if f"pass-{last}/usual" not in state:
        return json.dumps({"slope": 0.0, "offset": 0.0, "records": []}) + "\n"
    slope, offset = (float(v) for v in state[f"pass-{last}/calibration"])
    z, salted = auditor.judged(state, last, pool).z, auditor.salts(state, len(pool.y))
    records = [
        {"row": row, "label": int(y), "score": float(score), "salt": salt.hex()}
        for row, y, score, salt in zip(rows, pool.y, z, salted, strict=True)
    ]
    return json.dumps({"slope": slope, "offset": offset, "records": records}) + "\n"


@dataclass(frozen=True, kw_only=True)
class Review:
    """What a reviewer finds. root: whether the scores are those committed; row: whether the evidence shown follows

    from them, None where labels could not be judged or the site showed nothing; sample: records to look up.
    """

    root: bool
    row: bool | None
    sample: tuple[dict[str, Any], ...]


def review(scores: Mapping[str, Any], held: Mapping[str, Any], *, site: str, n: int) -> Review:
    """The site's scores against its root and its row in `held`. n: records of the sample, drawn by the ledger's seed.

    Raises KeyError, TypeError or ValueError for files of another form.
    """
    records = list(scores["records"])
    z = np.array([float(one["score"]) for one in records])
    y = np.array([float(one["label"]) for one in records])
    root = root_of(leaves(z, y, [bytes.fromhex(one["salt"]) for one in records])).hex()
    told = next((one for one in held["evidence"] if one["site"] == site), None)
    row = None
    if told is not None and held["status"] == "decided":
        m = margin(z, y, float(scores["slope"]), float(scores["offset"]))
        again, coins = site_evidence(m, y, novelty=0.0), len(y) * COIN
        found = {"sound": again.sound - coins, "reversed": again.reversed - coins, "shifted": again.shifted - coins,
                 "auroc": ranking(z, y).auroc if again.two_class else 0.5}  # fmt: skip
        same = all(abs(found[name] - told[name]) < _WITHIN for name in _FIELDS)
        row = bool(same and told["n"] == len(y) and told["contradicted"] == int((m < 0).sum()))
    chosen = stream_of(bytes.fromhex(held["seed"]), "review").permutation(len(records))[:n]
    sample = tuple({name: records[at][name] for name in ("row", "label", "score")} for at in sorted(chosen))
    return Review(root=root == held["roots"][site], row=row, sample=sample)
