import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from cohortium.core.parameters import Parameters  # noqa: E402
from cohortium.models.optimisers import OptimiserPlan  # noqa: E402
from cohortium.synth.generators.network_training import (  # noqa: E402
    MOST_INVENTED,
    Budget,
    Descent,
    Trained,
    in_batches,
    n_invented,
    uniform_layer,
    warmed,
)

PLAN = OptimiserPlan(name="adam", learning_rate=0.1)
START = Parameters({"w": np.array([3.0, -2.0], dtype=np.float32)})


def walked(n, **given):
    descent = Descent(PLAN, given.pop("start", START), ["w"], **given)
    for _ in range(n):
        descent.step((descent.tensors["w"] ** 2).sum())
    return descent


def test_steps_are_those_of_torch():
    oracle = torch.tensor([3.0, -2.0], requires_grad=True)
    adam = torch.optim.Adam([oracle], lr=0.1)
    for _ in range(30):
        adam.zero_grad()
        (oracle**2).sum().backward()
        adam.step()
    np.testing.assert_allclose(walked(30).weights()["w"], oracle.detach().numpy(), rtol=1e-5)


def test_kept_moments_go_on_where_they_were_and_new_ones_do_not():
    half = walked(10)
    on = walked(10, start=half.weights(), moments=half.moments())
    np.testing.assert_array_equal(on.weights()["w"], walked(20).weights()["w"])
    anew = walked(10, start=half.weights())
    assert not np.array_equal(anew.weights()["w"], on.weights()["w"])


def test_the_proximal_term_holds_weights_near_where_they_came_from():
    free, held = walked(200).weights()["w"], walked(200, proximal=2.0).weights()["w"]
    np.testing.assert_allclose(free, 0.0, atol=0.02)
    np.testing.assert_allclose(held, START["w"] / 2, atol=0.02)  # minimum of w^2 + 2/2 (w - start)^2


def test_batches_visit_everybody_once_a_pass():
    batches = in_batches(103, 25, 10, np.random.default_rng(0))
    assert len(batches) == 10
    assert sorted(np.concatenate(batches[:5])) == list(range(103))
    assert {len(one) for one in batches} <= {20, 21}


def test_shares_of_the_budget():
    assert Budget(whole=200, warm=0, private_warm=0).share(0.2) == 40
    assert Budget(whole=3, warm=0, private_warm=0).share(0.01) == 1
    with pytest.raises(ValueError, match="effort"):
        Budget(whole=200, warm=0, private_warm=0).share(1.5)


def test_a_network_is_warmed_on_as_many_invented_rows_as_there_are_patients():
    seen = []

    class Foundation:
        def sample(self, foundation, n, *, rng):
            return [0] * n

    class Generator:
        def foundation(self):
            return Foundation()

        def train(self, weights, foundation, rows, *, budget, rng):
            seen.append((len(rows), budget))
            return Trained(weights=weights, loss=0.0, steps=1, moments=Parameters())

    for n, budget in ((12, 5), (0, 5), (12, 0)):
        foundation = Parameters({"n": np.array([n], dtype=np.int64)})
        assert warmed(Generator(), START, foundation, budget=budget, rng=np.random.default_rng(0)) is START
    assert seen == [(12, 5)]


def test_first_weights_lie_within_the_bound_of_torch():
    made = uniform_layer("a", 16, 100, np.random.default_rng(0))
    assert made["a.weight"].shape == (100, 16)
    assert 0.24 < np.abs(made["a.weight"]).max() <= 0.25


def test_a_training_says_what_it_did():
    done = Trained(weights=START, loss=1.0, steps=3, moments=walked(3).moments())
    assert int(done.moments["steps"][0]) == done.steps


@pytest.mark.parametrize(("n", "drawn"), [(-5, 0), (0, 0), (123, 123), (10**15, MOST_INVENTED)])
def test_no_sum_makes_a_site_invent_more_rows_than_a_limit(n, drawn):
    assert n_invented(Parameters({"n": np.array([n], dtype=np.int64)})) == drawn
