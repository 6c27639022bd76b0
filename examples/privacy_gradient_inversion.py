# %% [markdown]
# # Reading patients out of an update, and not out of a masked one
#
# Three hospitals send one step of a network. The first layer's gradient is a sum over patients; where a neuron was
# active for one patient only, dividing the weights' part by the bias' part gives that patient back, gene for gene.
# Under masks the very same update is random words. Nothing here is a real patient.

# %%
import hashlib

import numpy as np

from cohortium.core.exchange import Context
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.privacy.leakage.inversion import closest, match, recovered_rows
from cohortium.privacy.secagg.guard import MaskedGuard

GENES, NEURONS, PATIENTS = 300, 4096, 8
rng = np.random.default_rng(2026)
patients = rng.normal(size=(PATIENTS, GENES))
died = rng.integers(0, 2, PATIENTS)


# %% One training step of one hidden layer, as every framework computes it
def gradient(x, y):
    """Of the mean logistic loss, for the first layer."""
    bound = 1 / np.sqrt(GENES)
    weight, bias = rng.uniform(-bound, bound, (NEURONS, GENES)), rng.uniform(-bound, bound, NEURONS)
    out = rng.normal(0, 0.3, NEURONS)
    before = x @ weight.T + bias
    risk = 1 / (1 + np.exp(-(np.maximum(before, 0) @ out)))
    back = ((risk - y) / len(x))[:, None] * out * (before > 0)
    return {"weight": (back.T @ x).astype(np.float32), "bias": back.sum(axis=0).astype(np.float32)}


# %% What a curious member finds in the open update
update = gradient(patients, died)
found = match(recovered_rows(update, GENES), patients)
print(f"open update: {found.n_recovered} of {found.n_rows} patients recovered, all {GENES} genes each")

# %% The same update of porto in a masked round with two other hospitals
sites = ("bonn", "lund", "porto")
updates = {s: Update(site=s, parameters=Parameters(update), weight=PATIENTS) for s in sites}
guards = {
    s: MaskedGuard(s, entropy=lambda n, s=s: hashlib.shake_256(rng.bytes(32) + s.encode()).digest(n)) for s in sites
}
context = Context(
    consortium=b"c", study=b"s", run=1, round=1, attempt=1, base=b"b", frozen=sites,
    weights=dict.fromkeys(sites, PATIENTS), n_joiners=3,
)  # fmt: skip
received = {}
for step in ("keys", "shares", "masked"):
    received[step] = {s: guards[s].step(step, context, own=updates[s], received=received) for s in sites}
words = np.concatenate([np.asarray(a).ravel() for a in received["masked"]["porto"].values()])
numbers = words.view(np.int32)[: (GENES + 1) * NEURONS].astype(np.float64)
masked = {"weight": numbers[: GENES * NEURONS].reshape(NEURONS, GENES), "bias": numbers[GENES * NEURONS :]}

# %% What the same division finds in it
rows = recovered_rows(masked, GENES)
print(f"masked update: {match(rows, patients).n_recovered} of {PATIENTS} patients recovered; the best of {len(rows)}")
print(f"quotients is as like a patient as chance makes it (cosine {closest(rows, patients).max():.2f})")
