"""Logistic slots: the pooled fit of each half, the same integers for any partition, no equal starts."""

import numpy as np
import pytest
from scipy.optimize import minimize

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters
from cohortium.quality.slots import EXACT, X_BITS, Slots, begin, logits, newton, slot_sums, weights_of


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    y = (rng.random(300) < 1 / (1 + np.exp(-(x[:, 0] - x[:, 1])))).astype(float)
    member = np.column_stack([np.arange(300) < 150, np.arange(300) >= 150, np.arange(300) % 2 == 0])
    return fp.to_fixed(x, X_BITS), y, rng.random(300), member


def trained(x, y, q, member):
    slots = begin(member.shape[1], x.shape[1], rng=np.random.default_rng(1))
    while not slots.done.all():
        slots = newton(slots, Parameters(slot_sums(x, y, q, member, slots)), settled=EXACT)
    return slots


def test_every_slot_is_the_weighted_pooled_fit_of_its_half(rows):
    x, y, q, member = rows
    slots = trained(x, y, q, member)
    design = np.column_stack([np.ones(len(y)), fp.from_fixed(x, X_BITS)])
    for slot in range(3):
        m = member[:, slot]

        def loss(w, m=m):
            eta = design[m] @ w
            return float((q[m] * (np.logaddexp(0, eta) - y[m] * eta)).sum() + 5 * (w[1:] ** 2).sum())

        assert slots.point[slot] == pytest.approx(minimize(loss, np.zeros(5), tol=1e-9).x, abs=2e-3)


def test_any_partition_gives_the_same_integers(rows):
    x, y, q, member = rows
    slots = begin(3, 4, rng=np.random.default_rng(1))
    whole = slot_sums(x, y, q, member, slots)
    parts = [slot_sums(x[p], y[p], q[p], member[p], slots) for p in (slice(0, 1), slice(1, 170), slice(170, None))]
    for name, total in whole.items():
        assert (total == sum(part[name] for part in parts)).all()


def test_a_site_leaves_zeros_in_halves_it_is_not_in(rows):
    x, y, q, _ = rows
    member = np.tile([True, False, True], (300, 1))
    sums = slot_sums(x, y, q, member, begin(3, 4, rng=np.random.default_rng(1)))
    assert not any(np.any(total[1]) for total in sums.values())
    assert all(np.any(total[0]) for total in sums.values())


def test_slots_start_at_different_points():
    point = begin(8, 4, rng=np.random.default_rng(1)).point
    assert len({row.tobytes() for row in point}) == 8


def test_records_with_hardly_any_trust_are_skipped(rows):
    x, y, _, member = rows
    q = weights_of(np.where(np.arange(300) < 100, 0.05, 0.8))
    assert slot_sums(x, y, q, member, begin(3, 4, rng=np.random.default_rng(1)))["used"].tolist() == [50, 150, 100]


def test_perfectly_separated_outcomes_still_end(rows):
    x, _, _, member = rows
    y = (x[:, 0] > 0).astype(float)
    slots = trained(x, y, np.ones(300), member)
    assert np.isfinite(slots.point).all()
    assert slots.steps <= 12


def test_a_step_that_raises_the_objective_is_halved_back(rows):
    x, y, q, member = rows
    slots = begin(3, 4, rng=np.random.default_rng(1))
    first = newton(slots, Parameters(slot_sums(x, y, q, member, slots)), settled=EXACT)
    far = Slots(**{**vars(first), "point": first.accepted + 100 * first.step, "step": 100 * first.step})
    back = newton(far, Parameters(slot_sums(x, y, q, member, far)), settled=EXACT)
    assert back.point == pytest.approx(first.accepted + 50 * first.step, abs=1e-5)
    assert back.share.tolist() == [0.5] * 3


def test_a_search_survives_the_way_through_a_state(rows):
    x, y, q, member = rows
    slots = begin(3, 4, rng=np.random.default_rng(1))
    slots = newton(slots, Parameters(slot_sums(x, y, q, member, slots)), settled=EXACT)
    again = Slots.read(slots.write("pass-0/slots"), "pass-0/slots")
    assert all(np.array_equal(getattr(slots, name), getattr(again, name)) for name in vars(slots))


def test_logits_are_exact(rows):
    x = rows[0]
    point = begin(2, 4, rng=np.random.default_rng(1)).point
    assert np.array_equal(logits(x, point)[17:18], logits(x[17:18], point))
    assert logits(x, point) == pytest.approx(fp.from_fixed(x, X_BITS) @ point[:, 1:].T + point[:, 0])
