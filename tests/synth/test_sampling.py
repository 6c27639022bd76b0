import numpy as np
import pytest

from cohortium.errors import UsageError
from cohortium.synth.conditions import parse
from cohortium.synth.federate.mixture import Pool, pool_of
from cohortium.synth.sampling import draw


def sample(world, n, **options):
    return draw(world.generator, world.state, n, rng=np.random.default_rng(0), **options)


def test_all_drawn_patients_fulfil_the_condition_and_there_are_as_many_as_asked(world):
    where = parse("age > 75 and TP53 = 1", world.facts)
    found = sample(world, 150, where=where)
    assert len(found.rows) == 150
    assert where.holds(found.rows).all()
    assert found.n_tried > 1000


def test_no_patient_breaks_a_rule_that_can_be_kept(world):
    rule = parse("hb > 7", world.facts)
    assert (~rule.holds(sample(world, 2000).rows) & ~np.isnan(sample(world, 2000).rows["hb"])).any()
    kept = sample(world, 2000, rules=[rule])
    assert kept.broken == {}
    assert (rule.holds(kept.rows) | np.isnan(kept.rows["hb"])).all()


def test_a_rule_nobody_can_keep_is_counted_not_hidden(world):
    assert sample(world, 50, rules=[parse("age > 500", world.facts)]).broken == {"age > 500": 50}


def test_what_never_happens_is_refused(world, monkeypatch):
    monkeypatch.setattr("cohortium.synth.sampling._NOBODY_DRAWS", 20_000)
    with pytest.raises(UsageError, match="too rare: 0 of 5 patients in 20,005 draws"):
        sample(world, 5, where=parse("age > 500", world.facts))
    monkeypatch.setattr("cohortium.synth.sampling._MOST_DRAWS", 20_000)
    with pytest.raises(UsageError, match=r"too rare: [1-9][0-9]* of 900 patients"):
        sample(world, 900, where=parse("age > 75 and TP53 = 1 and SF3B1 = 1", world.facts))
    monkeypatch.setattr("cohortium.synth.sampling._MOST_DRAWS", 1_000)
    assert sample(world, 100, where=parse("age > 75 and TP53 = 1", world.facts)).n_tried > 1_000
    with pytest.raises(UsageError, match="at least one"):
        sample(world, 0)


def test_a_pool_gives_those_who_fulfil_the_condition_once_each(world):
    rows = world.training.take(np.arange(300))
    where, rule = parse("age > 70", world.facts), parse("hb > 9", world.facts)
    n = int(where.holds(rows).sum())
    found = draw(Pool(world.facts), pool_of(rows), n, rng=np.random.default_rng(0), where=where)
    assert sorted(map(bytes, found.rows.matrix())) == sorted(map(bytes, rows.take(where.holds(rows)).matrix()))
    with pytest.raises(UsageError, match=rf"300 rows and {n} of them fulfil 'age > 70', {n + 1} were asked for"):
        draw(Pool(world.facts), pool_of(rows), n + 1, rng=np.random.default_rng(0), where=where)
    kept = int((rule.holds(rows) | np.isnan(rows["hb"])).sum())
    assert draw(Pool(world.facts), pool_of(rows), kept, rng=np.random.default_rng(0), rules=[rule]).broken == {}
    assert draw(Pool(world.facts), pool_of(rows), kept + 2, rng=np.random.default_rng(0), rules=[rule]).broken == {
        "hb > 9": 2
    }
