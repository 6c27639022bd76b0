import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import TrainingFailed, UsageError
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate.carried import with_reserve
from cohortium.synth.federate.gate import GateVerdict, rows_digest
from cohortium.synth.federate.parcels import packed_rows
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.federate.sharing import RowSharing, Sharing, shared_rows
from cohortium.synth.rows import joined

from .conftest import examples_of, lenient, run

PLAN = FederationPlan(rounds=2)


@pytest.fixture(scope="module")
def shared(world, sites):
    return run(Sharing(plan=PLAN, judge=lenient), world.generator, sites)[0]


def test_large_sites_share_as_many_rows_as_they_have_and_a_small_one_only_receives(world, sites, shared):
    rows = shared_rows(shared.under("model/model"), world.facts)
    assert {place: len(one) for place, one in rows.items()} == {0: 480, 1: 440}
    assert shared["model/model/n"].tolist() == [480, 440, 0]


def test_no_shared_row_is_a_patient(world, sites, shared):
    real = {bytes(row) for rows, _ in sites.values() for row in np.nan_to_num(rows.matrix(), nan=-1)}
    for rows in shared_rows(shared.under("model/model"), world.facts).values():
        assert not any(bytes(row) in real for row in np.nan_to_num(rows.matrix(), nan=-1))


def test_the_generator_is_learned_from_the_rows_of_the_last_round(world, shared):
    rows = joined(list(shared_rows(shared.under("model/model"), world.facts).values()))
    found = Sharing(plan=PLAN, judge=lenient).result(world.generator, shared)
    assert found.digest == fit_by_sums(world.generator, [rows]).digest


def test_own_rows_that_come_back_are_not_received(world, sites):
    """A site alone in the open learns in the second round what it learned in the first."""
    seen = []

    class Spy(type(world.generator)):
        def answer(self, state, rows):
            seen.append(len(rows))
            return super().answer(state, rows)

    only = {"a": sites["a"], "c": sites["c"]}
    run(Sharing(plan=PLAN, judge=lenient), Spy(facts=world.facts), only)
    assert set(seen) == {480, 160, 40}  # c also learns from 4 x 40 of a's 480 rows, a never from its own


def test_a_networks_rows_are_the_pool(world, tiny, shared):
    found = Sharing(plan=PLAN, judge=lenient).result(tiny, shared)
    assert found["pool/values"].shape == (920, len(world.facts.names))


def test_whose_rows_are_refused_stays_with_its_last_ones_and_can_never_share_a_copy(world, sites):
    """The first verdict of each site is a pass, the others are refusals."""
    asked = []

    def once(training, reserve, table, **rest):
        asked.append(len(table))
        passed = lenient(training, reserve, table, **rest)
        return passed if asked.count(len(table)) == 1 else GateVerdict(subject=passed.subject, passed=False)

    first, _ = run(Sharing(plan=FederationPlan(rounds=1), judge=lenient), world.generator, sites)
    both, _ = run(Sharing(plan=PLAN, judge=once), world.generator, sites)
    assert both.under("model/model/rows").digest == first.under("model/model/rows").digest

    class Copier(type(world.generator)):
        def sample(self, state, n, *, rng):
            return sites["a"][0]

    with pytest.raises(TrainingFailed, match="no site's rows passed its gate"):
        run(Sharing(plan=PLAN), Copier(facts=world.facts), {"a": sites["a"], "c": sites["c"]})


def learner(world):
    return RowSharing(generator=world.generator, rounds=1, attack_risk_max=0.05)


def test_rows_without_a_verdict_of_their_own_are_refused(world):
    table, other = (world.synthetic.take(np.arange(k, k + 50)) for k in (0, 50))
    seal = GateVerdict(subject=rows_digest(other), passed=True).seal()
    assert learner(world).refused(packed_rows(table, size=60) | seal) == "its verdict was given to another table"
    good = GateVerdict(subject=rows_digest(table), passed=True).seal()
    assert learner(world).refused(packed_rows(table, size=60) | good) == ""
    nothing = packed_rows(table.take(np.zeros(0, dtype=int)), size=60)
    assert learner(world).refused(nothing) == ""
    assert "agreed shape" in learner(world).refused(Parameters({"n": np.ones(1), "values": np.ones(1)}))


@pytest.mark.parametrize(
    ("column", "value"), [("TP53", 7.0), ("TP53", 0.5), ("karyotype_risk", -3.0), ("died", 2.0), ("os_years", -1.0),
                          ("os_years", np.nan), ("age", 1e300)])  # fmt: skip
def test_rows_that_would_stop_who_receives_them_are_refused(world, column, value):
    table = world.synthetic.take(np.arange(50))
    changed = table[column].copy()
    changed[3] = value
    lie = table.with_columns({column: changed})
    seal = GateVerdict(subject=rows_digest(lie), passed=True).seal()
    assert f"column '{column}' cannot have" in learner(world).refused(packed_rows(lie, size=60) | seal)


def test_a_number_of_rows_is_one_whole_number(world):
    assert learner(world).refused(Parameters({"n": np.array([5])})) == ""
    assert "one whole number" in learner(world).refused(Parameters({"n": np.array([], dtype=np.int64)}))
    assert "one whole number" in learner(world).refused(Parameters({"n": np.array([5.5])}))


def test_when_nobody_may_share_the_run_says_so(world):
    one = learner(world)
    start = one.initial(None, rng=None)
    with pytest.raises(TrainingFailed, match="no site may share"):
        one.advance(start, Parameters({"0/n": np.zeros(1, dtype=np.int64)}))
    opened = one.advance(start, Parameters({"0/n": np.array([9]), "1/n": np.array([0])}))
    with pytest.raises(TrainingFailed, match="no site's rows passed"):
        one.advance(opened, Parameters({"0/n": np.zeros(1, dtype=np.int64)}))
    with pytest.raises(UsageError):
        one.predict(start, None)


def test_a_site_that_missed_the_sizes_gives_nothing_and_goes_on(world, sites):
    """Its place may lie behind all that were counted."""
    one = learner(world)
    opened = one.advance(one.initial(None, rng=None), Parameters({"0/n": np.array([60])}))
    handed = Parameters({"own": np.array([2, 1])}) | opened.prefixed("state")
    examples = with_reserve(examples_of(sites["a"][0]), examples_of(sites["a"][1]))
    told = one.fit(handed, examples, instructions=None, rng=np.random.default_rng(0))
    assert told.parameters["sent/n"].tolist() == [0]
