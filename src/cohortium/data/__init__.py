"""A site's table or images, checked against the agreed schema and made ready for learning without leaving the site."""

from cohortium.core.registry import Registry

__all__ = ["PREPARATIONS"]

PREPARATIONS = Registry(
    "preparation",
    {
        "combat": "cohortium.data.combat:ComBat",
        "gaussian": "cohortium.data.filling:GaussianFill",
        "mean": "cohortium.data.filling:MeanFill",
        "presence": "cohortium.data.presence:Presence",
        "public": "cohortium.data.public_scale:PublicScale",
        "shrunk": "cohortium.data.scaling:Shrunk",
        "site": "cohortium.data.scaling:PerSite",
        "standard": "cohortium.data.scaling:Standard",
    },
    group="cohortium.preparation",
)
