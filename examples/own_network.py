# %% [markdown]
# # A network of your own in a simulation
#
# Name a function that returns a `torch.nn.Module`; the study records it as `module:function`, trains it at every
# hospital and compares swarm, pooled and single-site models.

# %%
import numpy as np
import torch

import cohortium as co


# %%
def network(layout):
    """A small perceptron with as many inputs as the study has columns."""
    return torch.nn.Sequential(torch.nn.Linear(layout.n_features, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


# %% Two hospitals; the outcome needs both columns together, which no linear model can use
def hospital(n, seed):
    """Columns a and b; ill where they have the same sign."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    return {"a": a, "b": b, "ill": ((a * b > 0) ^ (rng.random(n) < 0.05)).astype(int)}


data = {"porto": hospital(240, 1), "bonn": hospital(160, 2)}

# %%
options = {"outcome": "ill", "rounds": 25}
own = co.simulate(sites=data, model="module", factory=network, learning_rate=0.2, batch_size=16, **options)
line = co.simulate(sites=data, model="logistic", **options)
found = [result.record.test.swarm["auroc"].value for result in (own, line)]
print(f"{own.record.status}: AUROC {found[0]:.3f} with the network, {found[1]:.3f} with a straight line")
