"""Tier 0 stops an update that holds a patient, lets a protected one go, and sees a model that memorises."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Leaving
from cohortium.errors import TrainingFailed
from cohortium.privacy.leakage.watch import Watch

LAYOUT = Layout(features=("a", "b", "c"), outcome="binary", classes=("0", "1"))


def examples(rng, n, patient=None):
    more = {} if patient is None else {"patient": patient}
    return Examples(layout=LAYOUT, x=rng.normal(size=(n, 3)), y=rng.integers(0, 2, n).astype(float), **more)


class Memoriser:
    """A learner whose model is sure of the rows it holds, and knows nothing of others."""

    def predict(self, parameters, rows):
        known = {row.tobytes(): y for row, y in zip(parameters["x"], parameters["y"], strict=True)}
        return np.array([0.01 + 0.98 * known.get(row.tobytes(), 0.5) for row in rows.x])


class Blank(Memoriser):
    """A learner whose model answers 0.5 to everything."""

    def predict(self, parameters, rows):
        return np.full(len(rows), 0.5)


def leaving(training, *, sent=None, learner=None, trained=True):
    start = Parameters({"layers.0.weight": np.zeros((4, 3)), "layers.0.bias": np.zeros(4)})
    return Leaving(
        learner=learner or Blank(),
        start=start,
        sent=sent if sent is not None else start,
        trained=Parameters({"x": training.x, "y": training.y}) if trained else None,
        training=training,
        see=lambda rows: rows,
    )


def one_patient_in(training):
    """An update whose first neuron was active for patient 5 only."""
    weight, bias = np.zeros((4, 3)), np.zeros(4)
    weight[0], bias[0] = 0.25 * training.x[5], 0.25
    return Parameters({"layers.0.weight": weight, "layers.0.bias": bias})


def test_an_unprotected_update_with_a_patient_in_it_is_not_sent() -> None:
    training = examples(np.random.default_rng(0), 40)
    with pytest.raises(TrainingFailed, match="rows of patients stand in it exactly") as caught:
        Watch(protected=False)(leaving(training, sent=one_patient_in(training)))
    assert caught.value.code == "leak"
    assert str(training.x[5, 0]) not in str(caught.value)


def test_the_same_update_under_masks_or_noise_may_go_and_is_counted() -> None:
    training = examples(np.random.default_rng(0), 40)
    watch = Watch(protected=True)
    watch(leaving(training, sent=one_patient_in(training)))
    watch(leaving(training))
    assert (watch.inversion.n_rows, watch.inversion.n_recovered) == (40, 1)


@pytest.mark.parametrize(("protected", "looked_at"), [(False, 11), (True, 3)])
def test_every_update_that_others_read_is_looked_through_and_every_fifth_under_masks(protected, looked_at) -> None:
    training = examples(np.random.default_rng(0), 40)
    watch = Watch(protected=protected)
    for _ in range(11):
        watch(leaving(training))
    assert len(watch.found) == 11
    assert watch.inversion.n_rows == 40 * looked_at


def test_the_start_is_taken_off_before_dividing() -> None:
    training = examples(np.random.default_rng(1), 20)
    moved = one_patient_in(training)
    start = Parameters({name: np.full(array.shape, 7.0) for name, array in moved.items()})
    sent = Parameters({name: array + 7.0 for name, array in moved.items()})
    order = Leaving(learner=Blank(), start=start, sent=sent, trained=None, training=training, see=lambda rows: rows)
    with pytest.raises(TrainingFailed):
        Watch(protected=False)(order)


def test_a_model_that_memorises_is_seen_over_the_rounds_and_an_honest_one_is_not() -> None:
    rng = np.random.default_rng(2)
    training, held_out = examples(rng, 300), examples(rng, 200)
    for learner, low, high in ((Memoriser(), 0.9, 1.0), (Blank(), 0.5, 0.5)):
        watch = Watch(protected=False, held_out=held_out)
        for _ in range(20):
            watch(leaving(training, learner=learner))
        assert low <= watch.membership.auc <= high
        assert watch.membership.n_members == 60, "fifteen in every fifth round, others every time"


def test_sums_masked_models_and_sites_without_held_out_patients_have_no_membership_figure() -> None:
    training = examples(np.random.default_rng(3), 30)
    open_, masked = Watch(protected=False, held_out=training), Watch(protected=True, held_out=training)
    for watch, trained in ((open_, False), (Watch(protected=False), True), (masked, True)):
        watch(leaving(training, trained=trained))
        assert watch.membership is None


def test_held_out_rows_are_prepared_once() -> None:
    rng, calls = np.random.default_rng(4), []
    training, watch = examples(rng, 30), Watch(protected=False, held_out=examples(rng, 30))

    def see(rows):
        calls.append(len(rows))
        return rows

    for _ in range(3):
        one = leaving(training)
        watch(Leaving(**{**{name: getattr(one, name) for name in one.__dataclass_fields__}, "see": see}))
    assert calls == [30]


def test_patients_with_several_rows_come_whole() -> None:
    rng = np.random.default_rng(5)
    training = examples(rng, 60, patient=np.repeat(np.arange(20), 3))
    watch = Watch(protected=False, held_out=examples(rng, 60, patient=np.repeat(np.arange(20), 3)))
    watch(leaving(training))
    assert len(watch.found[0].members) == 8
    assert watch.found[0].neuron >= 0
