import numpy as np
import pytest

from cohortium.synth.validation.anchors import shuffled
from cohortium.synth.validation.fidelity import (
    classic_pair,
    clinical_parts,
    co_occurrence,
    edges_and_tau,
    genomic_parts,
    mean_of,
)


def test_a_table_against_itself_is_perfect_but_for_telling_apart(world):
    edges, tau = edges_and_tau(world.training)
    parts = clinical_parts(world.training, world.training, edges=edges, tau=tau, seed=0)
    assert parts["marginals"] == parts["dependence"] == parts["survival"] == 1.0
    assert set(genomic_parts(world.training, world.training).values()) == {1.0}


def test_shuffling_destroys_dependence_and_the_classic_pair_does_not_see_it(world):
    mixed = shuffled(world.training, np.random.default_rng(0))
    edges, tau = edges_and_tau(world.training)
    parts = clinical_parts(world.reserve, mixed, edges=edges, tau=tau, seed=0)
    assert parts["dependence"] < 0.2
    assert genomic_parts(world.reserve, mixed)["pairs"] < 0.25
    assert classic_pair(world.training, mixed)[0] > 0.93


def test_signs_of_pairs_by_hand():
    together = np.repeat([[1, 1], [0, 0], [1, 0], [0, 1]], [60, 60, 5, 5], axis=0).astype(float)
    apart = 1 - together * [[0, 1]] - np.array([[1, 0]]) * 0
    apart = np.column_stack([together[:, 0], 1 - together[:, 1]])
    assert co_occurrence(together, together)["kept"] == 1.0
    assert co_occurrence(together, apart)["kept"] == 0.0
    assert co_occurrence(together, apart)["false"] == 1.0
    assert np.isnan(co_occurrence(together, apart)["apart"])


def test_without_genes_the_genomic_score_says_so(world):
    from dataclasses import replace

    from cohortium.synth.facts import Facts
    from cohortium.synth.rows import Rows

    facts = Facts(columns=tuple(replace(fact, group="clinical") if fact.group == "gene" else fact
                                for fact in world.facts.columns))  # fmt: skip
    rows = Rows(facts, {name: world.training[name] for name in facts.names})
    assert np.isnan(mean_of(genomic_parts(rows, rows)))


def test_the_score_is_the_mean_of_the_parts_there_are():
    assert mean_of({"a": 0.5, "b": float("nan"), "c": 1.0}) == pytest.approx(0.75)
