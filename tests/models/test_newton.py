from itertools import pairwise

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import TrainingFailed
from cohortium.models import newton
from cohortium.models.cox import Cox
from cohortium.models.glm import Logistic, Poisson
from cohortium.models.multinomial import Multinomial
from cohortium.models.newton import (
    LIMIT,
    SEPARATED,
    Search,
    aliased,
    covariance,
    newton_step,
    out_of_rounds,
    raise_if_failed,
)
from cohortium.models.penalised import ElasticNet

NONE = np.zeros(2, dtype=bool)


def minimise(f, slope, curvature, start, max_rounds=50):
    """One-dimensional Newton through the state machine, every state written and read back."""
    search = Search.begin(np.array([start]))
    trail = []
    while search.status == newton.RUNNING:
        x = float(search.point[0])
        trail.append(x)
        if search.falls(f(x), tolerance=1e-12, rows=9):
            step = newton_step(np.array([-slope(x)]), np.array([[curvature(x)]]), held=np.zeros(1, bool), n=1)
            search = search.moved(step, objective=f(x), rows=9, max_rounds=max_rounds)
        else:
            search = search.halved(max_rounds=max_rounds)
        search = Search.read(Parameters(search.write()), search.point)
    return search, trail


def test_a_quadratic_is_solved_in_one_step():
    search, trail = minimise(lambda x: (x - 3) ** 2, lambda x: 2 * (x - 3), lambda x: 2.0, 0.0)
    assert search.status == newton.CONVERGED
    assert trail == [0.0, 3.0]
    assert search.point.tolist() == [3.0]


def test_a_step_too_far_is_halved_until_the_objective_falls():
    # sqrt(1 + x^2): full Newton steps diverge from |x| > 1
    def f(x):
        return np.sqrt(1 + x * x)

    search, trail = minimise(f, lambda x: x / f(x), lambda x: f(x) ** -3, 1.5)
    assert search.status == newton.CONVERGED
    assert abs(search.point[0]) < 1e-6
    assert trail[1] == pytest.approx(1.5 - 1.5 * (1 + 2.25), abs=1e-6)
    accepted = [x for x, after in pairwise(trail) if f(after) <= f(x)]
    assert len(trail) > len(accepted)


def test_points_stay_on_the_grid_of_exact_predictors():
    search = Search.begin(np.array([1 / 3])).moved(np.array([0.1]), objective=0.0, rows=9, max_rounds=9)
    assert float(search.point[0] * 2**24).is_integer()


def test_no_improvement_anywhere_stalls_at_the_accepted_point():
    search = Search.begin(np.zeros(1)).moved(np.ones(1), objective=0.0, rows=9, max_rounds=99)
    while search.status == newton.RUNNING:
        search = search.halved(max_rounds=99)
    assert (search.status, search.point.tolist()) == (newton.STALLED, [0.0])


def test_out_of_rounds_returns_the_accepted_point():
    search = Search.begin(np.zeros(1)).moved(np.ones(1), objective=0.0, rows=9, max_rounds=2).halved(max_rounds=2)
    assert (search.status, search.point.tolist()) == (newton.LIMIT, [0.0])
    assert newton.over(Parameters(search.write()))


def test_refused_rows_and_a_rise_are_no_fall():
    search = Search.begin(np.zeros(1)).moved(np.ones(1), objective=5.0, rows=9, max_rounds=9)
    assert search.falls(5.0, tolerance=0.0, rows=9)
    assert search.falls(5.1, tolerance=0.2, rows=9)
    assert not search.falls(5.1, tolerance=0.0, rows=9)
    assert not search.falls(4.0, tolerance=0.0, rows=9, refused=1)
    assert not search.falls(float("nan"), tolerance=0.0, rows=9)


def test_held_coefficients_stay_and_flat_objectives_have_no_step():
    h = np.array([[4.0, 0.0], [0.0, 16.0]])
    assert newton_step(np.array([4.0, 16.0]), h, held=NONE, n=1).tolist() == [1, 1]
    assert newton_step(np.array([4.0, 16.0]), h, held=np.array([True, False]), n=1).tolist() == [0, 1]
    assert newton_step(np.ones(2), np.diag([1.0, 1e-9]), held=NONE, n=1) is None
    assert newton.flat(np.diag([1.0, 1e-9]), held=NONE, n=1)
    assert not newton.flat(np.diag([1.0, 1e-9]), held=np.array([False, True]), n=1)


def test_a_matrix_a_little_short_of_definite_still_gives_a_descent_step():
    h = np.array([[1.0, 1.0], [1.0, 1.0 - 1e-9]])
    g = np.array([1.0, -1.0])
    step = newton_step(g, h, held=NONE, n=1)
    assert float(g @ step) > 0


