import pytest

from cohortium.data.mds_like import simulate
from cohortium.data.partition import by_column, take
from cohortium.data.table import Table
from cohortium.sim.synth_cells import parts_of, score_parts, train_part
from cohortium.sim.synth_tables import demo_study

NAMES = ("site", "age", "TP53", "SF3B1", "SRSF2", "blasts", "hb", "os_years", "died")


def test_equal_states_get_equal_figures_and_what_fails_is_told():
    whole = simulate(seed=0, sites={"a": 200, "b": 120, "c": 80}, missing=False).table
    table = Table({name: whole.column(name) for name in NAMES})
    study = demo_study()
    plan = study.synth.model_copy(update={"genes": ["TP53", "SF3B1", "SRSF2"], "rules": [], "rounds": 1})
    one = study.with_plans(synth=plan, study=study.study.model_copy(update={"exclude": []}))
    tables = take(table, by_column(table, "site"), without=["site"])
    wanted = parts_of(("central", "federated"), ("exact", "cyclic", "ensemble"))
    assert wanted == ("central", "exact", "cyclic", "ensemble")
    parts = [train_part(one, tables, generator="bn", part=part, seed=0) for part in wanted]
    found = score_parts(one, tables, parts, generator="bn", draws=2, seed=0)
    central, federated = ({k: v for k, v in found.figures[s].items() if k != "seconds"}
                          for s in ("central", "federated"))  # fmt: skip
    assert central == pytest.approx(federated, nan_ok=True)
    assert found.equal is True
    assert found.main == "exact"
    assert found.sites == {"a": 160, "b": 96, "c": 64}
    assert "hands on weights of a network" in found.refused["cyclic"]
    assert ("ensemble" in found.figures) is bool(found.shared.get("ensemble"))
    assert 0.5 <= federated["c2st"] <= 1.0
    assert federated["privacy.failed"] >= 0
