from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate.exact import Exact
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.rows import joined, rows_of_examples

from .conftest import examples_of, run


def test_the_round_machine_learns_the_pooled_generator(world, sites):
    federation = Exact(plan=FederationPlan())
    state, _ = run(federation, world.generator, sites)
    seen = [rows_of_examples(examples_of(rows), world.facts) for rows, _ in sites.values()]
    pooled = joined(seen)
    assert federation.result(world.generator, state).digest == fit_by_sums(world.generator, [pooled]).digest
