"""Real patients for the demonstration: the data files scikit-learn ships, read without importing it.

    breast_cancer   569 women x 30 measures of cell nuclei; label 1 = malignant (Street, Wolberg, Mangasarian 1993)
    diabetes        442 patients x 10 baseline measures; label = progression after a year (Efron et al. 2004)
    wine            178 wines x 13 chemical measures; label = cultivar (Aeberhard, Forina; UCI)
    digits          1,797 handwritten digits, 8 x 8 pixels; label = digit (Alpaydin, Kaynak; UCI)

The patients are real, sites made of them (`partition`) are simulated, and the output says so.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cohortium.data.table import Table
from cohortium.errors import MissingExtra, UsageError

__all__ = ["DEMOS", "load_demo"]

DEMOS = ("breast_cancer", "diabetes", "digits", "wine")

_NUCLEUS = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave_points",
    "symmetry", "fractal_dimension",
)  # fmt: skip
_BREAST = tuple(f"{kind}_{measure}" for kind in ("mean", "error", "worst") for measure in _NUCLEUS)
_WINE = (
    "alcohol", "malic_acid", "ash", "alcalinity", "magnesium", "phenols", "flavanoids", "other_phenols",
    "proanthocyanins", "colour", "hue", "od280_od315", "proline",
)  # fmt: skip
_DIABETES = ("age", "sex", "bmi", "blood_pressure", "tc", "ldl", "hdl", "tch", "ltg", "glucose")


def load_demo(name: str = "breast_cancer") -> Table:
    """One of `DEMOS` as a table with a column `label`. Raises MissingExtra without scikit-learn."""
    if name not in DEMOS:
        raise UsageError(f"unknown demonstration data '{name}'; available: {', '.join(DEMOS)}")
    return {"breast_cancer": _breast_cancer, "diabetes": _diabetes, "digits": _digits, "wine": _wine}[name](_folder())


def _folder() -> Path:
    spec = find_spec("sklearn")
    for place in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(place) / "datasets" / "data"
        if folder.is_dir():
            return folder
    raise MissingExtra("the demonstration data", extra="demo")


def _breast_cancer(folder: Path) -> Table:
    held = np.loadtxt(folder / "breast_cancer.csv", delimiter=",", skiprows=1)
    columns = {name: held[:, at] for at, name in enumerate(_BREAST)}
    return Table.from_columns({**columns, "label": 1.0 - held[:, -1]})  # the file has malignant = 0


def _wine(folder: Path) -> Table:
    held = np.loadtxt(folder / "wine_data.csv", delimiter=",", skiprows=1)
    columns = {name: held[:, at] for at, name in enumerate(_WINE)}
    cultivars = np.array(["barolo", "grignolino", "barbera"])
    return Table.from_columns({**columns, "label": cultivars[held[:, -1].astype(np.int64)]})


def _diabetes(folder: Path) -> Table:
    held = np.loadtxt(_unzipped(folder / "diabetes_data_raw.csv.gz"))
    label = np.loadtxt(_unzipped(folder / "diabetes_target.csv.gz"))
    return Table.from_columns({**{name: held[:, at] for at, name in enumerate(_DIABETES)}, "label": label})


def _digits(folder: Path) -> Table:
    held = np.loadtxt(_unzipped(folder / "digits.csv.gz"), delimiter=",")
    images = (held[:, :-1] / 16).astype(np.float32).reshape(-1, 8, 8)
    return Table.from_columns({"images": images, "label": held[:, -1].astype(np.int64).astype(np.str_)})


def _unzipped(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()
