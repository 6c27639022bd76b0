"""What a run computes: stages of learning, folded into one state that is `Parameters` and nothing else.

A `Program` is a row of stages - preparations first, the model last - each a learner with a strategy.
Every swarm round is one exchange of the stage whose turn it is. The state carries the clock, the
finished stages, the running one and the strategy's shared state, so any node can lead the next round
and every node recomputes the same bits. `SiteWork` is one site's half of it (seam `Work`).

Names in the state: `clock` (stage, round), `<stage>/model/...`, `<stage>/strategy/...`,
`<stage>/release/...`, `stop/...`; `core.marks` tells of two that the node reads and writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cohortium.core.exact import weighted_sum
from cohortium.core.examples import Examples, Layout
from cohortium.core.marks import SALT_BYTES, salted, shows
from cohortium.core.parameters import Parameters
from cohortium.core.private import Against, PrivacyTerms, Release
from cohortium.core.progress import part
from cohortium.core.randomness import Chance
from cohortium.core.seams import Gathering, Learner, Leaving, Looking, Preparation, Refusing, Strategy
from cohortium.core.spending import MechanismEvent
from cohortium.core.update import Aggregate, Beside, Fitted, Instructions, Turn, Update
from cohortium.errors import InvariantBroken, PeerError, TrainingFailed

__all__ = ["Measure", "Program", "SiteWork", "Stage", "Stop"]

Measure = Callable[[Learner, Parameters, Examples], Mapping[str, float]]

_LOSS = "metric/loss"
_NORM = "privacy/norm"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One learner, how its updates are merged, and how many rounds it may take.

    release: what makes single updates unreadable but in their sum; then every site weighs 1.
    """

    name: str
    learner: Learner
    strategy: Strategy
    max_rounds: int
    release: Release | None = None


@dataclass(frozen=True, kw_only=True)
class Stop:
    """End the last stage after `patience` rounds whose merged loss fell by less than `min_delta`; keep the best."""

    patience: int
    min_delta: float = 0.0


