"""`cohortium demo synth`: an invented consortium learns synthetic patients, judges them in the open, writes one page.

No patient file is needed: 4,427 invented patients of three hospitals, masks on, five synthetic tables, a report with
all figures. What the page compares (rounds, hospitals alone, budgets) is measured here with few draws; `synth bench` is
for figures to be quoted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cohortium.data.csv_writer import csv_bytes
from cohortium.data.mds_like import RANGES, SITES, simulate, truth
from cohortium.data.partition import by_column, take
from cohortium.errors import CohortiumError, UsageError
from cohortium.reports.record import plain
from cohortium.sim.folder import write_together
from cohortium.sim.synth_census import count_by_swarm, tell_apart_by_swarm
from cohortium.sim.synth_tables import demo_study
from cohortium.sim.synthesis import Fitted, train
from cohortium.synth.exchange import fit_by_sums, fit_privately
from cohortium.synth.generators import GENERATORS
from cohortium.synth.pooling import pool
from cohortium.synth.rows import Rows, table_of_rows
from cohortium.synth.validation.anchors import interval, score_all
from cohortium.synth.validation.by_site import judge_by_site
from cohortium.synth.validation.canary import judge_canaries, plant
from cohortium.synth.validation.document import digest_of
from cohortium.synth.validation.hazards import compare_hazards
from cohortium.synth.validation.indistinguishable import boosted
from cohortium.synth.validation.judge import Judgement, judge
from cohortium.synth.validation.page import ValidationPage
from cohortium.synth.validation.pictures import Estimate

__all__ = ["SynthDemo", "demonstrate"]

SETS = 5
_DRAWS, _BENCH_DRAWS = 4, 2
_EPSILONS = (1.0, 2.0, 4.0, 8.0, 16.0)
_DELTA = 1e-5
_ROUNDS = (1, 2, 3)
_RECORDED = {"pass": 1, "fail": 2}
_INCONCLUSIVE = 3
_Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class SynthDemo:
    """What came of it. files: what was written; equal: whether the swarm's generator is the pooled one, bit for bit."""

    judgement: Judgement
    document: Mapping[str, Any]
    files: Mapping[str, Path]
    digest: bytes
    equal: bool


def demonstrate(
    out: Path, *, seed: int = 0, patients: int | None = None, ledger: str = "memory", say: _Say = lambda text: None
) -> SynthDemo:
    """All of it into a folder. patients: of all hospitals together; as published (4,427) without. Raises UsageError,
    DataError.
    """
    files = {"report": out / "report.html", "json": out / "report.json", "ledger": out / "ledger.jsonl",
             **{f"set {k + 1}": out / f"synthetic-{k + 1}.csv" for k in range(SETS)}}  # fmt: skip
    _check_own(files)
    boosted(np.zeros((2, 1)), np.array([0.0, 1.0]))  # what is missing is said now, not after the training
    whole = sum(SITES.values())
    wanted = patients or whole
    if wanted < 40 * len(SITES):
        raise UsageError(f"at least {40 * len(SITES)} patients are needed, 40 at each hospital; got {wanted}")
    sizes = {site: max(round(n * wanted / whole), 40) for site, n in SITES.items()}
    sizes[max(SITES, key=lambda site: SITES[site])] += wanted - sum(sizes.values())
    table = simulate(seed=seed, sites=sizes).table
    tables = take(table, by_column(table, "site"), without=["site"])
    say(f"{len(table):,} invented patients with myelodysplastic syndromes at {len(tables)} hospitals, no real one")
    study = demo_study(seed=seed)
    fitted = train(study, tables, ledger=ledger)
    training, reserve = _stacked(fitted.training), _stacked(fitted.reserve)
    say(f"learned together in {fitted.rounds} rounds under masks; {len(reserve):,} patients were held out")
    central = fit_by_sums(fitted.saved.generator, [training])
    equal = central.digest == fitted.saved.state.digest
    say(f"the generator {'is' if equal else 'IS NOT'} the one of the pooled table, bit for bit")
    sets = [fitted.saved.sample(len(training), rng=np.random.default_rng([seed, k])).rows for k in range(SETS)]
    found = judge(training, reserve, sets[0], seed=seed, draws=_DRAWS)
    found = replace(
        found,
        canaries=_canaries(fitted, sets[0], seed=seed),
        by_site=judge_by_site(
            fitted.training,
            fitted.reserve,
            sets[0],
            seed=seed,
            counts=count_by_swarm(study, tables),
            told_apart=tell_apart_by_swarm(study, tables, sets[0]),
        ),
        notes=("Invented patients of a simulator whose true effects are known; five sets were drawn.",),
    )
    say("judged: " + ", ".join(f"{topic} {word}" for topic, word in found.verdict.items()))
    bench = _bench(fitted, training, reserve, central, seed=seed, say=say)
    document = {"report": found.document(), "bench": bench, "federated_equals_central": equal}
    digest = digest_of(document)
    privacy = found.verdict["privacy"]
    n_signed = fitted.ledger.record(seed, verdict=_RECORDED.get(privacy, _INCONCLUSIVE), digest=digest)
    say(f"digest of the report on the ledger, signed by {n_signed} hospitals: {digest.hex()[:16]}")
    page = ValidationPage(
        judgement=found, training=training, reserve=reserve, synthetic=sets[0], name="Invented MDS patients",
        digests={"SHA-256 of report.json, without white space, as on the ledger": digest.hex(),
                 "generator": fitted.saved.state.digest.hex()},
        bench=bench, more_hazards=_more_hazards(training, sets),
    )  # fmt: skip
    content: dict[Path, Any] = {
        files["report"]: [page.html().encode()],
        files["json"]: [json.dumps(plain(document), indent=2, sort_keys=True).encode()],
        files["ledger"]: [fitted.ledger.export()],
    }
    for k, rows in enumerate(sets):
        content[files[f"set {k + 1}"]] = [csv_bytes(table_of_rows(rows))]
    write_together(content)
    return SynthDemo(judgement=found, document=document, files=files, digest=digest, equal=equal)


