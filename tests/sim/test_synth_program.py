"""What sites do to learn a generator, at nodes and simulated: the stages, who is counted, and the file it ends in."""

import numpy as np
import pytest

from cohortium.core.codec import decode
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.data.mds_like import simulate
from cohortium.errors import StudyError
from cohortium.sim.cohorts import schema_of
from cohortium.sim.synth_program import generator_file, is_counted, split_study, synth_program
from cohortium.sim.synth_tables import demo_study

SITES = ("a", "b", "c")


@pytest.fixture(scope="module")
def table():
    return simulate(seed=0, sites={"a": 900}).table.without(["site"])


def built(table, *, masked=True, counted=True, sites=SITES, **more):
    study = demo_study(masked=masked)
    study = study.with_plans(synth=study.synth.model_copy(update=more))
    return synth_program(study, schema_of(study, {"a": table}), sites=sites, chance=Chance(0), counted=counted)


def test_patients_are_counted_under_masks_only_and_after_the_generator(table):
    names = [stage.name for stage in built(table).program.stages]
    assert names == ["model", "census", "reserve"]
    assert built(table).n_learning == 1
    assert [stage.name for stage in built(table, masked=False).program.stages] == ["model"]
    assert [stage.name for stage in built(table, counted=False).program.stages] == ["model"]
    private = demo_study().privacy.model_copy(update={"dp": object()})
    assert is_counted(demo_study(), 3)
    assert not is_counted(demo_study().with_plans(privacy=private), 3)


def test_a_generator_stands_before_its_counts_are_in(table):
    made = built(table)
    for clock, learned in (([0, 3], False), ([1, 0], True), ([3, 0], True)):
        assert made.learned(Parameters({"clock": np.array(clock)})) is learned


def test_a_gate_of_the_sites_own_is_asked_where_something_wants_to_leave(table):
    def judge(*asked, **more):
        raise AssertionError

    study = demo_study(masked=False)
    for federation, asks in (("sharing", True), ("ensemble", True), ("exact", False)):
        plan = study.with_plans(synth=study.synth.model_copy(update={"federation": federation}))
        made = synth_program(
            plan, schema_of(plan, {"a": table}), sites=SITES, chance=Chance(0), judge=judge
        )  # fmt: skip
        assert (getattr(made.federation, "judge", None) is judge) is asks
    with pytest.raises(StudyError, match="secure aggregation is on"):
        built(table, federation="sharing")


def test_the_split_holds_out_the_reserve_and_nothing_else():
    plan = split_study(demo_study()).evaluation
    assert (plan.test_fraction, plan.calibration_fraction) == (0.2, 0.0)


def test_a_file_without_a_number_of_patients_takes_the_states_own(table):
    study = demo_study()
    schema = schema_of(study, {"a": table})
    for state, n in (({"n": [7]}, 7), ({"ensemble/n": [3, 5]}, 8), ({"pool/values": np.zeros((4, 2))}, 4),
                     ({"foundation/n": [9]}, 9), ({"other": [1]}, 1)):  # fmt: skip
        arrays = Parameters({name: np.asarray(held) for name, held in state.items()})
        pieces = generator_file(study, schema, arrays)
        assert decode(b"".join(bytes(piece) for piece in pieces))[1]["n_real"] == str(n)
    assert decode(b"".join(bytes(p) for p in generator_file(study, schema, arrays, n_real=50)))[1]["n_real"] == "50"
