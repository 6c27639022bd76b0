"""A realistic run record from the four hospitals of heart_uci, with a plain numpy logistic regression.

Stands in for a real run in the tests of the page: same shapes, real patients, no swarm behind it.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from cohortium.core.examples import Examples, Layout
from cohortium.reports.comparison import compare
from cohortium.reports.fairness import gaps, subgroups
from cohortium.reports.observed import Observed
from cohortium.reports.panel import measure_all, measure_values
from cohortium.reports.recalibration import CalibrationPart
from cohortium.reports.record import (
    Flow,
    LedgerRecord,
    Member,
    ModelRecord,
    Presence,
    Results,
    RoundRecord,
    RunRecord,
    Span,
    Timings,
    mean_of,
)
from cohortium.reports.site_calibration import calibrate_site
from cohortium.reports.site_matrix import site_matrix

DATA = Path(os.environ.get("COHORTIUM_DATA") or Path(__file__).parents[3] / "shared" / "data")


def expit(x):
    return 0.5 * (1 + np.tanh(x / 2))


def fit(x, y, l2=0.05, rounds=12):
    """Ridge logistic regression by Newton; returns the weights after every step."""
    x = np.column_stack([np.ones(len(x)), x])
    w, steps = np.zeros(x.shape[1]), []
    ridge = l2 * len(x) * np.diag([0.0] + [1.0] * (x.shape[1] - 1))
    for _ in range(rounds):
        p = expit(x @ w)
        w = w - np.linalg.solve(
            (x * (p * (1 - p))[:, None]).T @ x + ridge + 1e-9 * np.eye(len(w)), x.T @ (p - y) + ridge @ w
        )
        steps.append(w)
    return steps


def predict(w, x):
    return expit(w[0] + x @ w[1:])


def heart():
    """site -> (x with NaN, y, sex, age), and the feature names."""
    import pandas as pd

    frame = pd.read_parquet(DATA / "heart_uci.parquet")
    names = [c for c in frame.columns if c not in ("label", "num", "site")]
    found = {}
    for site, rows in frame.groupby("site"):
        x = rows[names].astype(float).to_numpy()
        found[str(site)] = (x, rows["label"].to_numpy(float))
    return found, names


def build(seed=0, draws=400):
    rng = np.random.default_rng(seed)
    data, names = heart()
    sites = sorted(data)
    part = {s: np.array([0.7, 0.1, 0.2]).cumsum().searchsorted(rng.random(len(data[s][1]))) for s in sites}
    raw = np.concatenate([data[s][0][part[s] == 0] for s in sites])
    mean, sd = np.nanmean(raw, axis=0), np.nanstd(raw, axis=0)
    ready = {s: np.nan_to_num((data[s][0] - mean) / sd) for s in sites}
    layout = Layout(features=tuple(names), outcome="binary", classes=("0", "1"))

    def rows(s, k):
        return ready[s][part[s] == k], data[s][1][part[s] == k]

    def train(members):
        return fit(np.concatenate([rows(s, 0)[0] for s in members]), np.concatenate([rows(s, 0)[1] for s in members]))

    steps = train(sites)
    models = {"swarm": steps[-1], "pooled": steps[-1]}
    models |= {f"own/{s}": train([s])[-1] for s in sites}
    models |= {f"without/{s}": train([o for o in sites if o != s])[-1] for s in sites}
    observed = Observed.of({s: Examples(layout=layout, x=rows(s, 2)[0], y=rows(s, 2)[1]) for s in sites})
    scores = {m: {s: predict(w, rows(s, 2)[0]) for s in sites} for m, w in models.items()}
    measured = {
        m: measure_all(observed.stack(by), observed, rng=rng, draws=draws)
        for m, by in scores.items()
        if not m.startswith("without")
    }
    single = {s: measured[f"own/{s}"] for s in sites}
    per_site = {
        s: {
            r: measure_all(scores[m][s], observed.at(s), rng=rng, draws=draws)
            for r, m in (("swarm", "swarm"), ("own", f"own/{s}"))
        }
        for s in sites
    }
    calibration = {
        s: calibrate_site(
            CalibrationPart(y=rows(s, 1)[1], p=predict(models["swarm"], rows(s, 1)[0])),
            scores["swarm"][s],
            observed.at(s),
            prevalence=float(np.concatenate([rows(s, 0)[1], rows(s, 1)[1]]).mean()),
            expected=float(predict(models["swarm"], np.concatenate([rows(s, 0)[0], rows(s, 1)[0]])).mean()),
            rng=rng,
            draws=draws,
        )
        for s in sites
    }
    age = np.concatenate([data[s][0][part[s] == 2][:, names.index("age")] for s in sites])
    sex = np.concatenate([data[s][0][part[s] == 2][:, names.index("sex")] for s in sites])
    groups = {
        "sex": (("women", "men"), np.nan_to_num(sex, nan=-1).astype(int)),
        "age": (("below 50", "50 to 60", "above 60"), np.searchsorted([50, 61], age, side="right")),
    }
    own = np.concatenate([scores[f"own/{s}"][s] for s in sites])
    found = subgroups(observed.stack(scores["swarm"]), observed, groups, own=own)

    def digest(*words):
        return hashlib.sha256("/".join(map(str, words)).encode()).hexdigest()

    rounds = []
    for i, w in enumerate(steps, start=1):
        by = {s: measure_values(predict(w, rows(s, 2)[0]), observed.at(s)) for s in sites}
        all_rows = measure_values(np.concatenate([predict(w, rows(s, 2)[0]) for s in sites]), observed)
        joined = tuple(s for s in sites if (i, s) != (4, "switzerland"))
        rounds.append(
            RoundRecord(
                round=i,
                leader=sites[i % 4],
                contributors=joined,
                merge=digest("merge", i),
                inputs=digest("in", i),
                missing={} if len(joined) == 4 else {"switzerland": "no update within 600 s"},
                metrics={k: all_rows[k] for k in ("auroc_within", "log_loss")},
                per_site={s: {"log_loss": by[s]["log_loss"]} for s in sites},
                n_attested=3,
                bytes=4 * 105 * 8,
            )
        )
    return RunRecord(
        status="complete",
        outcome="binary",
        name="heart-four-hospitals",
        sites=tuple(sites),
        included=tuple(r.contributors for r in rounds),
        seed=seed,
        versions={"cohortium": "0.1.0", "numpy": np.__version__},
        seconds=6.3,
        model=ModelRecord(name="logistic", digest=digest("m"), strategy="exact-sums", n_parameters=14),
        ledger=LedgerRecord(
            engine="memory",
            height=97,
            head=digest("head"),
            verified=True,
            verify="cohortium audit ledger demo-run/ledger.jsonl",
            members=tuple(Member(site=s, account="0x" + digest(s)[:40], approved=digest("study")) for s in sites),
        ),
        study={"study": {"name": "heart-four-hospitals", "outcome": "label"}},
        study_digest=digest("study"),
        engine="sequential",
        command="cohortium simulate study.toml --data heart.parquet --site-column site --out run",
        rounds=tuple(rounds),
        notes=("Real patients of four hospitals; the hospitals are simulated on one machine.",),
        test=Results(
            swarm=measured["swarm"],
            pooled=measured["pooled"],
            single_mean=mean_of(single),
            single=single,
            per_site=per_site,
        ),
        comparison=compare(scores, observed, n_train={s: len(rows(s, 0)[1]) for s in sites}, rng=rng, draws=draws),
        matrix=site_matrix(scores, observed),
        calibration=calibration,
        subgroups=found,
        gaps=gaps(found),
        flow={
            s: Flow(
                read=len(part[s]) + (3 if s == "switzerland" else 0),
                skipped={"outcome_missing": 3} if s == "switzerland" else {},
                train=int((part[s] == 0).sum()),
                calibration=int((part[s] == 1).sum()),
                test=int((part[s] == 2).sum()),
                positive=int(data[s][1].sum()),
            )
            for s in sites
        },
        presence=Presence(
            features=tuple(names),
            missing={s: tuple(float(v) for v in np.isnan(data[s][0]).mean(axis=0)) for s in sites},
            word={
                s: tuple(
                    "absent" if v > 0.8 else "sparse" if v > 0.05 else "present"
                    for v in np.isnan(data[s][0]).mean(axis=0)
                )
                for s in sites
            },
        ),
        timings=Timings(
            rounds=tuple(0.3 + 0.01 * i for i in range(12)),
            stages={"train": 3.0},
            spans=tuple(
                Span(site=s, round=i, stage=st, start_s=i * 0.5 + a, end_s=i * 0.5 + b)
                for i in range(12)
                for k, s in enumerate(sites)
                for st, a, b in (("train", 0.0, 0.2 + 0.03 * k), ("wait", 0.2 + 0.03 * k, 0.4), ("merge", 0.4, 0.48))
            ),
        ),
    )
