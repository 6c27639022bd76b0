"""A site's work from its own table alone: the bits of a simulation, and refusals that name the fix."""

import os
from pathlib import Path

import numpy as np
import pytest

from cohortium.core.randomness import Chance
from cohortium.data.partition import by_column, iid, take
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import DataError, StudyError
from cohortium.node.work import deployable, empty_program, open_ward, pinned_schema, ward_work
from cohortium.sim.pinning import pin
from cohortium.sim.simulate import run_simulation
from cohortium.sim.swarm import Setting, run_swarm

SHARED = Path(os.environ.get("COHORTIUM_DATA", "/work/shared/data"))


def little(n=60, seed=1):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=n), rng.normal(size=n)
    y = (a - 0.5 * b + rng.normal(0, 0.7, n) > 0).astype(float)
    return Table.from_columns({"a": a, "b": b, "sex": np.where(rng.random(n) < 0.5, "f", "m"), "label": y})


def pinned(tables, *, outcome="label", **sections):
    content = {"study": {"name": "little", "outcome": outcome}, "model": {"name": "logistic"}}
    for name, changes in sections.items():
        content[name] = {**content.get(name, {}), **changes}
    return pin(content, tables).study


def digest_of_sites_built_one_by_one(study, tables):
    """Each site sees its own table and the names of the others; then the real nodes run, on memory."""
    chance = Chance(study.evaluation.seed, secrets_from_system=False)
    works = {}
    for site in tables:
        ward = open_ward(study, tables[site], site=site, secret=chance.secret(32, "patients", site))
        works[site] = ward_work(ward, sites=sorted(tables))
    return run_swarm(Setting(study=study, works=works, chance=chance)).state.digest.hex()


def hospitals_of_heart_uci():
    if not (SHARED / "heart_uci.parquet").exists():
        pytest.skip("shared data are absent")
    whole = read(SHARED / "heart_uci.parquet").without(["num"])
    return take(whole, by_column(whole, "site"), without=["site"]), "label"


def breast_cancer_in_three_parts():
    found = pytest.importorskip("sklearn.datasets").load_breast_cancer()
    columns = dict(zip(found.feature_names.tolist(), found.data.T, strict=True))
    whole = Table.from_columns({**columns, "benign": found.target})
    return take(whole, {f"site-{i}": rows for i, rows in enumerate(_thirds(len(whole)))}), "benign"


def _thirds(n):
    return iid(n, 3, rng=np.random.default_rng(0)).values()


MODELS = [
    {"model": {"name": "logistic"}},
    {"model": {"name": "logistic", "learn": "weights"}, "strategy": {"name": "fedprox", "rounds": 3}},
    {"model": {"name": "logistic", "learn": "weights"}, "strategy": {"name": "scaffold", "rounds": 3}},
]


@pytest.mark.slow
@pytest.mark.parametrize("hospitals", [hospitals_of_heart_uci, breast_cancer_in_three_parts])
@pytest.mark.parametrize("sections", MODELS, ids=["sums", "fedprox", "scaffold"])
def test_sites_that_know_their_own_table_only_end_with_the_model_of_the_simulation(hospitals, sections):
    tables, outcome = hospitals()
    study = pinned(tables, outcome=outcome, **sections, evaluation={"leave_one_out": False, "per_site": False})
    assert digest_of_sites_built_one_by_one(study, tables) == run_simulation(study, tables).record.model.digest


def test_the_parts_are_drawn_by_the_sites_own_key_for_its_patients():
    tables = {"bonn": little()}
    study = pinned(tables)
    one, same, other = (open_ward(study, tables["bonn"], site="bonn", secret=s * 32) for s in (b"1", b"1", b"2"))
    assert one.cohort.parts.tolist() == same.cohort.parts.tolist() != other.cohort.parts.tolist()


def test_the_program_alone_needs_no_patient_and_starts_like_that_of_every_site():
    tables = {"bonn": little(), "lund": little(80, 2)}
    study = pinned(tables)
    work = ward_work(open_ward(study, tables["bonn"], site="bonn", secret=bytes(32)), sites=["bonn", "lund"])
    alone = empty_program(study, sites=["somebody"])
    assert alone.start().digest == work.start().digest
    assert alone.max_rounds == work.program.max_rounds
    assert pinned_schema(study).layout() == work.training.layout


def test_a_study_that_is_not_pinned_is_refused_with_the_command_that_pins_it(make_study):
    study = make_study(evaluation={"folds": 3})
    assert [problem.key for problem in deployable(study)] == ["cohort.columns", "evaluation.folds"]
    with pytest.raises(StudyError, match="cohortium study pin"):
        open_ward(study, little(), site="bonn", secret=bytes(32))


def test_a_study_that_would_audit_and_then_train_is_refused_not_run_without_its_audit():
    study = pinned({"bonn": little()}, quality={"detector": "out-of-bag"})
    assert [p.key for p in deployable(study)] == ["quality.on_harm"]
    assert deployable(pinned({"bonn": little()})) == ()


def test_an_own_loop_cannot_be_run_by_a_node():
    assert [p.key for p in deployable(pinned({"bonn": little()}, model={"name": "own-loop"}))] == ["model.name"]


def test_a_table_that_breaks_the_study_is_refused_at_the_site():
    study = pinned({"bonn": little()})
    with pytest.raises(DataError, match="label"):
        open_ward(study, little().without(["label"]), site="bonn", secret=bytes(32))


def test_a_column_that_gives_the_outcome_away_here_warns_and_names_itself():
    table = little(200).with_column("copy", little(200).column("label") + little(200).column("a") / 100)
    ward = open_ward(pinned({"bonn": table}), table, site="bonn", secret=bytes(32))
    (told,) = (check for check in ward.checks if check.level == "warn")
    assert told.id == "L2"
    assert "'copy' alone gives the outcome away" in told.found
    assert told.found.endswith("at this site alone, which may be chance")


def test_a_patient_in_two_parts_or_an_undeclared_patient_key_refuses_here_too():
    table = little().with_column("patient_id", np.array([f"P-{i // 2:04d}" for i in range(60)]))
    with pytest.raises(DataError, match=r"L1: .*patient_id"):
        open_ward(pinned({"bonn": table}), table, site="bonn", secret=bytes(32))
