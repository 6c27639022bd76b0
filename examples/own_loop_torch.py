# %% [markdown]
# # A torch loop in a swarm
#
# Nothing of the network or its training changes: mini-batches, batch normalisation and the optimiser stay yours.
# After every pass the hospitals' weights are merged; frozen layers and integer buffers stay where they are.

# %%
from functools import partial

import numpy as np
import torch

import cohortium as co

STUDY = {
    "study": {"name": "own-network", "outcome": "label"},
    "model": {"name": "own-loop"},
    "strategy": {"name": "fedavg", "rounds": 20},
}
torch.set_num_threads(1)


# %% An ordinary network and an ordinary epoch
def network():
    """Two inputs, one logit."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(2, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 1)
    )


def train_one_epoch(net, x, y, moments):
    """Mini-batches of 32 by SGD with momentum; the mean loss."""
    losses = []
    for batch in torch.randperm(len(y)).split(32):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x[batch])[:, 0], y[batch])
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for held, gradient, moment in zip(net.parameters(), gradients, moments, strict=True):
                moment.mul_(0.9).add_(gradient)
                held.sub_(0.05 * moment)
        losses.append(loss.item())
    return float(np.mean(losses))


# %% One hospital's function
def train(x, y):
    """The network after the last merge."""
    net = network()
    moments = [torch.zeros_like(held) for held in net.parameters()]
    with co.join(STUDY) as swarm:
        for round in swarm.rounds(net):
            net.train()
            loss = train_one_epoch(net, x, y, moments)
            round.share(n=len(y), loss=loss)
    return net.eval()


# %% Three hospitals see different corners of two half moons
def moons(n, seed, *, ill):
    """Points and their moon; `ill` is the share of the second one."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < ill).astype(np.float32)
    angle = rng.uniform(0, np.pi, n)
    x = np.where(y, 1 - np.cos(angle), np.cos(angle)), np.where(y, 0.5 - np.sin(angle), np.sin(angle))
    points = np.stack(x, axis=1) + rng.normal(0, 0.15, (n, 2))
    return torch.tensor(points, dtype=torch.float32), torch.tensor(y)


data = {"porto": moons(320, 1, ill=0.2), "bonn": moons(256, 2, ill=0.5), "lund": moons(160, 3, ill=0.8)}

# %% Rehearse, and test on rows nobody trained on
result = co.rehearse(STUDY, sites={site: partial(train, *rows) for site, rows in data.items()})
x, y = moons(1000, 9, ill=0.5)
with torch.no_grad():
    found = (result.values["porto"](x)[:, 0] > 0).float()
print(f"{result.outcome}: {len(result.included)} rounds")
print(f"accuracy on new points {float((found == y).float().mean()):.3f}")
