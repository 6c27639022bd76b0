"""Trainings due together are answered together; a run nobody can go on with is ended, not waited for."""

import asyncio

import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import RunFailed, TrainingFailed
from cohortium.sim import bench as subject
from cohortium.sim.bench import Bench
from cohortium.sim.plain import learn
from cohortium.sim.virtual_clock import run_virtual


def ordered(bench, works, sites, *, round=1):
    """What each site gets that orders a training at the same moment: an update or an error."""
    state = next(iter(works.values())).start()

    async def main():
        asked = [bench.trainer(site)(round, state) for site in sites]
        return await asyncio.gather(*asked, return_exceptions=True)

    return dict(zip(sites, run_virtual(main()), strict=True))


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_each_site_gets_its_own_update_whatever_the_order_of_the_orders(engine, works_of, make_study):
    works = works_of(make_study())
    found = ordered(Bench(works, engine=engine), works, ["porto", "bonn", "lund"])
    state = works["bonn"].start()
    for site, update in found.items():
        assert update.site == site
        assert update == works[site].train(1, state)


def test_the_bench_tells_which_stage_a_round_belonged_to(works_of, make_study):
    works, stages = works_of(make_study()), {}
    ordered(Bench(works, engine="sequential", stages=stages), works, ["bonn"], round=4)
    assert stages == {4: "presence"}


def test_an_injected_fault_is_a_failed_training_and_may_pass(works_of, make_study):
    works, asked = works_of(make_study()), []

    def before(site, round):
        asked.append(site)
        if asked.count("bonn") == 1 and site == "bonn":
            raise TrainingFailed("device lost", code="device")

    bench = Bench(works, engine="sequential", before=before)
    assert isinstance(ordered(bench, works, ["bonn"])["bonn"], TrainingFailed)
    assert isinstance(ordered(bench, works, ["bonn"])["bonn"], Update)


def test_update_that_could_not_be_sent_is_a_failed_training(works_of, make_study):
    works = works_of(make_study())

    def check(update):
        if update.site == "lund":
            raise TrainingFailed("array 'w' exceeds 2^16", code="unusable")

    found = ordered(Bench(works, engine="sequential", check=check), works, list(works))
    assert [type(found[site]).__name__ for site in ("bonn", "lund", "porto")] == ["Update", "TrainingFailed", "Update"]


def failing(*, which, error):
    def train_all(works, round, state, *, engine):
        if any(work.site in which for work in works):
            raise error
        return [Update(site=work.site, parameters=Parameters(), weight=1) for work in works]

    return train_all


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_one_site_that_fails_leaves_the_others_their_updates(engine, works_of, make_study, monkeypatch):
    works = works_of(make_study())
    monkeypatch.setattr(subject, "train_all", failing(which={"lund"}, error=TrainingFailed("no", code="not_finite")))
    found = ordered(Bench(works, engine=engine, quorum=2), works, list(works))
    assert [type(found[site]).__name__ for site in ("bonn", "lund", "porto")] == ["Update", "TrainingFailed", "Update"]


def test_too_few_able_sites_end_the_run_with_the_reason(works_of, make_study, monkeypatch):
    works = works_of(make_study())
    error = TrainingFailed("array 'w' is not finite", code="not_finite", hint="lower the rate")
    monkeypatch.setattr(subject, "train_all", failing(which={"bonn", "lund"}, error=error))
    found = ordered(Bench(works, engine="sequential", quorum=2), works, list(works))
    assert found["bonn"] is error
    assert isinstance(found["lund"], RunFailed)
    assert str(found["lund"]) == "failed (lund, train, not_finite)"
    assert found["lund"].hint == "array 'w' is not finite; lower the rate"
    assert isinstance(found["porto"], Update)


def test_an_error_of_any_kind_reaches_the_nodes_instead_of_the_log(works_of, make_study, monkeypatch, caplog):
    works = works_of(make_study())
    monkeypatch.setattr(subject, "train_all", failing(which={"bonn"}, error=RuntimeError("foreign code")))
    found = ordered(Bench(works, engine="sequential"), works, ["bonn"])
    assert isinstance(found["bonn"], RuntimeError)
    assert caplog.records == []


def test_the_plain_loop_and_the_bench_train_alike(works_of, make_study):
    works = works_of(make_study(strategy={"name": "fedavg", "rounds": 2}))
    state = learn(works["bonn"].program, list(works.values()))
    assert works["bonn"].program.finished(state)
