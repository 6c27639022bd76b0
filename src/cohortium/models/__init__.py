"""What is learned from a cohort, one learner per file."""

from cohortium.core.registry import Registry

__all__ = ["MODELS"]

MODELS = Registry(
    "model",
    {
        "cox": "cohortium.models.cox:Cox",
        "elastic-net": "cohortium.models.penalised:ElasticNet",
        "kaplan-meier": "cohortium.models.kaplan_meier:KaplanMeier",
        "lasso": "cohortium.models.penalised:Lasso",
        "linear": "cohortium.models.glm:Linear",
        "logistic": "cohortium.models.glm:Logistic",
        "mlp": "cohortium.models.mlp:MLP",
        "multinomial": "cohortium.models.glm:Multinomial",
        "poisson": "cohortium.models.glm:Poisson",
    },
    group="cohortium.model",
)
