import numpy as np

from cohortium.synth.validation.subgroups import LEAST_PATIENTS, groups_of, judge_subgroups


def test_carriers_and_the_rest_are_apart_and_thirds_of_risk_are_thirds(world):
    found = groups_of(world.training, {"training": world.training})
    carriers, rest = found["TP53 mutated"]["training"], found["TP53 wild type"]["training"]
    assert not (carriers & rest).any()
    assert carriers.sum() == np.nansum(world.training["TP53"])
    thirds = [found[name]["training"].mean() for name in ("low risk", "middle risk", "high risk")]
    assert np.allclose(thirds, 1 / 3, atol=0.01)


def test_high_risk_dies_sooner_in_every_table(world):
    tables = {"reserve": world.reserve, "synthetic": world.synthetic}
    found = groups_of(world.training, tables)
    for key, rows in tables.items():
        died = [rows["died"][found[name][key]].mean() for name in ("low risk", "high risk")]
        assert died[1] > died[0]


def test_every_group_that_is_judged_is_large_enough(judged):
    assert {group.name for group in judged.subgroups} >= {"low risk", "middle risk", "high risk"}
    assert min(min(g.n_real, g.n_synthetic) for g in judged.subgroups) >= LEAST_PATIENTS
    assert all(g.rmst[1] < g.rmst[0] < g.rmst[2] for g in judged.subgroups)
    assert all(0 <= g.km_gap <= 1 for g in judged.subgroups)


def test_a_planted_gap_in_one_group_is_seen_there_only(world):
    time = world.synthetic["os_years"].copy()
    carriers = world.synthetic["SF3B1"] == 1
    time[carriers] = time[carriers] / 12
    found = {g.name: g for g in judge_subgroups(world.training, world.reserve,
                                                world.synthetic.with_columns({"os_years": time}))}  # fmt: skip
    assert found["SF3B1 mutated"].log_rank_p < 0.001
    assert found["SF3B1 mutated"].rmst[2] < 0
    assert found["SF3B1 wild type"].log_rank_p > 0.01
