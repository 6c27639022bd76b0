"""How the updates of a round become one merge, one strategy per file."""

from cohortium.core.registry import Registry

__all__ = ["STRATEGIES"]

STRATEGIES = Registry(
    "strategy",
    {
        "exact-sums": "cohortium.strategies.exact_sums:ExactSums",
        "fedavg": "cohortium.strategies.fedavg:FedAvg",
        "fedprox": "cohortium.strategies.fedprox:FedProx",
        "mean": "cohortium.strategies.mean:Mean",
    },
    group="cohortium.strategies",
)