class Program:
    """The leader half, pure: where the state stands and what merging does to it.

    layout: of the raw examples. sites: all joiners, sorted. Only the last stage is a model.
    privacy: the terms of a private run; then the last stage alone may ask anything about patients.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        layout: Layout,
        *,
        sites: Sequence[str],
        chance: Chance,
        stop: Stop | None = None,
        privacy: PrivacyTerms | None = None,
    ) -> None:
        if not stages:
            raise InvariantBroken("a program needs at least one stage")
        self.stages = tuple(stages)
        self.sites = tuple(sorted(sites))
        self.chance = chance
        self.stop = stop
        self.privacy = privacy
        self._layout = layout

    @property
    def max_rounds(self) -> int:
        """Rounds the whole program may take."""
        return sum(stage.max_rounds for stage in self.stages)

    @property
    def learner(self) -> Learner:
        """The model's learner."""
        return self.stages[-1].learner

    def start(self) -> Parameters:
        """The state before round 1."""
        state = Parameters({"clock": np.zeros(2, dtype=np.int64)})
        return self._open(state, 0)

    def position(self, state: Parameters) -> tuple[int, int]:
        """(index of the running stage, exchanges it has had); index == len(stages) when all is done."""
        stage, exchanges = (int(v) for v in state["clock"])
        return stage, exchanges

    def finished(self, state: Parameters) -> bool:
        """Whether the last stage is over."""
        return self.position(state)[0] >= len(self.stages)

    def model(self, state: Parameters) -> Parameters:
        """The model's shared parameters; raises InvariantBroken before its first round was opened."""
        model = state.under(f"{self.stages[-1].name}/model")
        if not len(model):
            raise InvariantBroken("the run ended before its model stage was opened")
        return model

    def turn(self, state: Parameters) -> Turn:
        """Where the running stage's strategy stands (leader half)."""
        index, exchanges = self.position(state)
        name = self.stages[index].name
        return Turn(
            round=exchanges,
            sites=self.sites,
            start=state.under(f"{name}/model"),
            state=state.under(f"{name}/strategy"),
            draw=int.from_bytes(self.chance.stream("draw", name).bytes(8), "little"),
        )

    def release(self, state: Parameters) -> Parameters:
        """What the sites agree on about how the running stage's updates leave."""
        return state.under(f"{self.stages[min(self.position(state)[0], len(self.stages) - 1)].name}/release")

    def prepared_layout(self, state: Parameters, stage: int) -> Layout:
        """The layout as stage number `stage` sees it."""
        layout = self._layout
        for done in self.stages[:stage]:
            preparation: Preparation = done.learner  # type: ignore[assignment]
            layout = preparation.layout(state.under(f"{done.name}/model"), layout)
        return layout

    def events(
        self, state: Parameters, *, n_survivors: int | None = None, against: Against = "colluders"
    ) -> tuple[MechanismEvent, ...]:
        """What the round that starts from this state costs every patient; of fewest survivors unless they are known."""
        stage, exchange = self.position(state)
        if self.privacy is None or stage != len(self.stages) - 1:
            return ()
        return self.privacy.of_exchange(exchange, n_survivors=n_survivors, against=against)

    def planned_events(self, *, against: Against = "colluders") -> tuple[MechanismEvent, ...]:
        """What the whole run costs every patient at most."""
        return () if self.privacy is None else self.privacy.planned(against=against)

    def merge(self, state: Parameters, updates: Sequence[Update] | Aggregate) -> Parameters:
        """The next state from the round's updates, or from their sum under masks; the same bits for every order."""
        index, exchanges = self.position(state)
        stage = self.stages[index]
        whole = updates if isinstance(updates, Aggregate) else weighted_sum(updates)
        if stage.learner.learns_by == "sums" and (heavy := [u.site for u in whole.single or () if u.weight != 1]):
            raise PeerError(f"update of site '{heavy[0]}': sums over patients carry weight 1", site=heavy[0])
        if isinstance(stage.learner, Refusing):
            for one in whole.single or ():
                stage.learner.refuse(one.parameters, site=one.site)
        if stage.release is not None:
            if whole.weight != len(whole.contributors):
                raise PeerError("updates of a run that hides its sites carry weight 1")
            opened, next_ = stage.release.read(whole.total, self.release(state), n_sites=len(whole.contributors))
            whole = replace(whole, total=opened, single=None)
            state = _replace(state, f"{stage.name}/release", next_)
        aggregate = Aggregate(
            total=whole.total.without([_LOSS]),
            weight=whole.weight,
            contributors=whole.contributors,
            single=None if stage.strategy.sums else tuple(_without_loss(u) for u in whole.updates),
            groups=tuple(replace(one, total=one.total.without([_LOSS])) for one in whole.groups),
        )
        turn = self.turn(state)
        model, strategy_state = stage.strategy.merge(turn, aggregate)
        salts = Parameters()
        if shows(turn.start):
            model = _gathered(stage.learner, turn.start, whole)
            salts = _salts(whole, self.sites) if salted(turn.start) else salts
        if stage.learner.learns_by == "sums":
            model = stage.learner.advance(turn.start, model)
        merged = _replace(state, f"{stage.name}/model", model)
        merged = _replace(merged, f"{stage.name}/strategy", strategy_state)
        merged |= Parameters({"clock": np.array([index, exchanges + 1], dtype=np.int64)})
        merged |= salts.prefixed(f"{stage.name}/shown/{exchanges}")
        over = exchanges + 1 >= stage.max_rounds or stage.learner.finished(model)
        if self.stop is not None and index == len(self.stages) - 1 and _LOSS in whole.total:
            loss = float(whole.total[_LOSS]) / whole.weight
            merged, stopped = self._judge(merged, turn.start, loss, over=over)
            over = over or stopped
        return self._open(merged, index + 1) if over else merged

    def refuse(self, state: Parameters, shown: Sequence[Update]) -> None:
        """Raise PeerError, naming the site, for an answer that is shown in this state and that `merge` would refuse."""
        index, _ = self.position(state)
        gathering: Gathering = self.stages[index].learner  # type: ignore[assignment]
        gathering.gather(self.turn(state).start, {one.site: one.parameters for one in shown})

    def _open(self, state: Parameters, index: int) -> Parameters:
        """Hand the clock to stage `index` and put its first parameters into the state."""
        state |= Parameters({"clock": np.array([index, 0], dtype=np.int64)})
        if index >= len(self.stages):
            return state
        stage = self.stages[index]
        layout = self.prepared_layout(state, index)
        first = stage.learner.initial(layout, rng=self.chance.stream("initial", stage.name))
        state = _replace(state, f"{stage.name}/model", first)
        state = _replace(state, f"{stage.name}/strategy", stage.strategy.init(first))
        if stage.release is not None:
            state = _replace(state, f"{stage.name}/release", stage.release.init())
        return state if stage.max_rounds else self._open(state, index + 1)  # public constants: nobody is asked

    def _judge(self, state: Parameters, start: Parameters, loss: float, *, over: bool) -> tuple[Parameters, bool]:
        """Book the merged loss of the round's start; put the best model back when it is time to stop."""
        assert self.stop is not None  # noqa: S101 - the only caller has checked
        best, since = (float(v) for v in state.get("stop/record", np.array([math.inf, 0.0])))
        if loss < best - self.stop.min_delta or math.isinf(best):
            state = _replace(state, "stop/best", start)
            best, since = loss, 0.0
        else:
            since += 1
        state |= Parameters({"stop/record": np.array([best, since])})
        stopped = since >= self.stop.patience
        if stopped and not over:
            state = _replace(state, f"{self.stages[-1].name}/model", state.under("stop/best"))
        return state, stopped


