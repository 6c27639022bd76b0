"""What is learned from a cohort, one learner per file.

`co.models.Cox` and the other estimators of `estimators.py` are loaded when they are asked for.
"""

from importlib import import_module
from typing import Any

from cohortium.core.registry import Registry

__all__ = ["MODELS"]

MODELS = Registry(
    "model",
    {
        "cnn-small": "cohortium.models.cnn_small:CNNSmall",
        "cox": "cohortium.models.cox:Cox",
        "elastic-net": "cohortium.models.penalised:ElasticNet",
        "hazard": "cohortium.models.hazard:Hazard",
        "kaplan-meier": "cohortium.models.kaplan_meier:KaplanMeier",
        "lasso": "cohortium.models.penalised:Lasso",
        "lasso-nature": "cohortium.models.lasso_nature:LassoNature",
        "linear": "cohortium.models.least_squares:Linear",
        "logistic": "cohortium.models.glm:Logistic",
        "mlp": "cohortium.models.mlp:MLP",
        "mlp-nature": "cohortium.models.mlp_nature:MLPNature",
        "module": "cohortium.models.module:Module",
        "multinomial": "cohortium.models.multinomial:Multinomial",
        "own-loop": "cohortium.models.own_loop:OwnLoop",
        "poisson": "cohortium.models.glm:Poisson",
    },
    group="cohortium.model",
)


def __getattr__(name: str) -> Any:
    if name[:1].isupper():
        estimators = import_module("cohortium.models.estimators")
        if name in estimators.__all__:
            return getattr(estimators, name)
    raise AttributeError(f"module 'cohortium.models' has no attribute {name!r}")
