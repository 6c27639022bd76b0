"""How the updates of a round become one merge, one strategy per file."""

from cohortium.core.registry import Registry

__all__ = ["STRATEGIES"]

STRATEGIES = Registry(
    "strategy",
    {
        "bulyan": "cohortium.strategies.bulyan:Bulyan",
        "centred-clipping": "cohortium.strategies.centred_clipping:CentredClipping",
        "coordinate-median": "cohortium.strategies.coordinate_median:CoordinateMedian",
        "cyclic": "cohortium.strategies.cyclic:Cyclic",
        "ditto": "cohortium.strategies.ditto:Ditto",
        "exact-sums": "cohortium.strategies.exact_sums:ExactSums",
        "fedadam": "cohortium.strategies.fedadam:FedAdam",
        "fedavg": "cohortium.strategies.fedavg:FedAvg",
        "fedavgm": "cohortium.strategies.fedavgm:FedAvgM",
        "fedbn": "cohortium.strategies.fedbn:FedBN",
        "fednova": "cohortium.strategies.fednova:FedNova",
        "fedper": "cohortium.strategies.fedper:FedPer",
        "fedprox": "cohortium.strategies.fedprox:FedProx",
        "fedyogi": "cohortium.strategies.fedyogi:FedYogi",
        "geometric-median": "cohortium.strategies.geometric_median:GeometricMedian",
        "krum": "cohortium.strategies.krum:Krum",
        "maximum": "cohortium.strategies.maximum:Maximum",
        "mean": "cohortium.strategies.mean:Mean",
        "minimum": "cohortium.strategies.minimum:Minimum",
        "multi-krum": "cohortium.strategies.multi_krum:MultiKrum",
        "norm-bound": "cohortium.strategies.norm_bound:NormBound",
        "qfedavg": "cohortium.strategies.qfedavg:QFedAvg",
        "scaffold": "cohortium.strategies.scaffold:Scaffold",
        "trimmed-mean": "cohortium.strategies.trimmed_mean:TrimmedMean",
    },
    group="cohortium.strategy",
)