class SiteWork:
    """One site's half of a program (seam `Work`): its training rows, its private memory, its random streams.

    watch: attacks every update of the model before it leaves; raises TrainingFailed where it must not.
    held_out: rows to measure on. held_back: all rows that train nothing, for a learner that looks at them (`Looking`).
    """

    def __init__(
        self,
        program: Program,
        *,
        site: str,
        training: Examples,
        held_out: Examples | None = None,
        held_back: Examples | None = None,
        measure: Measure | None = None,
        watch: Callable[[Leaving], None] | None = None,
    ) -> None:
        self.program = program
        self.site = site
        self.training = training
        self._held_out = held_out
        self._held_back = held_back if held_back is not None else training.take(np.arange(0))
        self._measure = measure
        self._watch = watch
        self._memory = Parameters()
        self._views: dict[int, tuple[bytes, _View]] = {}

    def start(self) -> Parameters:
        """The program's first state."""
        return self.program.start()

    def finished(self, state: Parameters) -> bool:
        """Whether the program is over."""
        return self.program.finished(state)

    def merge(self, state: Parameters, updates: Sequence[Update] | Aggregate) -> Parameters:
        """The program's merge."""
        return self.program.merge(state, updates)

    def refuse(self, state: Parameters, shown: Sequence[Update]) -> None:
        """The program's refusal."""
        self.program.refuse(state, shown)

    def memory(self) -> Parameters:
        """This site's private arrays."""
        return self._memory

    def restore(self, memory: Parameters) -> None:
        """Take back the private arrays of an earlier process."""
        self._memory = memory

    def train(self, round: int, state: Parameters) -> Update:
        """This site's contribution to the round, trained here and now.

        Raises TrainingFailed, too, where sums of this state fail: it is what peers merged, and must not end this node.
        """
        examples = self.examples(state)
        learner = self.program.stages[self.program.position(state)[0]].learner
        start = self.turn(state).start
        asked, fitted = self.instructions(round, state), []
        for number, one in enumerate(asked):
            with part(number, len(asked)):
                rng = self.rng(round, number)
                try:
                    fitted.append(learner.fit(one.start or start, examples, instructions=one, rng=rng))
                except (ArithmeticError, ValueError, LookupError) as error:
                    if learner.learns_by != "sums":  # it may be code of the user, who wants to see where it failed
                        raise
                    sentence = f"the merged state cannot be learned from ({type(error).__name__})"
                    raise TrainingFailed(sentence, code="error") from error
        return self.conclude(state, tuple(fitted))

    def instructions(self, round: int, state: Parameters) -> tuple[Instructions, ...]:
        """The local trainings the strategy wants of this site in this state, under the terms of a private run.

        Raises InvariantBroken where a private run would ask about patients without noise.
        """
        index, exchange = self.program.position(state)
        asked = self.program.stages[index].strategy.instruct(self.turn(state))
        terms = self.program.privacy
        if terms is None and isinstance(self.program.stages[index].learner, Looking):
            held_out, entropy = self._view(state).apply(self._held_back), self._entropy("beside", round)
            return (replace(asked[0], beside=Beside(site=self.site, held_out=held_out, entropy=entropy)),)
        if terms is None:
            return asked
        if index != self._model_index or len(asked) != 1:
            name = self.program.stages[index].name
            raise InvariantBroken(f"stage '{name}' asks about patients without noise in a private run")
        if terms.unit == "site":
            return asked
        norm = float(self._memory[_NORM]) if _NORM in self._memory else terms.clipping_norm  # where the last one ended
        private = terms.asked(exchange, clipping_norm=norm, entropy=self._entropy("steps", round))
        return (replace(asked[0], private=private),)

    def _entropy(self, use: str, round: int) -> Callable[[int], bytes]:
        """Secret bytes for the noise or the tokens of one round: of the operating system, or of a simulation's seed."""
        return lambda n: self.program.chance.secret(n, "privacy", use, self.site, round)

    def conclude(self, state: Parameters, fitted: tuple[Fitted, ...]) -> Update:
        """The contribution from finished trainings; refuses values that are not finite."""
        index, _ = self.program.position(state)
        stage = self.program.stages[index]
        update = stage.strategy.conclude(self.turn(state), fitted)
        _refuse_infinite(update.parameters)
        if stage.release is not None:
            entropy = self._entropy("release", self.turn(state).round)
            released = stage.release.site(update.parameters, self.program.release(state), entropy=entropy)
            update = replace(update, parameters=released, weight=1)
        arrays = dict(update.parameters)
        if self.program.stop is not None and fitted and index == len(self.program.stages) - 1:
            arrays[_LOSS] = np.asarray(fitted[0].loss, dtype=np.float64)
        _refuse_infinite(arrays)
        if self._watch is not None and index == self._model_index:
            self._watch(self._leaving(state, update, fitted))
        memory = _replace(self._memory, stage.name, update.memory)
        if self.program.privacy is not None and fitted and fitted[0].clipping_norm:
            memory |= Parameters({_NORM: np.asarray(fitted[0].clipping_norm)})
        return Update(site=self.site, parameters=Parameters(arrays), weight=update.weight, memory=memory)

    def _leaving(self, state: Parameters, update: Update, fitted: tuple[Fitted, ...]) -> Leaving:
        learner = self.program.learner
        return Leaving(
            learner=learner,
            start=self.turn(state).start,
            sent=update.parameters,
            trained=fitted[0].parameters if fitted and learner.learns_by == "weights" else None,
            training=self.examples(state),
            see=lambda rows: self.view(state, rows),
        )

    def adopt(self, round: int, state: Parameters, own: Update | None) -> Mapping[str, float]:
        """Take a final merge; private memory advances only if the merge lists this site."""
        if own is not None:
            self._memory = own.memory
        if self._measure is None or self._held_out is None or self.program.position(state)[0] < self._model_index:
            return {}
        return self._measure(self.program.learner, self.personal(state), self.view(state, self._held_out))

    def personal(self, state: Parameters) -> Parameters:
        """The model this site predicts with: the shared one, or its own variant of it."""
        stage = self.program.stages[-1]
        turn = Turn(
            round=0,
            sites=self.program.sites,
            start=self.program.model(state),
            state=state.under(f"{stage.name}/strategy"),
            site=self.site,
            memory=self._memory.under(stage.name),
            n_samples=len(self.training),
        )
        return stage.strategy.personal(turn)

    def turn(self, state: Parameters) -> Turn:
        """Where the running strategy stands, with this site's memory."""
        shared = self.program.turn(state)
        stage = self.program.stages[self.program.position(state)[0]].name
        return Turn(
            round=shared.round,
            sites=shared.sites,
            start=shared.start,
            state=shared.state,
            site=self.site,
            memory=self._memory.under(stage),
            draw=shared.draw,
            n_samples=len(self.training),
        )

    def examples(self, state: Parameters) -> Examples:
        """This site's training rows as the running stage sees them."""
        return self._view(state).training

    def view(self, state: Parameters, examples: Examples) -> Examples:
        """Any rows of this site as the model sees them."""
        return self._view(state, len(self.program.stages) - 1).apply(examples)

    def rng(self, round: int, number: int) -> np.random.Generator:
        """The stream of one training: depends on seed, site, round and training only.

        Where patients are promised privacy it is a secret one: dropout that everybody knows falls on whoever is drawn
        by place, so that one patient more gives all behind it another mask, which no clipping bounds.
        """
        terms = self.program.privacy
        if terms is not None and terms.unit == "patient":
            return np.random.default_rng(np.frombuffer(self._entropy(f"train {number}", round)(32), dtype=np.uint32))
        return self.program.chance.stream("train", self.site, round, number)

    @property
    def _model_index(self) -> int:
        return len(self.program.stages) - 1

    def _view(self, state: Parameters, index: int | None = None) -> _View:
        at = min(self.program.position(state)[0], self._model_index) if index is None else index
        names = [stage.name for stage in self.program.stages[:at]]
        done = Parameters({n: a for n, a in state.items() if n.split("/")[0] in names})
        if at not in self._views or self._views[at][0] != done.digest:
            self._views[at] = (done.digest, _View(self.program, done, at, self.training))
        return self._views[at][1]


