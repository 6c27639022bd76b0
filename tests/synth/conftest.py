"""A small simulated consortium, its facts, and a generator fitted to it; made once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from cohortium.data.inference import infer_schema
from cohortium.data.mds_like import simulate
from cohortium.data.table import Table
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.facts import Facts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.rows import Rows, rows_of_table
from cohortium.synth.validation.judge import judge

COLUMNS = ("age", "male", "TP53", "SF3B1", "SRSF2", "U2AF1", "ASXL1", "complex", "karyotype_risk", "blasts", "hb",
           "ferritin", "ecog", "os_years", "died")  # fmt: skip
GENES = ("TP53", "SF3B1", "SRSF2", "U2AF1", "ASXL1", "complex")


@dataclass(frozen=True)
class World:
    facts: Facts
    training: Rows
    reserve: Rows
    generator: Any
    state: Any
    synthetic: Rows


def rows_of(*, seed=0, missing=True, sites=None, columns=COLUMNS):
    table = simulate(seed=seed, missing=missing, sites=sites).table
    picked = Table({name: table.column(name) for name in columns})
    schema = infer_schema({"all": picked}, outcome={"time": "os_years", "event": "died", "unit": "years"})
    facts = Facts.of(schema, genes=[gene for gene in GENES if gene in columns])
    return rows_of_table(picked, facts)


@pytest.fixture(scope="session")
def world():
    """1,200 invented patients, a fifth held out, and as many synthetic ones as trained."""
    rows = rows_of(sites={"a": 700, "b": 400, "c": 100})
    order = np.random.default_rng(0).permutation(len(rows))
    training, reserve = rows.take(order[240:]), rows.take(order[:240])
    generator = BayesianNetwork(facts=rows.facts)
    state = fit_by_sums(generator, [training])
    synthetic = generator.sample(state, len(training), rng=np.random.default_rng(1))
    return World(rows.facts, training, reserve, generator, state, synthetic)


@pytest.fixture(scope="session")
def judged(world):
    """The whole judgement of the small consortium's table."""
    return judge(world.training, world.reserve, world.synthetic, seed=0, draws=2)


def scores(csf, gsf):
    return {"csf": {"skill": csf}, "gsf": {"skill": gsf}}


@pytest.fixture(scope="session")
def bench():
    """What `synth bench --json` writes, with invented figures."""
    return {
        "data": "sim",
        "seeds": 1,
        "bn": {"central": scores(0.9, 0.8), "federated": scores(0.9, 0.8), "isolated": scores(0.5, 0.4),
               "isolated:a": scores(0.7, 0.6), "isolated:b": scores(0.3, 0.2), "federated_equals_central": True},
        "by_round": {"bn": {"federated": [{"csf": 0.5, "gsf": 0.4}, {"csf": 0.9, "gsf": 0.8}],
                            "isolated:a": [{"csf": 0.4, "gsf": 0.3}, {"csf": 0.7, "gsf": None}]}},
        "by_epsilon": {"marginal_dp": [{"epsilon": 4.0, "csf": 0.5, "gsf": 0.6},
                                       {"epsilon": 1.0, "csf": 0.2, "gsf": 0.3}]},
    }  # fmt: skip
