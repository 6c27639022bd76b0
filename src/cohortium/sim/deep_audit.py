"""Tier 2 of the audit, before release: reference models are trained, and the model is attacked with their help.

    found = deep_audit(folder, tables, references=8)     # LiRA, RMIA, registered subgroups, outcome share of a site
    found.verdict, found.attacks

Reference models are trained by the study's own program on random halves of all patients, training and held-out ones
alike, so that each patient is unknown to about half of them. Only somebody who holds all sites' tables can do this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, concatenate
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.errors import UsageError
from cohortium.privacy.leakage.losses import patient_losses
from cohortium.privacy.leakage.membership import (
    Membership,
    confidences,
    judge,
    lira_offline,
    lira_online,
    rmia,
)
from cohortium.privacy.leakage.prevalence import infer_property
from cohortium.privacy.leakage.verdict import Finding, Thresholds, Verdict, on_membership, together
from cohortium.reports.discrimination import auroc
from cohortium.reports.measure import Measure
from cohortium.reports.privacy import Attack
from cohortium.reports.record import RunRecord
from cohortium.sim.cohorts import gather
from cohortium.sim.comparison import SiteRows, TrainedModel, train_plainly
from cohortium.sim.own_code import blamed_on, loaded_code
from cohortium.sim.quality import screen_sites
from cohortium.sim.results import load_model, read_record
from cohortium.sim.round_measures import cause_of
from cohortium.sim.site_auditor import thresholds_of

__all__ = ["DeepAudit", "deep_audit"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Say = Callable[[str], None]

_LEAST_SUBGROUP = 20
_QUESTIONS = 200
_SAME = 1e-3  # of an AUROC: another machine's last digits may part a tie
_KEPT = 0.5  # of the patients with, or without, the outcome in shadow models of a low or a high share


@dataclass(frozen=True, kw_only=True)
class DeepAudit:
    """Attacks of tier 2. verdict: of those on patients; what is told about sites stands beside it."""

    attacks: tuple[Attack, ...]
    references: int

    @property
    def verdict(self) -> Verdict:
        """The worst of the attacks on patients."""
        return together(Finding(verdict=a.verdict, reason=a.reason) for a in self.attacks if a.name != "prevalence")


def deep_audit(
    folder: Path,
    tables: Mapping[str, Table],
    *,
    references: int | None = None,
    approve: Callable[[Study], None] = lambda study: None,
    say: Say = lambda text: None,
) -> DeepAudit:
    """Attack a simulated run's model. Raises UsageError where these are not the tables it was trained on.

    references: instead of the study's. approve: called with the study before any code it names is loaded.
    """
    record = read_record(folder / "run.json")
    saved = load_model(folder / "model.safetensors", approve=approve)
    study, k = saved.study, references or saved.study.privacy.audit.references
    chance = Chance(record.seed, secrets_from_system=False)
    rows = gather(study, tables, chance=chance).rows()
    _check_tables(record, rows)
    rows = screen_sites(study, rows, chance=chance, say=say).rows  # what trained, repaired or left out as in the run
    with blamed_on(loaded_code(study)):
        if not study.evaluation.folds and not saved.personal:
            _check_scores(record, saved.model, rows)
        world = _World(study, rows, chance)
        target = world.losses(saved.model)
        outside = world.halves(k)
        shadows = np.stack(
            [world.losses(world.train(~out, number, say=say, of=k)) for number, out in enumerate(outside)]
        )
        found = _patients(world, target, shadows, outside, thresholds_of(study))
        share = _share_of_a_site(world, saved.model, k, say=say)
    return DeepAudit(attacks=(*found, *share), references=k)


def _check_tables(record: RunRecord, rows: Sequence[SiteRows]) -> None:
    here = {one.site: (len(one.training), len(one.test)) for one in rows}
    there = {site: (flow.train, flow.test) for site, flow in record.flow.items()}
    if here != there:
        wrong = sorted(site for site in here.keys() | there.keys() if here.get(site) != there.get(site))
        raise UsageError(
            f"these are not the tables of the run: sites or numbers of patients differ ({', '.join(wrong)})"
        )


def _check_scores(record: RunRecord, model: TrainedModel, rows: Sequence[SiteRows]) -> None:
    """The model does on these test patients what the record says: as many others would pass the count, not this."""
    told = record.test.swarm.get("auroc")
    if told is None or told.value is None or rows[0].test.y is None:
        return
    held = [one for one in rows if len(one.test)]
    risk = np.concatenate([model.scores(one, one.test) for one in held])
    y = np.concatenate([one.test.y for one in held if one.test.y is not None])
    known = np.isfinite(y)
    found = auroc(y[known], risk[known])
    if abs(found - told.value) > _SAME:
        raise UsageError(
            f"these are not the tables of the run: the model's AUROC on them is {found:.4f}, in the record"
            f" {told.value:.4f}"
        )


class _World:
    """All patients of all sites, training and held-out ones behind one another, site by site."""

    def __init__(self, study: Study, rows: Sequence[SiteRows], chance: Chance) -> None:
        self.study, self.rows, self.chance = study, rows, chance
        self.pools = [concatenate([one.training, one.test]) for one in rows]
        self._known = [_known_patients(pool) for pool in self.pools]
        self.member = np.concatenate(
            [
                known < int(one.training.patient.max(initial=-1)) + 1
                for one, known in zip(rows, self._known, strict=True)
            ]
        )

    def losses(self, model: TrainedModel) -> Floats:
        """Of every patient with a known outcome, in the order of `member`."""
        cause = cause_of(model.program.learner)
        return np.concatenate(
            [
                patient_losses(model.scores(one, pool), pool, cause=cause) if len(pool) else np.zeros(0)
                for one, pool in zip(self.rows, self.pools, strict=True)
            ]
        )

    def halves(self, k: int) -> Flags:
        """(k, n): who is left out of each reference; every patient of about half of them."""
        rng, n = self.chance.stream("references"), len(self.member)
        order = np.stack([rng.permutation(k) for _ in range(n)], axis=1)
        return np.asarray(order < k // 2)

    def train(self, inside: Flags, number: int, *, say: Say, of: int) -> TrainedModel:
        """A reference on the chosen patients."""
        say(f"reference {number + 1} of {of}")
        chosen, at = [], 0
        for one, pool, known in zip(self.rows, self.pools, self._known, strict=True):
            patients = known[inside[at : at + len(known)]]
            at += len(known)
            rows = pool.take(np.isin(pool.patient, patients))
            chosen.append(SiteRows(site=one.site, training=rows, calibration=rows, test=rows))
        return self._trained(chosen, f"reference {number}")

    def shadow(self, site: int, *, low: bool, number: int) -> TrainedModel:
        """The study's own training with fewer patients with (low) or without the outcome at one site."""
        rng = self.chance.stream("shadow", low, number)
        training = self.rows[site].training
        y = np.zeros(len(training)) if training.y is None else training.y
        dropped = (y == (1 if low else 0)) & (rng.random(len(y)) > _KEPT)
        rows = training.take(~dropped)
        changed = SiteRows(site=self.rows[site].site, training=rows, calibration=rows, test=rows)
        return self._trained([changed if i == site else one for i, one in enumerate(self.rows)], f"{low} {number}")

    def _trained(self, rows: Sequence[SiteRows], name: str) -> TrainedModel:
        seed = int.from_bytes(self.chance.secret(4, "audit model", name), "big")
        return train_plainly(self.study, rows, chance=Chance(seed, secrets_from_system=False), engine="sequential")

    def subgroups(self) -> dict[str, NDArray[np.int8]]:
        """Codes of every registered subgroup, one a patient (of its first row)."""
        names = self.pools[0].subgroups
        return {
            name: np.concatenate(
                [
                    pool.subgroups[name][[int(np.flatnonzero(pool.patient == p)[0]) for p in known]]
                    for pool, known in zip(self.pools, self._known, strict=True)
                ]
            )
            for name in names
        }


