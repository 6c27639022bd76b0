"""What the swarm is compared with: every site's own model, pooled data, the swarm without one site.

All are trained by the same program in a plain loop; they score every site's test patients, so that the
report can ask the hospital's question: better than my own model, on my own patients?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cohortium.assembly import build_program
from cohortium.core.examples import Examples, concatenate
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study import StrategyPlan, Study
from cohortium.core.update import Turn
from cohortium.errors import CohortiumError, UsageError
from cohortium.sim.engines import choose_engine
from cohortium.sim.plain import learn
from cohortium.strategies import STRATEGIES
from cohortium.swarm.program import Program, SiteWork

__all__ = ["Comparisons", "SiteRows", "TrainedModel", "compare", "train_alone", "train_plainly"]

_SITE_SCALES = ("site", "shrunk", "combat")


@dataclass(frozen=True, kw_only=True, eq=False)
class SiteRows:
    """One site's examples by part; raw, as its cohort gives them."""

    site: str
    training: Examples
    calibration: Examples
    test: Examples


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedModel:
    """A program's last state, and the private memory of the sites that trained it."""

    program: Program
    state: Parameters
    memories: Mapping[str, Parameters] = field(default_factory=dict)

    def scores(self, rows: SiteRows, examples: Examples) -> NDArray[np.float64]:
        """Predictions for `examples` of one site, through the preprocessing as that site would apply it."""
        if not self.serves(rows.site):
            raise UsageError(
                f"the model keeps its last layers at the sites that trained it; site '{rows.site}' has none, "
                "so its patients cannot be predicted"
            )
        work = SiteWork(self.program, site=rows.site, training=rows.training)
        work.restore(self._memory(rows.site))
        return self.program.learner.predict(work.personal(self.state), work.view(self.state, examples))

    def serves(self, site: str) -> bool:
        """Whether there is a whole model for this site: not where other sites trained layers and kept them."""
        alone = len(self.memories) == 1
        return alone or site in self.memories or not getattr(self.program.stages[-1].strategy, "home_only", False)

    def _memory(self, site: str) -> Parameters:
        """The site's private arrays; a model that one site trained alone is the same model everywhere."""
        if len(self.memories) == 1:
            return next(iter(self.memories.values()))
        return self.memories.get(site, Parameters())

    @property
    def personal_sites(self) -> tuple[str, ...]:
        """Sites that predict with a variant of their own, which is in no file but theirs."""
        stage, shared = self.program.stages[-1], self.program.model(self.state)
        turns = {
            site: Turn(
                round=0,
                sites=self.program.sites,
                start=shared,
                state=self.state.under(f"{stage.name}/strategy"),
                site=site,
                memory=memory.under(stage.name),
                n_samples=1,
            )
            for site, memory in sorted(self.memories.items())
        }
        return tuple(site for site, turn in turns.items() if stage.strategy.personal(turn) != shared)


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Models by name (`pooled`, `own/<site>`, `without/<site>`), and why others are missing."""

    models: Mapping[str, TrainedModel]
    missing: Mapping[str, str]


def train_plainly(
    study: Study, rows: Sequence[SiteRows], *, chance: Chance, engine: str = "auto", sites: Sequence[str] | None = None
) -> TrainedModel:
    """The study's program trained on these sites in a plain loop. `sites`: its joiners, if more than `rows`."""
    plain = study.model_copy(update={"quality": study.quality.model_copy(update={"copies": False})})  # looked for once
    program = build_program(plain, rows[0].training.layout, sites=sites or [one.site for one in rows], chance=chance)
    works = [SiteWork(program, site=one.site, training=one.training) for one in rows]
    state = learn(program, works, engine=choose_engine(engine, works))
    return TrainedModel(program=program, state=state, memories={w.site: w.memory() for w in works})


def train_alone(study: Study, one: SiteRows, *, chance: Chance) -> TrainedModel:
    """One site's own model: the study's program without the other sites."""
    return train_plainly(_alone(study), [one], chance=chance)


def compare(
    study: Study,
    rows: Sequence[SiteRows],
    *,
    chance: Chance,
    engine: str = "auto",
    say: Callable[[str], None] = lambda _: None,
) -> Comparisons:
    """Train everything the study's evaluation asks for. A model that cannot be trained is named with its reason."""
    plans: dict[str, Callable[[], TrainedModel]] = {"pooled": partial(_pooled, study, rows, chance)}
    if study.evaluation.per_site:
        plans |= {f"own/{one.site}": partial(train_alone, study, one, chance=chance) for one in rows}
    if study.evaluation.leave_one_out and len(rows) > 2:
        for left in rows:
            others = [one for one in rows if one is not left]
            plans[f"without/{left.site}"] = partial(train_plainly, study, others, chance=chance, engine=engine)
    say(
        f"comparing: pooled data, {len(rows)} single sites"
        + (", each site left out" if len(plans) > len(rows) + 1 else "")
    )
    models: dict[str, TrainedModel] = {}
    missing: dict[str, str] = {}
    for name, train in plans.items():
        try:
            models[name] = train()
        except CohortiumError as error:
            missing[name] = str(error)
        except (ValueError, ArithmeticError) as error:  # the text of a foreign error may hold a patient's value
            missing[name] = type(error).__name__
    return Comparisons(models=models, missing=missing)


def _pooled(study: Study, rows: Sequence[SiteRows], chance: Chance) -> TrainedModel:
    """All training rows as if one hospital held them; scaled over all, since the hospitals are forgotten."""
    if study.cohort.scale in _SITE_SCALES:
        study = study.model_copy(update={"cohort": study.cohort.model_copy(update={"scale": "standard"})})
    together = concatenate([one.training for one in rows])
    whole = SiteRows(site="pooled", training=together, calibration=together, test=together)
    return train_plainly(_alone(study), [whole], chance=chance, engine="sequential")


def _alone(study: Study) -> Study:
    """The same study for a single trainer: rounds, steps and penalties stay, what concerns other sites goes.

    A rule that needs several sites, or slows down by turns of all sites, becomes plain training; weights by site go.
    """
    name, options = study.strategy.name, study.strategy.options
    rule = STRATEGIES.resolve(name) if name in STRATEGIES else None
    if rule is not None and getattr(rule, "among_sites", False):
        name, options = "fedavg", {key: options[key] for key in ("local_epochs", "sync_every") if key in options}
    options = {key: value for key, value in options.items() if key != "weights"}
    fixed = study.strategy.model_dump(exclude={"name", *study.strategy.options})
    return study.model_copy(update={"strategy": StrategyPlan(**{**fixed, **options, "name": name})})
