"""A rare group made larger by synthetic patients of that group, and whether it is served better afterwards.

    found = balance(generator, state, real, held_out, where="TP53 = 1", share=0.3, seed=0)
    found.rows                                     # the real rows and the drawn ones
    print(found.text())

Patients are drawn under the condition until they are `share` of all rows. A model of the larger table and one of the
real rows alone are scored on held-out real patients: on those of the group, and on all others, who must not pay for it.
The drawn group is compared with the real one by the classic clinical fidelity. Design: synthetic-data.md section 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.errors import DataError, UsageError
from cohortium.synth.conditions import Condition, parse
from cohortium.synth.rows import Rows
from cohortium.synth.sampling import draw
from cohortium.synth.uses.gain import Gain, Judge, joined_rows
from cohortium.synth.validation.fidelity import classic_pair
from cohortium.synth.validation.utility import baseline_matrix

__all__ = ["BalancedTable", "balance"]

_FEWEST = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class BalancedTable:
    """rows: real ones first. n_group: real patients of the group; n_drawn: added. fidelity: of these to those.
    broken: drawn patients that break a rule all the same, by rule.
    """

    rows: Rows
    where: str
    n_group: int
    n_drawn: int
    n_tried: int
    broken: Mapping[str, int]
    inside: Gain
    outside: Gain
    fidelity: float

    @property
    def verdict(self) -> str:
        """Of the group; `harm` also where the others pay."""
        return "harm" if "harm" in (self.inside.verdict, self.outside.verdict) else self.inside.verdict

    def text(self) -> str:
        """For people, the verdict first."""
        lines = [self.verdict, f"{self.n_drawn} patients with {self.where} added to {self.n_group} real ones"]
        for name, gain in (("the group", self.inside), ("all others", self.outside)):
            lines.append(
                f"{name}: C-index {gain.without:.3f} -> {gain.with_:.3f}"
                f" ({gain.difference:+z.3f}, 95 % {gain.low:+z.3f} to {gain.high:+z.3f}): {gain.verdict}"
            )
        lines += [f"{count} of them break the rule '{rule}'" for rule, count in self.broken.items()]
        return "\n".join([*lines, f"classic clinical fidelity of the drawn group: {self.fidelity:.3f}"])

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {"verdict": self.verdict, "where": self.where, "n_group": self.n_group, "n_drawn": self.n_drawn,
                "n_tried": self.n_tried, "broken_rules": dict(self.broken), "inside": self.inside.document(),
                "outside": self.outside.document(), "classic_csf": self.fidelity}  # fmt: skip


def balance(
    generator: Any,
    state: Parameters,
    real: Rows,
    held_out: Rows,
    *,
    where: str,
    share: float = 0.3,
    rules: Sequence[Condition] = (),
    draws: int = 3,
    seed: int,
) -> BalancedTable:
    """The larger table and its judgement; `draws` of them behind the figures. rules: no drawn patient may break them.

    Raises UsageError, DataError.
    """
    if not real.facts.time:
        raise UsageError("balancing is judged by survival; this study has no survival outcome")
    condition = parse(where, real.facts)
    if late := [name for name in condition.columns if real.facts[name].group == "outcome"]:
        raise UsageError(f"column '{late[0]}' is the outcome; a group is known beforehand")
    in_real, in_held = condition.holds(real), condition.holds(held_out)
    n_group = int(in_real.sum())
    if min(n_group, int(in_held.sum())) < _FEWEST:
        raise DataError(
            f"{_shown(n_group)} real and {_shown(int(in_held.sum()))} held-out patients with '{where}'; at least"
            f" {_FEWEST} of each are needed to judge"
        )
    if not n_group / len(real) < share < 1:
        raise UsageError(f"share must lie between {n_group / len(real):.2f}, where it is, and 1; got {share}")
    n_drawn = round((share * len(real) - n_group) / (1 - share))
    fill = baseline_matrix(real)[2]
    judges = [Judge(held_out.take(which), seed) for which in (in_held, ~in_held)]
    made = [
        draw(generator, state, n_drawn, rng=np.random.default_rng([seed, k, 71]), where=condition, rules=rules)
        for k in range(draws)
    ]
    gains = [
        judge.compared(
            [judge.risk(real, fill=fill)], [judge.risk(joined_rows(real, one.rows), fill=fill) for one in made]
        )
        for judge in judges
    ]
    return BalancedTable(
        rows=joined_rows(real, made[0].rows),
        where=where,
        n_group=n_group,
        n_drawn=n_drawn,
        n_tried=made[0].n_tried,
        broken=made[0].broken,
        inside=gains[0],
        outside=gains[1],
        fidelity=classic_pair(real.take(in_real), made[0].rows)[0],
    )


def _shown(n: int) -> str:
    return str(n) if n >= 5 else "<5"
