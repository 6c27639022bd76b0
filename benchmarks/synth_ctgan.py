"""Our `ctgan` beside the public CTGAN: same training rows, same number of steps, figures on the same held-out rows.

    python -m benchmarks synth_ctgan --data sim,aml --seeds 5 --peer /tmp/ctgan-venv/bin/python
    python -m benchmarks synth_ctgan --data aml --modes histogram,em      # both ways to the modes of numbers

The public one is under a business licence, so it is no dependency: it is run as a user would, by the interpreter named
(`pip install ctgan` there), with its own pac of 10 and with ours of 1, and skipped with a sentence where it is absent.
It knows no gaps: numbers are filled with the median, names with a level of their own, before it trains. Ours has no
warm start here, but reads the published tables. Times are seconds of CPU of the whole fit, preparation included.
After the lines of the seeds come means with 95 % intervals over them (Student's t), and what ours has more on the same
split.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.datasets import data_folder
from cohortium.core.randomness import Chance
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.mds_like import simulate
from cohortium.data.partition import by_column, take
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.sim.synth_bench import mean_interval
from cohortium.sim.synth_tables import bench_study, demo_study
from cohortium.sim.synthesis import gathered_rows
from cohortium.synth.exchange import fit_network
from cohortium.synth.facts import Facts
from cohortium.synth.generators.ctgan import PATIENTS, Ctgan
from cohortium.synth.rows import Rows, rows_of_examples
from cohortium.synth.validation.anchors import interval, score_all
from cohortium.synth.validation.fidelity import classic_pair

PEER = """
import json, sys, time, warnings
import numpy as np, pandas as pd, torch
warnings.simplefilter("ignore")
torch.set_num_threads(1)
from ctgan import CTGAN
folder, named, epochs, batch, seed = sys.argv[1], json.loads(sys.argv[2]), *map(int, sys.argv[3:6])
np.random.seed(seed); torch.manual_seed(seed)
rows = pd.read_csv(f"{folder}/training.csv")
model = CTGAN(epochs=epochs, batch_size=batch, pac=int(sys.argv[6]), enable_gpu=False)
began = time.process_time()
model.fit(rows, named)
spent = time.process_time() - began
model.sample(len(rows)).to_csv(f"{folder}/drawn.csv", index=False)
print(json.dumps({"seconds": spent}))
"""


def world(data: str, seed: int) -> tuple[Rows, Rows] | None:
    """Training and held-out rows of all sites together; None where the data are absent."""
    if data == "sim":
        table, column, study = simulate(seed=seed).table, "site", demo_study(seed=seed)
    else:
        folder = data_folder()
        if folder is None:
            return None
        table, column = read(folder / "aml_amlsg.parquet"), "trial"
        study = bench_study(table, site_column=column, name="aml", seed=seed)
    tables = take(table, by_column(table, column), without=[column])
    gathered, facts = gathered_rows(study, tables, chance=Chance(seed, secrets_from_system=False))
    parts = gathered.rows()
    return tuple(stacked([rows_of_examples(getattr(one, part), facts) for one in parts], facts)
                 for part in ("training", "test"))  # fmt: skip


def stacked(parts: list[Rows], facts: Facts) -> Rows:
    """All sites' rows."""
    return Rows(facts, {name: np.concatenate([part[name] for part in parts]) for name in facts.names})


def filled(rows: Rows) -> Table:
    """Without gaps: medians, and -1 for a name nobody knows."""
    found = {}
    for fact in rows.facts.columns:
        values = rows[fact.name]
        found[fact.name] = np.where(np.isnan(values), np.nanmedian(values) if fact.is_number else -1.0, values)
    return Table.from_columns(found)


def own(training: Rows, *, steps: int, batch: int, modes: str, seed: int) -> tuple[Rows, float]:
    """What ours draws, and how long its fit took, foundation included."""
    steps = round(steps / max(1.0, len(training) / PATIENTS))  # it takes more with many patients, here it may not
    generator = Ctgan(facts=training.facts, steps=steps, warm_steps=0, batch=batch, modes=modes)
    began = time.process_time()
    state = fit_network(generator, [training], rng=np.random.default_rng(seed))
    spent = time.process_time() - began
    return generator.sample(state, len(training), rng=np.random.default_rng([seed, 1])), spent


