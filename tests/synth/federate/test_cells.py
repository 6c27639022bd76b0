import pytest

from cohortium.synth.federate import FEDERATIONS
from cohortium.synth.federate.cells import SINGLE, cell_refused, federations_of, refused_under_masks


@pytest.mark.parametrize(
    ("generator", "learns_by", "federation", "said"),
    [
        ("vae_bgm", "weights", "exact", "trains a network; choose fedavg, sharing, similarity, ensemble or cyclic"),
        ("bn", "sums", "fedavg", "generator 'bn' learns by sums; choose exact, sharing, similarity or ensemble"),
        ("bn", "sums", "cyclic", "hands on weights of a network"),
        ("marginal_dp", "sums", "similarity", "adds the noise of one budget to one set of sums"),
        ("marginal_dp", "sums", "sharing", "choose exact"),
        ("marginal_dp", "sums", "ensemble", "leave it out; choose exact"),  # single-site models are fitted without it
        ("bn", "sums", "isolated", "is a reference for simulations, no swarm learns by it"),
        ("ctgan", "weights", "central", "synth bench --settings central"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(generator, learns_by, federation, said):
    assert said in cell_refused(generator, learns_by, federation)


def test_every_other_cell_is_open():
    for generator, learns_by in (("bn", "sums"), ("copula", "sums"), ("vae_bgm", "weights"), ("marginal_dp", "sums")):
        able = federations_of(generator, learns_by)
        assert set(able) <= set(FEDERATIONS)
        assert [one for one in FEDERATIONS if not cell_refused(generator, learns_by, one)] == sorted(able)


def test_what_needs_single_contributions_says_what_masks_would_hide():
    assert set(SINGLE) == {"sharing", "ensemble", "cyclic"}
    said = refused_under_masks("ensemble", "sums", by_default=True)
    assert said.startswith("federation 'ensemble' shows single-site models, but secure aggregation is on by default")
    assert "choose 'exact', or say" in said
    assert "choose 'fedavg', or say" in refused_under_masks("cyclic", "weights", by_default=False)


@pytest.mark.parametrize("federation", sorted({*FEDERATIONS} - {"fedavg", "central", "isolated"}))
def test_a_private_network_is_sent_to_fedavg_and_nowhere_else(federation):
    said = cell_refused("ctgan", "weights", federation, private=True)
    assert said.endswith("; under [privacy.dp] choose fedavg")
    assert said.startswith(
        "federation 'exact' adds up sums" if federation == "exact" else f"federation '{federation}' shows"
    )
    assert not cell_refused("ctgan", "weights", "fedavg", private=True)
