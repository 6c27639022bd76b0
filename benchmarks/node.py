"""CPU of the framework per site and round: nodes, machine, memory ledger and transport around toy work (target 3 ms).

    python -m benchmarks node [sites] [rounds]

Everything but training: signatures, envelopes, hashing, contract rules, merges of 4 numbers, recomputed by every site.
The cost of opening the run (keys, approvals) is left out by taking the difference of two lengths.
"""

import argparse
import time

from cohortium.sim.faults import Scenario
from cohortium.sim.playing import play


def cpu_s(n_sites: int, n_rounds: int) -> float:
    """CPU of one whole run."""
    sites = tuple(f"site-{i:03d}" for i in range(n_sites))
    start = time.process_time()
    report = play(Scenario(name="benchmark", sites=sites, rounds=n_rounds, train_s=0.0))
    spent = time.process_time() - start
    if {str(outcome) for outcome in report.outcomes.values()} != {"complete"}:
        raise SystemExit(str(report))
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n_sites", nargs="?", type=int, default=10, metavar="sites")
    parser.add_argument("n_rounds", nargs="?", type=int, default=20, metavar="rounds")
    asked = parser.parse_args()
    n_sites, n_rounds = asked.n_sites, asked.n_rounds
    cpu_s(n_sites, 1)
    each = (cpu_s(n_sites, n_rounds + 1) - cpu_s(n_sites, 1)) / (n_sites * n_rounds)
    print(f"{n_sites} sites, {n_rounds} rounds: {each * 1e3:.2f} ms of CPU per site and round")


if __name__ == "__main__":
    main()
