# %% [markdown]
# # Your own training loop, four lines more
#
# A logistic regression written in numpy. Each hospital runs the same ordinary function on its own rows; the swarm
# merges the weights after every pass. `co.rehearse` runs all three in this process, on the nodes of a deployment.

# %%
from functools import partial

import numpy as np

import cohortium as co

STUDY = {
    "study": {"name": "own-loop", "outcome": "label"},
    "model": {"name": "own-loop"},
    "strategy": {"name": "fedavg", "rounds": 30},
    "privacy": {"secure_aggregation": False},  # masks round floats to 32 bits; here the last bit is compared
}


# %% One hospital's function: what is added to an ordinary loop is marked
def train(x, y):
    """Full-batch gradient descent; the weights it ends with."""
    model = {"w": np.zeros(x.shape[1]), "b": 0.0}
    with co.join(STUDY) as swarm:  # added
        for round in swarm.rounds(model):  # added
            p = 1 / (1 + np.exp(-(x @ model["w"] + model["b"])))
            model["w"] -= 0.5 * x.T @ (p - y) / len(y)
            model["b"] -= 0.5 * float(np.mean(p - y))
            loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
            round.share(n=len(y), loss=loss)  # added
    return model


# %% Three hospitals of different size
def hospital(n, seed):
    """Rows whose outcome depends on the first two columns."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    return x, (x[:, 0] - 0.5 * x[:, 1] + rng.normal(0, 0.5, n) > 0).astype(float)


data = {"porto": hospital(80, 1), "bonn": hospital(200, 2), "lund": hospital(40, 3)}

# %% Rehearse, and compare with one loop over all rows
result = co.rehearse(STUDY, sites={site: partial(train, *rows) for site, rows in data.items()})

w, b = np.zeros(4), 0.0
x, y = (np.concatenate([rows[k] for rows in data.values()]) for k in (0, 1))
for _ in range(30):
    p = 1 / (1 + np.exp(-(x @ w + b)))
    w, b = w - 0.5 * x.T @ (p - y) / len(y), b - 0.5 * float(np.mean(p - y))

apart = np.abs(result.parameters["w"] - w).max()
print(f"{result.outcome}: {len(result.included)} rounds, loss at porto {result.losses['porto'][-1]:.3f}")
print(f"swarm and pooled weights differ by at most {apart:.0e}")
