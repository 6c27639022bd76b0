"""Losses of every outcome by hand; patients with several rows count once."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.privacy.leakage.losses import patient_losses, row_losses


def examples(outcome, *, y=None, time=None, event=None, entry=None, patient=None, n=None):
    n = n if n is not None else len(y if y is not None else time)
    more = {} if patient is None else {"patient": np.asarray(patient)}
    return Examples(
        layout=Layout(features=("a",), outcome=outcome, classes=("0", "1", "2")),
        x=np.zeros((n, 1)),
        y=None if y is None else np.asarray(y, float),
        time=None if time is None else np.asarray(time, float),
        event=None if event is None else np.asarray(event, np.int8),
        entry=None if entry is None else np.asarray(entry, float),
        **more,
    )


def test_each_outcome_by_hand() -> None:
    assert row_losses(np.array([0.8, 0.3, 0.5]), examples("binary", y=[1, 0, np.nan])) == pytest.approx(
        [-np.log(0.8), -np.log(0.7), np.nan], nan_ok=True
    )
    p = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    assert row_losses(p, examples("classes", y=[1, 2])) == pytest.approx(-np.log([0.5, 0.8]))
    assert row_losses(np.array([1.0, 4.0]), examples("number", y=[3, 4])) == pytest.approx([4.0, 0.0])
    assert row_losses(np.array([2.0, 2.0]), examples("count", y=[0, 2])) == pytest.approx([4.0, 0.0])
    assert np.isnan(row_losses(np.zeros(2), examples("binary", n=2))).all()


def test_certainty_costs_a_lot_but_never_everything() -> None:
    wrong = row_losses(np.array([1.0]), examples("binary", y=[0]))
    assert 20 < wrong[0] < 50


def test_survival_residuals_by_hand() -> None:
    # two patients, equal risk, one event at 1, one censored at 2: Breslow hazard 1/2 at time 1
    losses = row_losses(np.zeros(2), examples("survival", time=[1, 2], event=[1, 0]))
    assert losses == pytest.approx([-2 * (0.5 + np.log(0.5)), 1.0])
    late = row_losses(np.zeros(2), examples("survival", time=[1, 2], event=[1, 0], entry=[0, 1.5]))
    assert late == pytest.approx([0.0, 0.0], abs=1e-9)
    other = row_losses(np.zeros(2), examples("survival", time=[1, 2], event=[2, 0]), cause=2)
    assert other == pytest.approx(losses)


def test_a_patient_counts_once_however_many_rows_it_has() -> None:
    rows = examples("number", y=[0, 2, 5, np.nan], patient=[7, 7, 3, 9])
    assert patient_losses(np.zeros(4), rows) == pytest.approx([25.0, 2.0])
    assert len(patient_losses(np.zeros(1), examples("number", y=[np.nan]))) == 0
