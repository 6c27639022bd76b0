"""How fast `bn` is fitted: plain, through masked rounds of real nodes, and beside pgmpy's hill climbing in one run.

    python -m benchmarks synth_speed [--repeats 3] [--pgmpy /path/to/python]

4,427 simulated patients of three sites, gaps and all; 50 columns where the simulator has 42: eight more are drawn from
others. CPU seconds of this process (of all nodes together under masks), the best of the repeats. pgmpy (MIT) is no
dependency: its `HillClimbSearch` with AIC and the same limit of parents climbs the same coded table in the interpreter
named by --pgmpy, or in this one; without it that line is skipped. Only its structure search is timed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cohortium.core.study_text import study_of
from cohortium.data.mds_like import GENES, KARYOTYPE, simulate
from cohortium.data.partition import by_column, take
from cohortium.data.table import Table
from cohortium.sim.synthesis import train
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.climb import Family, block_counts, climb, one_hot

N_COLUMNS = 50
_DERIVED = ("karyotype_risk", "who_class", "risk_score")
_PEER = """
import sys, time, warnings; warnings.filterwarnings("ignore")
import numpy as np, pandas as pd
from pgmpy.estimators import HillClimbSearch
codes = np.load(sys.argv[1])
table = pd.DataFrame(codes, columns=[f"v{j}" for j in range(codes.shape[1])]).astype("category")
began = time.process_time()
found = HillClimbSearch(table).estimate(scoring_method="aic-d", max_indegree=4, show_progress=False)
print(time.process_time() - began, len(found.edges()))
"""


def tables() -> dict[str, Table]:
    """Sites' tables of 50 columns."""
    whole = simulate(seed=0).table
    columns = {name: held for name, held in whole.columns.items() if name not in _DERIVED}
    rng = np.random.default_rng(0)
    for k, name in enumerate((*GENES, *KARYOTYPE)):
        if len(columns) >= N_COLUMNS + 1:  # the site's name is no column of a patient
            break
        flipped = rng.random(len(whole)) < 0.1
        columns[f"G{k:02d}"] = np.where(flipped, rng.random(len(whole)) < 0.05, np.nan_to_num(columns[name])).astype(
            float
        )
    table = Table.from_columns(columns)
    return dict(take(table, by_column(table, "site"), without=["site"]))


def climbed(codes: np.ndarray, sizes: tuple[int, ...]) -> tuple[float, int]:
    """(CPU seconds, edges) of our structure search alone, on this coded table."""
    began = time.process_time()
    wide = one_hot(codes, sizes)
    families: tuple[Family, ...] = tuple(Family(child) for child in range(len(sizes)))
    blocks = {}
    changed: tuple[int, ...] = tuple(range(len(sizes)))
    while changed:
        blocks |= {child: block_counts(codes, wide, families[child], sizes) for child in changed}
        moved = climb(families, blocks, sizes, n=len(codes), kappa=1.0, max_parents=4)
        families, changed = moved.families, moved.changed
    return time.process_time() - began, sum(len(family.parents) for family in families)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pgmpy", default=sys.executable)
    options = parser.parse_args()
    sites = tables()
    study = study_of(
        {
            "study": {"name": "speed", "outcome": {"time": "os_years", "event": "died", "unit": "years"}},
            "synth": {"genes": [*GENES, *KARYOTYPE], "validation": {"reserve_share": 0.01}},
            "privacy": {"secure_aggregation": True},
        }
    )
    seconds = []
    for _ in range(options.repeats):
        began = time.process_time()
        made = train(study, sites)
        made.ledger.close()
        seconds.append(time.process_time() - began)
    rows = list(made.training.values())
    generator: BayesianNetwork = made.saved.generator
    n = sum(len(one) for one in rows)
    print(f"{n} patients, {len(generator.facts.columns)} columns, 3 sites, {made.rounds} rounds")
    print(f"masked, all nodes and their ledger: {min(seconds):.2f} CPU s")
    plain = []
    for _ in range(options.repeats):
        began = time.process_time()
        state = fit_by_sums(generator, rows)
        plain.append(time.process_time() - began)
    print(f"plain sums: {min(plain):.2f} CPU s; same state: {state.digest == made.saved.state.digest}")
    coding = generator.coding(state)
    codes = np.vstack([coding.codes(one) for one in rows])
    own, edges = min(climbed(codes, coding.sizes) for _ in range(options.repeats))
    print(f"structure alone, {codes.shape[1]} variables: {own:.3f} CPU s, {edges} edges")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "codes.npy"
        np.save(file, codes)
        peer = subprocess.run([options.pgmpy, "-c", _PEER, str(file)], capture_output=True, text=True, check=False)
    if peer.returncode:
        print(f"pgmpy: skipped ({peer.stderr.strip().splitlines()[-1][:100] if peer.stderr.strip() else 'no answer'})")
        return
    theirs, their_edges = peer.stdout.split()[-2:]
    print(f"pgmpy HillClimbSearch, AIC, 4 parents: {float(theirs):.1f} CPU s, {their_edges} edges")
    print(
        f"structure {float(theirs) / own:.0f} times as fast, the whole plain fit {float(theirs) / min(plain):.0f} times"
    )


if __name__ == "__main__":
    main()
