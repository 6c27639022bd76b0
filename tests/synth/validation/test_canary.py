import numpy as np

from cohortium.synth.validation.canary import N_CANARIES, judge_canaries, plant


def test_half_of_the_canaries_are_in_by_coin_and_lie_in_the_range(world):
    one = plant(world.training, np.random.default_rng(0))
    assert len(one.canaries) == N_CANARIES
    assert len(one.rows) == len(world.training) + one.inside.sum()
    assert 3 <= one.inside.sum() <= 17
    for name in ("hb", "age", "os_years"):
        assert one.canaries[name].min() >= np.nanmin(world.training[name])
        assert one.canaries[name].max() <= np.nanmax(world.training[name])


def test_a_table_that_copies_its_canaries_gives_all_of_them_away(world):
    sites = [plant(world.training, np.random.default_rng(k), n=40) for k in range(2)]
    inside = np.concatenate([site.inside for site in sites])
    leaked = sites[0].rows, sites[1].rows
    copy = world.training.with_columns({})
    columns = {name: np.concatenate([leaked[0][name], leaked[1][name]]) for name in copy}
    published = type(copy)(copy.facts, columns)
    found = judge_canaries(sites, published, world.synthetic, epsilon=None)
    assert found.guesses.n_right == found.guesses.n_guessed == 40
    assert found.recall.value >= 0.9
    assert found.bound == found.most > 2
    assert 20 <= inside.sum() <= 60


def test_a_table_that_never_saw_them_shows_nothing(world):
    sites = [plant(world.training, np.random.default_rng(k), n=40) for k in range(2)]
    other = world.generator.sample(world.state, 900, rng=np.random.default_rng(5))
    found = judge_canaries(sites, world.synthetic, other, epsilon=4.0)
    assert found.bound < 1.0
    assert found.recall.low < 0.5 < found.recall.high
    assert found.document()["epsilon_accounted"] == 4.0