def _known_patients(pool: Examples) -> NDArray[np.int64]:
    """Patients whose outcome is known, as `patient_losses` orders them."""
    known = np.isfinite(pool.y) if pool.y is not None else np.ones(len(pool), dtype=bool)
    return np.unique(pool.patient[known])


def _patients(world: _World, target: Floats, shadows: Floats, outside: Flags, thresholds: Thresholds) -> list[Attack]:
    member = world.member
    scores = {
        "lira-offline": lira_offline(confidences(target), confidences(shadows), outside),
        "lira-online": lira_online(confidences(target), confidences(shadows), outside),
        "rmia": rmia(target, shadows, outside, population=~member),
    }
    attacks = [_attack(name, _judged(found, member), thresholds) for name, found in scores.items()]
    for name, codes in sorted(world.subgroups().items()):
        for code in np.unique(codes[codes >= 0]):
            here = codes == code
            if min((member & here).sum(), (~member & here).sum()) >= _LEAST_SUBGROUP:
                found = _judged(scores["lira-online"][here], member[here])
                attacks.append(_attack(f"lira-online, {name} {code}", found, thresholds))
    return attacks


def _judged(scores: Floats, member: Flags) -> Membership | None:
    usable = np.isfinite(scores)
    return judge(scores[usable & member], scores[usable & ~member])


def _attack(name: str, found: Membership | None, thresholds: Thresholds) -> Attack:
    said = on_membership(found, thresholds)
    figure = None
    if found is not None:
        n = found.n_members + found.n_others
        figure = Measure(value=found.auc, low=found.auc_low, high=found.auc_high, n=n, method="AUC, DeLong")
    return Attack(
        tier=2, name=name, verdict=said.verdict, reason=said.reason, needed=said.needed, figure=figure, guessing=0.5
    )


def _share_of_a_site(world: _World, model: TrainedModel, k: int, *, say: Say) -> list[Attack]:
    """Whether the model tells if the outcome was rare or common at the largest site; two classes only."""
    if world.rows[0].training.layout.outcome != "binary":
        return []
    site = max(range(len(world.rows)), key=lambda i: len(world.rows[i].training))
    rows = world.rows[site]
    questions = world.pools[site].take(np.arange(min(len(world.pools[site]), _QUESTIONS)))
    answers: dict[bool, list[Floats]] = {True: [], False: []}
    for number in range(k):
        for low in (True, False):
            say(f"shadow {2 * number + (not low) + 1} of {2 * k}")
            answers[low].append(world.shadow(site, low=low, number=number).scores(rows, questions))
    found = infer_property(np.stack(answers[True]), np.stack(answers[False]), model.scores(rows, questions))
    if found is None:
        return []
    said = on_membership(found.figures, Thresholds(auc=0.6, tpr=1.0))
    figures = found.figures
    figure = Measure(value=figures.auc, low=figures.auc_low, high=figures.auc_high, n=2 * k, method="AUC, DeLong")
    verdict: Verdict = "fail" if figures.auc_low > 0.6 else "pass" if figures.auc_high < 0.6 else "inconclusive"
    reason = (
        said.reason
        if verdict == "fail"
        else f"AUC {figures.auc:.3f} over {2 * k} shadow models; about a site, not a patient"
    )
    return [
        Attack(tier=2, name="prevalence", site=rows.site, verdict=verdict, reason=reason, figure=figure, guessing=0.5)
    ]
