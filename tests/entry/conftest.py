"""Three little hospitals, a logistic loop in plain numpy, and studies for both."""

import numpy as np
import pytest

import cohortium as co


@pytest.fixture
def data():
    def site(n, seed):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, 3))
        return x, (x[:, 0] - x[:, 1] + rng.normal(size=n) > 0).astype(float)

    return {"porto": site(40, 1), "bonn": site(60, 2), "lund": site(50, 3)}


@pytest.fixture
def make_study():
    def make(model="own-loop", outcome="label", **strategy):
        options = {} if model == "own-loop" else {"l2": 0.01}
        return co.Study.model_validate(
            {
                "study": {"name": "little", "outcome": outcome},
                "model": {"name": model, **options},
                "strategy": {"rounds": 4, **strategy},
                "privacy": {"secure_aggregation": False},
            }
        )

    return make


@pytest.fixture
def step():
    """One full-batch gradient step of logistic regression, in place; the loss before it."""

    def step(weights, x, y, rate=0.5):
        p = 1 / (1 + np.exp(-(x @ weights)))
        weights -= rate * (x.T @ (p - y)) / len(y)
        return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))

    return step


@pytest.fixture
def make_site(step):
    """A site's ordinary function; `before` is called with (round number, weights) in every pass."""

    def make(study, x, y, *, before=lambda number, weights: None):
        def function():
            model = {"w": np.zeros(x.shape[1])}
            with co.join(study) as swarm:
                for round in swarm.rounds(model):
                    before(round.number, model["w"])
                    loss = step(model["w"], x, y)
                    round.share(n=len(y), loss=loss)
            return model["w"].copy()

        return function

    return make
