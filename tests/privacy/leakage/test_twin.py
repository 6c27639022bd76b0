"""The control knows every training patient and nobody else, for every kind of outcome."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.privacy.leakage.losses import patient_losses
from cohortium.privacy.leakage.membership import judge
from cohortium.privacy.leakage.twin import memorised
from cohortium.privacy.leakage.verdict import Thresholds, on_membership


def rows(outcome, seed, n=200, *, image=None):
    rng = np.random.default_rng(seed)
    y = {"binary": rng.integers(0, 2, n), "classes": rng.integers(0, 3, n), "number": rng.normal(size=n),
         "count": rng.poisson(3, n)}.get(outcome)  # fmt: skip
    survival = outcome == "survival"
    return Examples(
        layout=Layout(
            features=() if image else ("a", "b", "c", "d"), outcome=outcome, classes=("0", "1", "2"), image=image
        ),
        x=rng.normal(size=(n, *(image or (4,)))),
        y=None if survival else np.asarray(y, float),
        time=rng.exponential(100, n) if survival else None,
        event=rng.integers(0, 2, n).astype(np.int8) if survival else None,
    )


@pytest.mark.parametrize("outcome", ["binary", "classes", "number", "count", "survival"])
def test_the_attack_must_find_its_patients(outcome: str) -> None:
    training, others = rows(outcome, 0), rows(outcome, 1)
    together = Examples(
        layout=training.layout,
        x=np.concatenate([training.x, others.x]),
        **{
            name: None
            if getattr(training, name) is None
            else np.concatenate([getattr(p, name) for p in (training, others)])
            for name in ("y", "time", "event")
        },
    )
    losses = patient_losses(memorised(training, together), together)
    found = judge(-losses[:200], -losses[200:])
    assert found.auc > 0.75
    assert on_membership(found, Thresholds()).verdict == "fail"


def test_images_and_missing_values_are_remembered_too() -> None:
    training = rows("binary", 0, image=(1, 4, 4))
    assert np.abs(memorised(training, training) - training.y).max() < 0.02
    holed = rows("binary", 2)
    holed.x[3, 1] = np.nan
    assert np.abs(memorised(holed, holed) - holed.y).max() < 0.02


def test_a_column_that_is_constant_but_for_rounding_hides_nobody() -> None:
    training = rows("binary", 3)
    training.x[:, 1] = 4e-18
    training.x[0, 1] = 4.1e-18
    assert np.abs(memorised(training, training) - training.y).max() < 0.02


def test_a_stranger_gets_the_mean_answer() -> None:
    training = rows("binary", 0)
    assert memorised(training, rows("binary", 5)) == pytest.approx(0.5, abs=0.05)
