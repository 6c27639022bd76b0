"""Examples for the tests of learners by sums: random, split over sites, real; and a plain summing loop."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.examples import Examples, Layout
from cohortium.core.update import Instructions, Update

RNG = np.random.default_rng(0)


def layout(p, outcome, **more):
    return Layout(features=tuple(f"x{j}" for j in range(p)), outcome=outcome, **more)


def table(x, y, outcome, **more):
    return Examples(layout=layout(x.shape[1], outcome, **more), x=np.asarray(x, float), y=np.asarray(y, float))


def survival(x, time, event, *, resolution=1.0, horizon=0.0, entry=None, **more):
    return Examples(
        layout=layout(x.shape[1], "survival", resolution=resolution, horizon=horizon),
        x=np.asarray(x, float),
        time=np.asarray(time, float),
        event=np.asarray(event, np.int8),
        entry=None if entry is None else np.asarray(entry, float),
        **more,
    )


def split(examples, n_sites, seed=0):
    """Random parts; some are empty when there are many sites."""
    site = np.random.default_rng(seed).integers(0, n_sites, len(examples))
    return [examples.take(site == s) for s in range(n_sites)]


def by(examples, labels):
    """One site per label."""
    return [examples.take(labels == one) for one in np.unique(labels)]


def answer(learner, state, examples):
    """One site's sums."""
    return learner.fit(state, examples, instructions=Instructions(), rng=RNG).parameters


def exchange(learner, state, sites):
    """The state after one exchange of all sites."""
    sums = [Update(site=f"s{k:03d}", weight=1, parameters=answer(learner, state, one)) for k, one in enumerate(sites)]
    return learner.advance(state, weighted_sum(sums).total)


def learn(learner, sites, *, rounds=100):
    """The final state, and the exchanges it took."""
    state = learner.initial(sites[0].layout, rng=RNG)
    for done in range(rounds):
        if learner.finished(state):
            return state, done
        state = exchange(learner, state, sites)
    raise AssertionError(f"not finished after {rounds} exchanges")


def patients(n, p=4, seed=0):
    """Random columns in units of a sd, one of them 0/1 with few carriers."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    rare = (rng.random(n) < 0.1).astype(float)
    x[:, -1] = (rare - rare.mean()) / (rare.std() or 1.0)
    return x, rng


def binary(n=300, p=4, seed=0):
    x, rng = patients(n, p, seed)
    eta = x @ np.linspace(1.0, -0.5, p) - 0.4
    return table(x, rng.random(n) < 1 / (1 + np.exp(-eta)), "binary", classes=("no", "yes"))


def counts(n=300, p=4, seed=0):
    x, rng = patients(n, p, seed)
    return table(x, rng.poisson(np.exp(x @ np.linspace(0.3, -0.2, p) + 1.5)), "count")


def numbers(n=300, p=4, seed=0, unit=1.0):
    x, rng = patients(n, p, seed)
    return table(x, (x @ np.linspace(1.0, -0.5, p) + 7 + rng.normal(size=n)) * unit, "number")


def classes(n=300, p=4, seed=0):
    x, rng = patients(n, p, seed)
    return table(x, np.argmax(x[:, :3] + rng.gumbel(size=(n, 3)), axis=1), "classes", classes=("a", "b", "c"))


def followed(n=400, p=4, seed=0, late=False, groups=0):
    """Whole-day survival with ties, censoring, competing events of code 2."""
    x, rng = patients(n, p, seed)
    dies = np.floor(rng.exponential(20 * np.exp(-x @ np.linspace(0.5, -0.3, p)))) + 1
    ends = np.floor(rng.uniform(5, 60, n)) + 1
    other = np.floor(rng.exponential(80, n)) + 1
    time = np.minimum(np.minimum(dies, ends), other)
    event = np.where(dies <= time, 1, np.where(other <= time, 2, 0))
    entry = np.where(rng.random(n) < 0.5, np.floor(rng.uniform(0, 1, n) * time), 0.0) if late else None
    codes = {"g": rng.integers(0, groups, n).astype(np.int8)} if groups else {}
    return survival(x, time, event, entry=entry, subgroups=codes)


def shared(name):
    """A file of real patients as a data frame; skips where the folder is absent."""
    pandas = pytest.importorskip("pandas")
    folder = Path(os.environ.get("COHORTIUM_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"no real data at {path}; set COHORTIUM_DATA")
    return pandas.read_parquet(path)


def standardised(frame, columns, *, carriers=0):
    """Columns as 0/1 or numbers, filled with the mean, in units of a sd; rare and constant ones dropped."""
    pandas = pytest.importorskip("pandas")
    wide = pandas.get_dummies(frame[columns], drop_first=True).astype(float)
    x = wide.fillna(wide.mean())
    few = [c for c in x if set(np.unique(x[c])) <= {0, 1} and x[c].sum() < carriers]
    x = x.drop(columns=few).loc[:, lambda t: t.std(ddof=0) > 0]
    return ((x - x.mean()) / x.std(ddof=0)).to_numpy()


@pytest.fixture(scope="session")
def kit():
    """Everything above, for tests that cannot import it."""
    return SimpleNamespace(**{name: thing for name, thing in globals().items() if callable(thing)})
