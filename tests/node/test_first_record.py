"""What every record of a run begins with."""

import numpy as np

from cohortium.data.table import Table
from cohortium.node.first_record import first_record
from cohortium.node.work import open_ward
from cohortium.reports.record import ModelRecord
from cohortium.sim.pinning import pin


def test_a_record_names_study_sites_patients_and_checks_and_leaves_the_rest_to_the_node():
    rng = np.random.default_rng(0)
    table = Table.from_columns({"a": rng.normal(size=40), "label": (np.arange(40) % 2).astype(float)})
    content = {"study": {"name": "six", "outcome": "label"}, "model": {"name": "logistic"},
               "privacy": {"secure_aggregation": False}}  # fmt: skip
    study = pin(content, {"porto": table}).study
    ward = open_ward(study, table, site="porto", secret=bytes(32))
    model = ModelRecord(name="logistic", digest="00", strategy="exact-sums", n_parameters=2)
    made = first_record(ward, sites=["porto", "bonn"], model=model, privacy=None, notes=("first",), time_unit="d")
    assert (made.name, made.study_digest, made.sites) == ("six", study.digest.hex(), ("porto", "bonn"))
    assert made.notes[0] == "first"
    assert (made.status, made.ledger.height, made.time_unit) == ("", 0, "d")
    assert made.checks == ward.checks
    assert made.flow
