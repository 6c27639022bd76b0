"""Canaries give away a generator that copies, and nothing about one that sums."""

import pytest

from cohortium.core.study_text import study_of
from cohortium.data.mds_like import simulate
from cohortium.data.partition import by_column, take
from cohortium.data.table import Table
from cohortium.errors import StudyError
from cohortium.sim import synth_canary
from cohortium.sim.synth_canary import canary_runs
from cohortium.synth.federate import private_network

COLUMNS = ("site", "age", "TP53", "SF3B1", "hb", "os_years", "died")


def small(**sections):
    whole = simulate(seed=0, sites={"a": 300, "b": 200}, missing=False).table
    table = Table({name: whole.column(name) for name in COLUMNS})
    study = study_of({
        "study": {"name": "mds", "outcome": {"time": "os_years", "event": "died", "unit": "years"}},
        "synth": {"genes": ["TP53", "SF3B1"]}, "privacy": {"secure_aggregation": False}, **sections,
    })  # fmt: skip
    return study, take(table, by_column(table, "site"), without=["site"])


def test_every_run_has_other_canaries_and_the_same_seed_the_same_figures():
    study, tables = small()
    found = canary_runs(study, tables, runs=2, seed=1)
    assert found.guesses.n_coins == 80
    assert found.epsilon is None
    assert not found.refuted
    assert found.bound < 1.5 < found.most
    assert found.document() == canary_runs(study, tables, runs=2, seed=1).document()
    assert found.runs[0].document() != found.runs[1].document()


def test_a_generator_that_hands_on_its_rows_is_refuted(monkeypatch):
    study, tables = small()

    def copied(generator, sites, n, **how):
        from cohortium.synth.rows import joined

        return joined(list(sites))

    monkeypatch.setattr(synth_canary, "_drawn", copied)
    found = canary_runs(study, tables, runs=2, seed=1)
    assert found.guesses.n_right >= 0.9 * found.guesses.n_guessed  # the rest are coins: more than half were out
    assert found.bound > 1.2


@pytest.mark.slow
@pytest.mark.parametrize("generator", ["vae_bgm", "ctgan"])
def test_canaries_do_not_refute_a_private_network(generator, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")
    monkeypatch.setattr(private_network, "LEAST_DRAWN", 1500)
    few = {
        "vae_bgm": {"warm_epochs": 1, "latent": 4},
        "ctgan": {"private_warm_steps": 20, "noise": 8, "critic_hidden": 16},
    }[generator]
    study, tables = small(
        synth={"genes": ["TP53", "SF3B1"], "generator": generator, "federation": "fedavg", "rounds": 2,
               "options": {"private_steps": 4, "hidden": 16} | few},
        cohort={"ranges": {"age": [18, 100], "hb": [2, 20], "os_years": [0, 12]}},
        privacy={"dp": {"epsilon": 1.0}, "secure_aggregation": False},
    )  # fmt: skip
    found = canary_runs(study, tables, runs=2, seed=1)
    assert (found.epsilon, found.guesses.n_coins) == (1.0, 80)
    assert not found.refuted


def test_a_generator_that_cannot_keep_its_promise_is_refused():
    study, tables = small(privacy={"dp": {"epsilon": 4.0}, "secure_aggregation": False})
    with pytest.raises(StudyError, match="choose 'marginal_dp', 'vae_bgm' or 'ctgan'"):
        canary_runs(study, tables, runs=1, seed=0)
