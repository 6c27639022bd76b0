"""What an audit leaves to be checked by a person of the site: what it has committed of its records."""

import json

import numpy as np
import pytest

from cohortium.node.committed import review, scores_of
from cohortium.quality.decide import Rules
from cohortium.quality.pool import as_examples, pool_of
from cohortium.quality.proof import drawing_of
from cohortium.quality.stages import Auditor, AuditPlan

LOT = bytes(range(32))
SITES = tuple("abcdefgh")


def records(seed, n=20):
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 2).astype(float)
    return as_examples((rng.normal(size=(n, 2)) + np.outer(y, [2.0, 0.0]), y))


@pytest.fixture(scope="module", params=[False, True])
def ended(request):
    auditor = Auditor(plan=AuditPlan(sites=SITES, halves=6, passes=1, masked=request.param), secret=b"k" * 32)
    pool = pool_of({at: records(at) for at in range(len(SITES))})
    state = auditor.initial(LOT)
    while not auditor.finished(state):
        state = auditor.advance(state, auditor.answer(state, pool))
    held = {**json.loads(auditor.table(state, Rules()).canonical()), **drawing_of(auditor, state)}
    held["evidence"] = [vars(one) for one in auditor.evidence(state)]
    return auditor, state, held


def scores(ended, at):
    auditor, state, _ = ended
    return json.loads(scores_of(auditor, state, pool_of({at: records(at)}), rows=range(1, 21)))


def test_a_site_without_others_finds_its_own_scores_committed_and_its_evidence_in_them(ended):
    for at, site in enumerate(SITES):
        found = review(scores(ended, at), ended[2], site=site, n=3)
        assert (found.root, found.row, len(found.sample)) == (True, True, 3)


def test_a_changed_score_label_salt_or_row_is_seen(ended):
    held = ended[2]
    for name, value in (("score", 9.0), ("label", 1), ("salt", "00")):
        told = scores(ended, 0)
        told["records"][0][name] = value
        assert not review(told, held, site="a", n=0).root
    row = {**held, "evidence": [{**one, "contradicted": one["contradicted"] + 1} for one in held["evidence"]]}
    assert review(scores(ended, 0), row, site="a", n=0).row is False
    silent = {**held, "status": "inconclusive"}
    assert review(scores(ended, 0), silent, site="a", n=0).row is None


def test_the_sample_is_drawn_by_the_seed_and_never_larger_than_the_site(ended):
    found = review(scores(ended, 0), ended[2], site="a", n=99).sample
    assert [one["row"] for one in found] == list(range(1, 21))
    assert set(found[0]) == {"row", "label", "score"}
