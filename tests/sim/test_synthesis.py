"""A generator learned by the real swarm, masks on, is the pooled one; its folder gives patients and nothing else."""

import tomllib

import numpy as np
import pytest

from cohortium.core.study_text import study_of
from cohortium.data.mds_like import simulate
from cohortium.data.partition import by_column, take
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import DataError, StudyError, UsageError
from cohortium.ledger.archive import verify
from cohortium.sim.inputs import read_study
from cohortium.sim.pinning import pin, write_pinned
from cohortium.sim.synthesis import fit, open_generator, train
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate import private_network
from cohortium.synth.rows import Rows
from cohortium.synth.study import check_synth

COLUMNS = ("site", "age", "TP53", "SF3B1", "complex", "blasts", "wbc", "anc", "os_years", "died")


def tables(sites=None):
    whole = simulate(seed=0, sites=sites or {"a": 250, "b": 150, "c": 60}).table
    table = Table({name: whole.column(name) for name in COLUMNS})
    return take(table, by_column(table, "site"), without=["site"])


def study(*, masked=True, **synth):
    return study_of(
        {
            "study": {"name": "mds", "outcome": {"time": "os_years", "event": "died", "unit": "years"}},
            "synth": {"genes": ["TP53", "SF3B1", "complex"], "rules": ["wbc >= anc"],
                      "derived": {"high": "blasts >= 5"}, **synth},
            "privacy": {"secure_aggregation": masked},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    out = tmp_path_factory.mktemp("generator")
    return fit(study(), tables(), out=out), out


def test_the_swarm_under_masks_learns_the_pooled_generator(fitted):
    made, _ = fitted
    generator = made.saved.generator
    pooled = Rows(
        generator.facts,
        {name: np.concatenate([rows[name] for rows in made.training.values()]) for name in generator.facts.names},
    )
    assert fit_by_sums(generator, [pooled]).digest == made.saved.state.digest
    assert (made.status, made.epsilon) == ("complete", None)


def test_masks_change_nothing(fitted):
    plain = train(study(masked=False), tables())
    plain.ledger.close()
    assert plain.saved.state.digest == fitted[0].saved.state.digest


@pytest.mark.slow
def test_the_contract_itself_records_the_same_generator(fitted, tmp_path):
    pytest.importorskip("eth", reason="py-evm is not installed: pip install 'cohortium[evm]'")
    made = fit(study(), tables(), out=tmp_path / "g", ledger="local")
    assert made.saved.state.digest == fitted[0].saved.state.digest
    found = verify(tmp_path / "g" / "ledger.jsonl")
    assert (found.engine, found.evm, len(found.runs)) == ("local", True, 1)


@pytest.mark.parametrize(("ledger", "message"), [("replicated", "needs servers of its own"), ("paper", "unknown")])
def test_a_ledger_that_no_simulation_can_run_on_is_refused_first(tmp_path, ledger, message):
    with pytest.raises(UsageError, match=message):
        fit(study(), tables(), out=tmp_path / "g", ledger=ledger)
    assert not (tmp_path / "g").exists()


def test_the_reserve_trains_nothing(fitted):
    made, _ = fitted
    for site, rows in made.reserve.items():
        assert len(rows) == pytest.approx(0.2 * (len(rows) + len(made.training[site])), abs=2)


def test_the_folder_gives_the_same_patients_and_keeps_the_rules(fitted):
    made, out = fitted
    opened = open_generator(out)
    first, again = (one.sample(200, rng=np.random.default_rng(3)).rows for one in (made.saved, opened))
    assert all(np.array_equal(first[name], again[name], equal_nan=True) for name in first)
    assert first.facts.names[-3:] == ("high", "os_years", "died")
    known = ~np.isnan(first["wbc"]) & ~np.isnan(first["anc"])
    assert (first["wbc"] >= first["anc"])[known].all()
    assert sorted(path.name for path in out.iterdir()) == ["generator.safetensors", "ledger.jsonl"]


@pytest.mark.parametrize("federation", ["similarity", "sharing", "ensemble"])
def test_every_federation_runs_on_real_nodes_and_its_folder_gives_the_same_patients(federation, tmp_path):
    plan = study(masked=federation == "similarity", federation=federation, rounds=1).with_seed(3)
    made = fit(plan, tables({"a": 600, "b": 450, "c": 60}), out=tmp_path)
    opened = open_generator(tmp_path)
    first, again = (one.sample(150, rng=np.random.default_rng(3)).rows for one in (made.saved, opened))
    assert all(np.array_equal(first[name], again[name], equal_nan=True) for name in first)
    assert made.status == "complete"
    assert made.document()["federation"] == federation
    if federation != "similarity":
        assert set(made.shared) <= {"a", "b"}  # c has too few rows to share
        assert made.document()["shared_by"] == list(made.shared)


SMALL = {
    "vae_bgm": {"epochs": 4, "warm_epochs": 1, "hidden": 16, "latent": 3, "components": 2},
    "ctgan": {"steps": 20, "warm_steps": 10, "batch": 20, "noise": 8, "hidden": 16, "critic_hidden": 16},
}
SLOW = [("vae_bgm", one) for one in ("similarity", "cyclic", "sharing", "ensemble")] + [("ctgan", "fedavg")]


@pytest.mark.parametrize(
    ("generator", "federation"), [("vae_bgm", "fedavg"), *(pytest.param(*one, marks=pytest.mark.slow) for one in SLOW)]
)
def test_a_network_by_every_federation_on_real_nodes(generator, federation, tmp_path):
    pytest.importorskip("torch")
    masked = federation in ("fedavg", "similarity")
    options = SMALL[generator]
    plan = study(masked=masked, generator=generator, federation=federation, rounds=2, options=options).with_seed(3)
    made = fit(plan, tables({"a": 300, "b": 200, "c": 60}), out=tmp_path)
    opened = open_generator(tmp_path)
    first, again = (one.sample(150, rng=np.random.default_rng(3)).rows for one in (made.saved, opened))
    assert all(np.array_equal(first[name], again[name], equal_nan=True) for name in first)
    assert made.status == "complete"
    assert len(set(first["age"])) > 20


def test_a_changed_or_foreign_file_is_refused(fitted, tmp_path):
    _, out = fitted
    content = bytearray((out / "generator.safetensors").read_bytes())
    content[-5] ^= 1
    (tmp_path / "generator.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="not those its metadata name"):
        open_generator(tmp_path)
    with pytest.raises(UsageError, match="cannot read"):
        open_generator(tmp_path / "nowhere")
    (tmp_path / "generator.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(DataError):
        open_generator(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError, AttributeError])
def test_a_file_whose_arrays_stop_the_network_is_refused_in_words(fitted, monkeypatch, error):
    def broken(self, state, n, *, rng):
        raise error("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(type(fitted[0].saved.generator), "sample", broken)
    with pytest.raises(DataError, match="do not belong together"):
        open_generator(fitted[1])


def test_a_study_without_synth_is_told_what_to_add():
    plain = study_of({"study": {"name": "s", "outcome": "y"}, "model": {"name": "logistic"}})
    with pytest.raises(StudyError, match=r"add \[synth\]"):
        train(plain, tables())


PRIVATE_TOML = """
[study]
name = "mds"
outcome = { time = "os_years", event = "died", unit = "years" }

[cohort]
ranges = { age = [18, 100], blasts = [0, 20], hb = [2, 20], os_years = [0, 12] }

[synth]
generator = "marginal_dp"
genes = ["TP53", "SF3B1"]

[privacy]
secure_aggregation = true
dp = { mode = "distributed", epsilon = 8.0 }
"""
PRIVATE = tomllib.loads(PRIVATE_TOML)


def private_study(*, mode="distributed", masked=True, epsilon=8.0):
    privacy = {"secure_aggregation": masked, "dp": {"mode": mode, "epsilon": epsilon}}
    return study_of(PRIVATE | {"privacy": privacy})


def private_tables():
    whole = simulate(seed=0, sites={"a": 200, "b": 200, "c": 200}).table
    columns = ("site", "age", "TP53", "SF3B1", "blasts", "hb", "os_years", "died")
    return take(Table({n: whole.column(n) for n in columns}), by_column(whole, "site"), without=["site"])


@pytest.mark.parametrize("mode", ["distributed", "local"])
def test_a_private_generator_learns_through_the_swarm(mode):
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")
    whole = simulate(seed=0, sites={"a": 500, "b": 400, "c": 300}).table
    columns = ("site", "age", "TP53", "SF3B1", "blasts", "hb", "os_years", "died")
    parts = take(Table({n: whole.column(n) for n in columns}), by_column(whole, "site"), without=["site"])
    made = train(private_study(mode=mode, masked=mode == "distributed"), parts)
    made.ledger.close()
    assert (made.status, made.rounds, made.document()["epsilon"]) == ("complete", 2, 8.0)
    drawn = made.saved.sample(800, rng=np.random.default_rng(0)).rows
    real = np.concatenate([rows["age"] for rows in made.training.values()])
    assert abs(np.nanmean(drawn["age"]) - np.nanmean(real)) < 4
    assert 0.01 < np.nanmean(drawn["TP53"]) < 0.3


def private_network_study(generator="vae_bgm", **options):
    few = {
        "vae_bgm": {"warm_epochs": 1, "latent": 4},
        "ctgan": {"private_warm_steps": 20, "noise": 8, "critic_hidden": 16},
    }
    content = tomllib.loads(PRIVATE_TOML)
    content["synth"] |= {"generator": generator, "federation": "fedavg", "rounds": 2}
    content["synth"]["options"] = {"private_steps": 4, "hidden": 16} | few[generator] | options
    return content


@pytest.mark.slow
@pytest.mark.parametrize("generator", ["vae_bgm", "ctgan"])
@pytest.mark.parametrize(("mode", "rounds"), [("distributed", 2 + 4), ("local", 2 + 2)])
def test_a_private_network_learns_through_the_swarm_in_noisy_sums_only(mode, rounds, generator, tmp_path, monkeypatch):
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")
    pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr(private_network, "LEAST_DRAWN", 1500)
    privacy = {"secure_aggregation": mode == "distributed", "dp": {"mode": mode, "epsilon": 2.0}}
    made = fit(study_of(private_network_study(generator) | {"privacy": privacy}), private_tables(), out=tmp_path / "it")
    assert (made.status, made.rounds) == ("complete", rounds)
    opened = open_generator(tmp_path / "it")
    assert opened.n_real == max(round(float(made.saved.state["n"][0])), 1)
    drawn = opened.sample(800, rng=np.random.default_rng(0)).rows
    real = np.concatenate([rows["age"] for rows in made.training.values()])
    # noise of the operating system, 480 patients: 12 fits were 3 to 16 years off, with a standard deviation of 4
    assert abs(np.nanmean(drawn["age"]) - np.nanmean(real)) < 35
    assert 18 <= np.nanmin(drawn["age"]) <= np.nanmax(drawn["age"]) <= 100


def test_a_private_network_needs_fedavg_and_ranges():
    pytest.importorskip("torch", reason="torch is not installed")
    content = pin(private_network_study(), private_tables()).study.model_dump(exclude_none=True)
    assert check_synth(study_of(content), 3) == ()
    content["synth"]["federation"] = "similarity"
    assert "choose fedavg" in str(check_synth(study_of(content), 3)[0])
    content = private_network_study("ctgan", pac=10)
    with pytest.raises(StudyError, match="judges patients together, so clipping bounds nothing; set pac = 1"):
        train(study_of(content), private_tables())
    content = private_network_study()
    content["cohort"] = {}
    with pytest.raises(StudyError, match="have no range that everybody may know"):
        train(study_of(content), private_tables())


def test_a_private_folder_cannot_be_stripped_of_its_noise(tmp_path):
    """The study's seed is in the folder: noise drawn from it could be subtracted. Nor is the exact number told."""
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")
    whole = simulate(seed=0, sites={"a": 200, "b": 200, "c": 200}).table
    columns = ("site", "age", "TP53", "SF3B1", "blasts", "hb", "os_years", "died")
    parts = take(Table({n: whole.column(n) for n in columns}), by_column(whole, "site"), without=["site"])
    twice = [fit(private_study(epsilon=1.0), parts, out=tmp_path / name) for name in "ab"]
    assert not np.array_equal(*(one.saved.state["cells/age"] for one in twice))
    for name, one in zip("ab", twice, strict=True):
        assert open_generator(tmp_path / name).n_real == max(round(float(one.saved.state["n"][0])), 1)


def test_noise_and_generator_belong_together():
    pinned = pin(PRIVATE, private_tables()).study
    assert check_synth(pinned, 3) == ()
    bare = pinned.model_copy(update={"privacy": study().privacy})
    assert [one.key for one in check_synth(bare, 3)] == ["privacy.dp"]
    exact = study().model_copy(update={"privacy": private_study().privacy})
    assert "choose 'marginal_dp'" in str(check_synth(exact, 3)[0])
    unmasked = private_study(masked=False)
    assert "needs masks" in str(check_synth(unmasked, 3)[0])


def test_a_private_generator_is_refused_until_its_columns_are_declared_and_can_be_pinned(tmp_path):
    """Levels found at the patients would carry no noise; `study pin` must not be stopped by what it mends."""
    (found,) = check_synth(private_study(), 3)
    assert (found.key, "run: cohortium study pin" in found.message) == ("cohort.columns", True)
    path = tmp_path / "mds.toml"
    path.write_text(PRIVATE_TOML)
    with pytest.raises(StudyError, match="levels found by looking at patients carry no noise"):
        read_study(path)
    to, _ = write_pinned(path, private_tables(), out=None)
    made = train(read_study(to, n_sites=3), private_tables())
    made.ledger.close()
    assert made.status == "complete"


def test_the_real_patients_are_written_only_where_they_are_asked_for(tmp_path):
    made = fit(study(), tables(), out=tmp_path / "generator", split=tmp_path / "real", site_column="ward")
    assert sorted(path.name for path in (tmp_path / "generator").iterdir()) == ["generator.safetensors", "ledger.jsonl"]
    for name, parts in (("training", made.training), ("reserve", made.reserve)):
        path = tmp_path / "real" / f"{name}.csv"
        written = read(path)
        assert written.names == ("ward", *COLUMNS[1:])
        assert path.stat().st_mode & 0o077 == 0
        assert {site: int((written.column("ward") == site).sum()) for site in parts} == {
            site: len(rows) for site, rows in parts.items()
        }
    whole = simulate(seed=0, sites={"a": 250, "b": 150, "c": 60}).table
    ages = [read(tmp_path / "real" / f"{name}.csv").column("age") for name in ("training", "reserve")]
    assert sorted(np.concatenate(ages).tolist()) == sorted(np.asarray(whole.column("age")).tolist())
    with pytest.raises(UsageError, match="belong in one of their own"):
        fit(study(), tables(), out=tmp_path / "x", split=tmp_path / "x")