def public(training: Rows, *, peer: str, epochs: int, batch: int, pac: int, seed: int) -> tuple[Rows, float]:
    """What the public CTGAN draws, and how long its fit took."""
    facts = training.facts
    named = [fact.name for fact in facts.columns if not fact.is_number]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "training.csv").write_bytes(csv_bytes(filled(training)))
        options = [str(folder), json.dumps(named), str(epochs), str(batch), str(seed), str(pac)]
        done = subprocess.run([peer, "-c", PEER, *options], capture_output=True, text=True, check=True)
        drawn = read(folder / "drawn.csv")
        columns = {name: np.asarray(drawn.column(name), dtype=np.float64) for name in facts.names}
    for fact in facts.columns:
        if not fact.is_number:
            columns[fact.name] = np.where(columns[fact.name] < 0, np.nan, columns[fact.name])
    return Rows(facts, columns), float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def drawings(
    training: Rows, asked: argparse.Namespace, *, epochs: int, version: str, seed: int
) -> Iterator[tuple[str, Rows, float]]:
    """Name, rows and seconds of every code that is compared."""
    steps = epochs * max(1, len(training) // asked.batch)
    for modes in asked.modes.split(","):
        name = "ours" if modes == "histogram" else f"ours, modes by {modes}"
        yield name, *own(training, steps=steps, batch=asked.batch, modes=modes, seed=seed)
    for pac in (10, 1) if version else ():
        drawn = public(training, peer=asked.peer, epochs=epochs, batch=asked.batch, pac=pac, seed=seed)
        yield f"public {version}, pac {pac}", *drawn


def figures(training: Rows, reserve: Rows, drawn: Rows, seed: int) -> dict[str, float]:
    """Classic pair, skills on held-out rows, and how well trees tell real from drawn."""
    csf, gsf = classic_pair(training, drawn)
    scored = score_all(training, reserve, {"it": drawn}, draws=3, seed=seed)["it"]
    apart = 1.0 - 0.5 * interval(scored["csf"].parts["indistinguishability"])[0]
    skills = {f"{name} skill": interval(scored[name].skill)[0] for name in ("csf", "gsf")}
    return {"classic csf": csf, "classic gsf": gsf, **skills, "c2st": apart}


def summary(data: str, found: Mapping[str, list[dict[str, float]]]) -> Iterator[str]:
    """A line a code: mean and 95 % interval over seeds; then ours less each of the others, seed by seed."""
    shown = dict(found)
    ours = next(iter(found))
    for name, figures in found.items():
        if name != ours:
            shown[f"{ours} less {name}"] = [
                {key: mine[key] - theirs[key] for key in mine}
                for mine, theirs in zip(found[ours], figures, strict=True)
            ]
    for name, seeds in shown.items():
        means = {key: mean_interval([one[key] for one in seeds]) for key in seeds[0]}
        text = ", ".join(f"{key} {m:.3f} ({low:.3f} to {high:.3f})" for key, (m, low, high) in means.items())
        yield f"{data}, {len(seeds)} seeds, {name}: {text}"


def main() -> None:
    """Print one line a data set, seed and code, then means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sim,aml")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--modes", default="histogram", help="histogram, em or both")
    parser.add_argument("--peer", default="python", help="an interpreter that has ctgan")
    asked = parser.parse_args()
    probe = subprocess.run([asked.peer, "-c", "import ctgan; print(ctgan.__version__)"], capture_output=True, text=True,
                           check=False)  # fmt: skip
    version = probe.stdout.strip() if probe.returncode == 0 else ""
    if not version:
        print(f"the public CTGAN is skipped: '{asked.peer}' has no module ctgan; name an interpreter by --peer")
    for data in asked.data.split(","):
        found: dict[str, list[dict[str, float]]] = {}
        for seed in range(asked.seeds):
            rows = world(data, seed)
            if rows is None:
                print(f"{data} is skipped: no data folder, set COHORTIUM_DATA")
                break
            training, reserve = rows
            per_epoch = max(1, len(training) // asked.batch)
            epochs = max(1, asked.steps // per_epoch)
            for name, drawn, spent in drawings(training, asked, epochs=epochs, version=version, seed=seed):
                these = figures(training, reserve, drawn, seed) | {
                    "CPU-s an epoch": spent / epochs, "ms a step": 1000 * spent / (epochs * per_epoch)
                }  # fmt: skip
                found.setdefault(name, []).append(these)
                text = ", ".join(f"{key} {value:.3f}" for key, value in these.items())
                print(f"{data} seed {seed}, {epochs} x {per_epoch} steps, {name}: {text}", flush=True)
        if found:
            print("\n".join(summary(data, found)), flush=True)


if __name__ == "__main__":
    main()
