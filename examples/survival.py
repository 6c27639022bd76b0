# %% [markdown]
# # Survival: Cox regression over hospitals that cannot share patients
#
# Sums over patients travel, never patients. The swarm's hazard ratios are those of the pooled table, bit for bit.

# %%
from functools import partial

import numpy as np

import cohortium as co

STUDY = {
    "study": {"name": "follow-up", "outcome": {"time": "days", "event": "died"}},
    "model": {"name": "cox", "l2": 0.0, "min_at_risk": 1},
}


# %% Three hospitals; age and treatment act alike, the baseline differs
def hospital(n, seed, *, scale):
    """Columns (age in decades, treated), follow-up in whole days, and whether the patient died."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(6.5, 1.0, n), rng.random(n) < 0.5])
    days = rng.exponential(scale * np.exp(-0.5 * (x[:, 0] - 6.5) + 0.7 * x[:, 1]))
    followed = rng.uniform(200, 1500, n)
    return x, (np.ceil(np.minimum(days, followed)), days <= followed)


data = {
    "porto": hospital(150, 1, scale=600),
    "bonn": hospital(300, 2, scale=700),
    "lund": hospital(80, 3, scale=500),
}


# %% Each hospital fits on its own rows, in one swarm
def fit(x, y):
    """The fitted estimator, equal at every hospital."""
    return co.fit(co.models.Cox(), (x, y), study=STUDY)


result = co.rehearse(STUDY, sites={site: partial(fit, *rows) for site, rows in data.items()})
swarm, pooled = result.values["lund"], co.fit(co.models.Cox(), sites=data)

# %% The same numbers as with all patients in one place
for name, coefficient, error in zip(("age, per decade", "treated"), swarm.coef_, swarm.standard_errors_, strict=True):
    low, high = np.exp(coefficient - 1.96 * error), np.exp(coefficient + 1.96 * error)
    print(f"{name}: hazard ratio {np.exp(coefficient):.2f} (95 % {low:.2f} to {high:.2f})")
print(f"C-index at lund {swarm.score(*data['lund']):.3f}; {swarm.rounds_} exchanges of sums")
print(f"{result.outcome}: equal to the pooled fit: {bool((swarm.coef_ == pooled.coef_).all())}")
