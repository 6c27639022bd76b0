"""An audit as a learner by sums: it asks its auditor, for its own site's rows, and predicts nothing."""

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.update import Instructions
from cohortium.quality.agreement import Agreement
from cohortium.quality.learner import Audit
from cohortium.quality.pool import as_examples, pool_of


def test_the_learner_is_the_auditor_with_one_sites_rows(kit):
    sites = {name: as_examples(content) for name, content in kit.consortium(sizes=(30, 20, 20)).items()}
    auditor, names = Agreement().auditor(sites), tuple(sorted(sites))
    own = sites[names[1]]
    learner, rng = Audit(auditor=auditor, sites=names, site=names[1]), np.random.default_rng(0)
    state = learner.initial(own.layout, rng=rng)
    assert state.digest == auditor.initial().digest
    whole = pool_of({at: sites[name] for at, name in enumerate(names)})
    state = learner.advance(state, auditor.answer(state, whole))
    told = learner.fit(state, own, instructions=Instructions(), rng=rng)
    assert told.n_samples == 20
    rows = np.asarray(told.parameters["probes"])
    assert rows[1].any()
    assert not rows[[0, 2]].any()
    gathered = learner.gather(state, {names[1]: Parameters({"probes": rows})})
    np.testing.assert_array_equal(gathered["probes"], rows)
    assert not learner.finished(state)
    assert set(learner.predict(state, own)) == {0.5}
    assert learner.parts(state) == {}
