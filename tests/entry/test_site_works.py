"""What sites bring becomes one program, or one sentence about what does not fit."""

from dataclasses import replace

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.study import Study
from cohortium.entry.seat import Brought, Ready, Seat
from cohortium.entry.site_works import loop_works, row_works
from cohortium.errors import UsageError
from cohortium.models.cox import Cox
from cohortium.models.glm import Logistic

STUDY = Study.model_validate({"study": {"name": "s", "outcome": "y"}, "model": {"name": "logistic"}})


def brought(learner, layout, labels=("0", "1")):
    rows = Examples(layout=layout, x=np.zeros((2, len(layout.features))), y=np.zeros(2))
    return Brought(learner, rows, None, labels)


def test_all_loops_start_from_the_first_site_by_name(make_study):
    study = make_study(rounds=7)
    ready = {site: Ready(Parameters({"w": np.full(1, value)})) for site, value in (("porto", 2.0), ("bonn", 1.0))}
    seats = {site: Seat(site, study=study, sites=("bonn", "porto")) for site in ready}
    works = loop_works(study, seats, ready)
    assert works["porto"].start() == works["bonn"].start()
    assert works["porto"].program.model(works["porto"].start()) == ready["bonn"].start
    assert works["porto"].program.max_rounds == 7


def test_another_number_of_arrays_is_refused(make_study):
    study = make_study()
    ready = {
        "bonn": Ready(Parameters({"w": np.ones(1)})),
        "lund": Ready(Parameters({"w": np.ones(1), "b": np.ones(1)})),
    }
    with pytest.raises(UsageError, match="site 'lund' has 2 arrays, expected 1 as site 'bonn' has"):
        loop_works(study, {}, ready)


@pytest.mark.parametrize("what", ["columns", "labels"])
def test_rows_of_another_kind_are_refused(what):
    layout = Layout(features=("a", "b"), outcome="binary", classes=("0", "1"))
    other = brought(Logistic(), replace(layout, features=("b", "a")) if what == "columns" else layout, ("0", "2"))
    ours = brought(Logistic(), layout, ("0", "2") if what == "columns" else ("0", "1"))
    with pytest.raises(UsageError, match=f"site 'lund' has 2 {what}, expected the 2 of site 'bonn'"):
        row_works(STUDY, {"lund": other, "bonn": ours})


def test_the_grid_of_times_holds_the_longest_follow_up():
    def of(resolution, horizon):
        layout = Layout(features=("a",), outcome="survival", resolution=resolution, horizon=horizon)
        rows = Examples(layout=layout, x=np.zeros((1, 1)), time=np.ones(1), event=np.ones(1, dtype=np.int8))
        return Brought(Cox(), rows, None)

    study = STUDY.model_copy(update={"model": STUDY.model.model_copy(update={"name": "cox"})})
    works = row_works(study, {"bonn": of(2.0, 10.0), "lund": of(1.0, 31.0)})
    assert {(w.training.layout.resolution, w.training.layout.horizon) for w in works.values()} == {(2.0, 32.0)}
