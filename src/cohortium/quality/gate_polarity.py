"""Polarity: are cases coded as the study says, and do the columns point the way they point elsewhere?

Each site says for every column only whether it goes with the outcome (1), against it (-1) or neither (0, |r| <= 0.1);
sums of these words are all that leaves. Sites that are one-class, or hold fewer than five records, say 0 throughout.
An early sign that costs no model; the audit judges with far more power.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.core.check import Check
from cohortium.core.examples import Examples

__all__ = ["check_coding", "check_polarity", "signs"]

Signs = NDArray[np.int64]

_WEAK = 0.1
_LEAST_RECORDS = 5
_LEAST_SITES = 5
_LEAST_COLUMNS = 3
_MOST = 2 / 3


def check_coding(declared: str, agreed: str) -> Check:
    """Whether the site's declared coding of the outcome is the study's, `1 = case` say; blanks do not count."""
    if not declared:
        return Check(
            id="polarity", level="warn", found="the site has not said which value means a case",
            fix=f"confirm in cohort.toml that {agreed}",
        )  # fmt: skip
    if "".join(declared.split()).lower() != "".join(agreed.split()).lower():
        return Check(
            id="polarity", level="fail", found=f"the site codes the outcome as '{declared}', the study as '{agreed}'",
            fix="recode the outcome, or map its words in cohort.toml",
        )  # fmt: skip
    return Check(id="polarity", level="ok", found=f"the outcome is coded as the study says: {agreed}")


def signs(examples: Examples) -> Signs:
    """-1, 0 or 1 for each column: what this site adds to the consortium's sums."""
    x = examples.x.reshape(len(examples), -1).astype(np.float64)
    y = examples.y
    if y is None or examples.layout.outcome != "binary" or len(x) < _LEAST_RECORDS or not 0 < y.sum() < len(y):
        return np.zeros(x.shape[1], dtype=np.int64)
    found = np.zeros(x.shape[1], dtype=np.int64)
    for at in range(x.shape[1]):
        known = ~np.isnan(x[:, at])
        a, b = x[known, at], y[known]
        if len(a) < _LEAST_RECORDS or a.std() == 0 or b.std() == 0:
            continue
        r = float(np.corrcoef(a, b)[0, 1])
        found[at] = int(np.sign(r)) if abs(r) > _WEAK else 0
    return found


def check_polarity(own: Signs, *, plus: Signs, minus: Signs) -> Check:
    """Whether the site's columns point the other way. plus, minus: sites saying 1 and -1 of each column, all included.

    Columns count where at least five other sites have said 1 or -1 and the site itself has; fewer than three such
    columns tell nothing.
    """
    others_plus, others_minus = plus - (own == 1), minus - (own == -1)
    told = others_plus + others_minus >= _LEAST_SITES
    if told.sum() < _LEAST_COLUMNS:
        few = (
            f"needs {_LEAST_COLUMNS} columns that go clearly with or against the outcome at {_LEAST_SITES} other sites"
        )
        return Check(id="polarity", level="skipped", found=few)
    enough = told & (others_plus != others_minus) & (own != 0)
    if enough.sum() < _LEAST_COLUMNS:
        return Check(id="polarity", level="skipped", found="too few columns go clearly with the outcome to compare")
    against = int((np.sign(others_plus - others_minus)[enough] != own[enough]).sum())
    n = int(enough.sum())
    if against > _MOST * n:
        found = f"{against} of {n} columns go with the outcome here as they go against it elsewhere"
        return Check(id="polarity", level="warn", found=found, fix="confirm which value of the outcome means a case")
    return Check(id="polarity", level="ok", found=f"{n - against} of {n} columns point the way they do elsewhere")