class _View:
    """The preparations before one stage, fixed for one site: what turns its raw rows into the stage's rows."""

    def __init__(self, program: Program, done: Parameters, index: int, training: Examples) -> None:
        self._steps: list[tuple[Preparation, Parameters, Parameters]] = []
        for stage in program.stages[:index]:
            preparation: Preparation = stage.learner  # type: ignore[assignment]
            shared = done.under(f"{stage.name}/model")
            own = preparation.own(shared, training)
            self._steps.append((preparation, shared, own))
            training = preparation.apply(shared, training, own=own)
        self.training = training

    def apply(self, examples: Examples) -> Examples:
        for preparation, shared, own in self._steps:
            examples = preparation.apply(shared, examples, own=own)
        return examples


def _gathered(learner: Learner, start: Parameters, whole: Aggregate) -> Parameters:
    """Public answers, each site's own, in the place of their sum: into a sum anybody could write anything."""
    answers = {one.site: one.parameters for one in (whole.single or whole.shown)}
    if missing := set(whole.contributors) - answers.keys():
        raise PeerError(f"site '{min(missing)}' does not show its answer", site=min(missing))
    gathering: Gathering = learner  # type: ignore[assignment]
    return gathering.gather(start, answers)


def _salts(whole: Aggregate, sites: Sequence[str]) -> Parameters:
    """What the public answers were salted with, so that all can repeat the commitments; zeros of a site without one."""
    table = np.zeros((len(sites), SALT_BYTES), dtype=np.uint8)
    for one in whole.single or whole.shown:
        if one.salt:
            table[sites.index(one.site)] = np.frombuffer(one.salt, dtype=np.uint8)
    return Parameters({"salts": table}) if table.any() else Parameters()


def _replace(state: Parameters, prefix: str, arrays: Parameters) -> Parameters:
    """The state with everything under `prefix/` replaced by `arrays`."""
    kept = Parameters({n: a for n, a in state.items() if not n.startswith(f"{prefix}/")})
    return kept | arrays.prefixed(prefix)


def _refuse_infinite(arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Before anything is cut, rounded or masked: whole numbers no longer tell what they were made of."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise TrainingFailed(f"array '{name}' of the update is not finite after training", code="not_finite")


def _without_loss(update: Update) -> Update:
    return Update(site=update.site, parameters=update.parameters.without([_LOSS]), weight=update.weight)