def _check_own(files: Mapping[str, Path]) -> None:
    """Raises UsageError when a file that would be overwritten was not left by a demonstration."""
    try:
        before = json.loads(files["json"].read_bytes())
    except (OSError, ValueError):
        before = None
    there = [file for file in files.values() if file.exists()]
    if there and not (isinstance(before, dict) and "federated_equals_central" in before):
        raise UsageError(f"'{there[0]}' exists already and is not this demonstration's; choose another --out")


def _canaries(fitted: Fitted, reference: Rows, *, seed: int) -> Any:
    """Learned once more, by the same sums, with canaries at every hospital."""
    rng = np.random.default_rng([seed, 41])
    planted = [plant(rows, rng) for rows in fitted.training.values()]
    generator = fitted.saved.generator
    state = fit_by_sums(generator, [site.rows for site in planted])
    rows = generator.sample(state, len(reference), rng=np.random.default_rng([seed, 42]))
    return judge_canaries(planted, rows, reference, epsilon=None)


def _bench(fitted: Fitted, training: Rows, reserve: Rows, central: Any, *, seed: int, say: _Say) -> dict[str, Any]:
    """What figures 1, 2, 12 and 13 show: the generator by round, of every hospital alone, and with noise."""
    generator, name = fitted.saved.generator, fitted.saved.study.model.name
    candidates: dict[str, Rows] = {}

    def draw(made: Any, state: Any) -> Rows:
        rows: Rows = made.sample(state, len(training), rng=np.random.default_rng([seed, 11]))
        return rows

    worlds = {"federated": list(fitted.training.values())}
    worlds |= {f"isolated:{site}": [rows] for site, rows in fitted.training.items()}
    for setting, sites in worlds.items():
        for climbs in _ROUNDS:
            early = replace(generator, max_climbs=climbs)
            candidates[f"{setting} {climbs}"] = draw(early, fit_by_sums(early, sites))
        state = fitted.saved.state if setting == "federated" else fit_by_sums(generator, sites)
        candidates[f"{setting} last"] = draw(generator, state)
    candidates["central last"] = draw(generator, central)
    private = _private(fitted, draw)
    scores = score_all(training, reserve, {**candidates, **private}, draws=_BENCH_DRAWS, seed=seed)
    skills = {who: {key: interval(one.skill)[0] for key, one in held.items()} for who, held in scores.items()}
    say(f"compared with {len(fitted.training)} hospitals alone, over {len(_ROUNDS) + 1} exchanges")
    settings = {who.removesuffix(" last"): {key: {"skill": value} for key, value in held.items()}
                for who, held in skills.items() if who.endswith(" last")}  # fmt: skip
    alone = [settings[setting] for setting in worlds if setting.startswith("isolated:")]
    settings["isolated"] = {key: {"skill": float(np.mean([one[key]["skill"] for one in alone]))} for key in alone[0]}
    by_round = {setting: [skills[f"{setting} {turn}"] for turn in (*_ROUNDS, "last")] for setting in worlds}
    document: dict[str, Any] = {"data": "sim", "seeds": 1, name: settings, "by_round": {name: by_round}}
    if private:
        document["by_epsilon"] = {"marginal_dp": [{"epsilon": float(who.removeprefix("epsilon ")), **skills[who]}
                                                  for who in private]}  # fmt: skip
    return document


def _private(fitted: Fitted, draw: Callable[[Any, Any], Rows]) -> dict[str, Rows]:
    """The generator with differential privacy over its budgets, where it is there."""
    if "marginal_dp" not in GENERATORS:
        return {}
    made = GENERATORS.resolve("marginal_dp")
    generator = made(facts=fitted.saved.facts.ranged(RANGES))
    found: dict[str, Rows] = {}
    for place, epsilon in enumerate(_EPSILONS):
        try:
            state = fit_privately(
                generator, list(fitted.training.values()), epsilon=epsilon, delta=_DELTA,
                entropy=np.random.default_rng([99, place]).bytes,
            )  # fmt: skip
            found[f"epsilon {epsilon:g}"] = draw(generator, state)
        except CohortiumError:
            return {}
    return found


def _more_hazards(training: Rows, sets: Sequence[Rows]) -> dict[str, Sequence[Estimate | None]]:
    """Log hazard ratios pooled over the sets, and the true ones."""
    fits = [one for rows in sets if (one := compare_hazards(training, rows)) is not None]
    if len(fits) < 2:
        return {}
    pooled = pool(
        [one.synthetic for one in fits], [one.synthetic_error**2 for one in fits], n_real=len(training),
        n_synthetic=len(sets[0]),
    )  # fmt: skip
    ends = [(float(v), float(a), float(b)) if np.isfinite(a + b) else None
            for v, a, b in zip(pooled.estimate, pooled.low, pooled.high, strict=True)]  # fmt: skip
    true = dict(truth())
    true["age"] = true["age"] / 10  # the simulator counts it by ten years
    known = [(true[name], None, None) if name in true else None for name in fits[0].names]
    return {f"{len(fits)} sets pooled": ends, "truth": known}


def _stacked(parts: Mapping[str, Rows]) -> Rows:
    facts = next(iter(parts.values())).facts
    return Rows(facts, {name: np.concatenate([part[name] for part in parts.values()]) for name in facts.names})