def test_aliased_columns_are_the_later_ones():
    x = np.random.default_rng(0).normal(size=(50, 3))
    wide = np.column_stack([x[:, 0], np.zeros(50), x[:, 1], x[:, 0] - 2 * x[:, 1], x[:, 2]])
    assert aliased(wide.T @ wide).tolist() == [False, True, False, True, False]
    assert aliased(x.T @ x).tolist() == [False] * 3


def test_covariance_is_the_inverse_of_what_is_free():
    h = np.array([[4.0, 1.0], [1.0, 4.0]])
    assert np.allclose(covariance(h, held=NONE), np.linalg.inv(h), atol=1e-15)
    assert covariance(h, held=np.array([True, False])).tolist() == [[0, 0], [0, 0.25]]
    assert not covariance(-h, held=NONE).any()


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (newton.ONE_CLASS, "all training rows have the same outcome"),
        (newton.STALLED, "no step of the search improves the fit"),
        (newton.SEPARATED, "separation: columns 'x1', 'x0' tell outcomes apart perfectly"),
    ],
)
def test_failures_are_sentences(kit, status, sentence):
    search = Search.begin(np.zeros(2))
    state = Parameters({"coefficients": np.array([-7.0, 16.0]), **search.write()})
    raise_if_failed(state, kit.layout(2, "binary"))
    record = np.array([0.0, 1.0, 3.0, status])
    with pytest.raises(TrainingFailed, match=sentence):
        raise_if_failed(state | Parameters({"newton/record": record}), kit.layout(2, "binary"))


def test_separation_without_a_large_coefficient_names_no_column(kit):
    record = np.array([0.0, 1.0, 3.0, newton.SEPARATED])
    state = Parameters({"coefficients": np.zeros(2), "newton/record": record})
    with pytest.raises(TrainingFailed, match="the columns tell outcomes apart"):
        raise_if_failed(state, kit.layout(2, "binary"))


def test_a_coefficient_beyond_15_sd_is_separation():
    search = Search.begin(np.array([15.5])).moved(np.ones(1), objective=1.0, rows=9, max_rounds=9)
    assert search.status == newton.SEPARATED


def test_a_step_far_beyond_separation_is_shortened_so_that_sites_can_sum_it():
    search = Search.begin(np.zeros(2)).moved(np.array([3e6, -1.5e6]), objective=1.0, rows=9, max_rounds=25)
    assert search.point.tolist() == [60.0, -30.0]
    again = search.moved(np.array([1.0, 0.0]), objective=0.5, rows=9, max_rounds=25)
    assert again.status == SEPARATED


def test_a_search_cut_off_by_its_rounds_is_known_as_such():
    cut = Search.begin(np.zeros(1)).moved(np.ones(1), objective=1.0, rows=9, max_rounds=1)
    assert cut.status == LIMIT
    assert out_of_rounds(Parameters(cut.write()))
    done = Search.begin(np.zeros(1)).moved(np.zeros(1), objective=1.0, rows=9, max_rounds=1)
    assert not out_of_rounds(Parameters(done.write()))
    assert not out_of_rounds(Parameters({"weights": np.zeros(3)}))


def test_objectives_over_other_patients_are_not_compared():
    search = Search.begin(np.zeros(1)).moved(np.ones(1), objective=5.0, rows=9, max_rounds=9)
    assert search.falls(7.0, tolerance=0.0, rows=12)
    assert search.falls(4.0, tolerance=0.0, rows=6)
    assert not search.falls(7.0, tolerance=0.0, rows=12, refused=1)
    assert not search.falls(float("nan"), tolerance=0.0, rows=12)


MODELS = {
    "logistic": (lambda: Logistic(l2=0.01), "binary"),
    "poisson": (lambda: Poisson(l2=0.01), "counts"),
    "multinomial": (lambda: Multinomial(l2=0.01), "classes"),
    "elastic-net": (lambda: ElasticNet(l1=0.02), "binary"),
    "cox": (lambda: Cox(l2=0.01), "followed"),
    "cox-by-site": (lambda: Cox(l2=0.01, strata="site"), "followed"),
}


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("comes_back", [False, True])
@pytest.mark.parametrize("leaves_after", [1, 2, 3, 4])
def test_a_site_that_leaves_in_mid_search_or_comes_back_changes_who_is_learned_from_and_nothing_else(
    kit, name, comes_back, leaves_after
):
    make, outcome = MODELS[name]
    learner, sites = make(), kit.split(getattr(kit, outcome)(n=500), 3)
    state = learner.initial(sites[0].layout, rng=np.random.default_rng(0))
    for done in range(60):
        if learner.finished(state):
            break
        away = done >= leaves_after and not (comes_back and done >= leaves_after + 2)
        state = kit.exchange(learner, state, sites[:2] if away else sites)
    whole, _ = kit.learn(make(), sites[:2] if away else sites)
    assert np.asarray(state["coefficients"]) == pytest.approx(np.asarray(whole["coefficients"]), abs=2e-5)
