import numpy as np
import pytest

from cohortium.models.partial_likelihood import (
    RISK_BITS,
    gradient_and_information,
    slope_sums,
    tied_terms,
    weight_sums,
)
from cohortium.models.risk_sets import Spans, cell_sums, spans, spans_in
from cohortium.models.row_sums import fixed_features


def prepared(kit, n=80, late=False):
    examples = kit.followed(n, late=late)
    full = spans(examples)
    events = cell_sums(full, np.ones(n, dtype=np.int64), full.event, what="events")
    cells = np.flatnonzero(events)
    return examples, spans_in(full, cells, end=np.full(n, full.k)), events[cells]


def by_hand(examples, rows, b, ties):
    """Objective, gradient and information of the textbook, cell by cell, in float64."""
    x, risk = examples.x, np.exp(examples.x @ b)
    f, g, h = 0.0, np.zeros(len(b)), np.zeros((len(b), len(b)))
    for c in range(rows.k):
        at_risk = (rows.start <= c) & (c < rows.stop)
        dead = rows.event & (rows.stop == c + 1)
        d = int(dead.sum())
        for step in range(d):
            share = step / d if ties == "efron" else 0.0
            weight = risk * (at_risk - share * dead)
            mean = weight @ x / weight.sum()
            f += np.log(weight.sum())
            g -= mean
            h += (x * weight[:, None]).T @ x / weight.sum() - np.outer(mean, mean)
        f -= (x @ b)[dead].sum()
        g += x[dead].sum(axis=0)
    return f, g, h


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("late", [False, True])
def test_terms_gradient_and_information_are_those_of_the_textbook(kit, ties, late):
    examples, rows, events = prepared(kit, late=late)
    b = np.array([0.5, -0.25, 0.125, 0.5])
    fixed = fixed_features(examples, intercept=False)
    eta = examples.x @ b
    sums = weight_sums(rows, eta)
    terms = tied_terms(sums["s0"] / 2.0**RISK_BITS, sums["d0"] / 2.0**RISK_BITS, events, ties=ties)
    f, g, h = by_hand(examples, rows, b, ties)
    assert sums["refused"].tolist() == [0]
    assert terms.log_q - sums["e0"][0] / 2.0**20 == pytest.approx(f, abs=1e-4)
    gradient, information = gradient_and_information(slope_sums(rows, fixed, eta, terms), terms)
    assert np.allclose(gradient, g, atol=1e-3)
    assert np.allclose(information, h, rtol=2e-3, atol=2e-3 * np.abs(h).max())


def test_tied_terms_by_hand():
    terms = tied_terms(np.array([6.0, 2.0]), np.array([4.0, 2.0]), np.array([2, 1]), ties="efron")
    assert terms.a.tolist() == [1 / 6 + 1 / 4, 0.5]
    assert terms.b.tolist() == [0.5 / 4, 0.0]
    assert terms.b2.tolist() == [1 / 64, 0.0]
    assert terms.log_q == pytest.approx(np.log(6) + np.log(4) + np.log(2))
    flat = tied_terms(np.array([6.0]), np.array([4.0]), np.array([2]), ties="breslow")
    assert (flat.a.tolist(), flat.b.tolist()) == ([1 / 3], [0.0])


def test_log_risks_above_the_limit_are_refused_before_summing_and_low_ones_are_not():
    rows = Spans(start=np.zeros(3, int), stop=np.ones(3, int), event=np.array([True, False, False]), k=1)
    sums = weight_sums(rows, np.array([14.5, -60.0, 0.0]))
    assert sums["refused"].tolist() == [1]
    assert sums["s0"].tolist() == [1 << RISK_BITS]
    unseen = Spans(start=np.ones(1, int), stop=np.ones(1, int), event=np.zeros(1, bool), k=1)
    assert weight_sums(unseen, np.array([99.0]))["refused"].tolist() == [0]
