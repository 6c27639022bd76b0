import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")

from tests.synth.federate.test_private_network import ranged

from cohortium.errors import DataError
from cohortium.synth.federate import private_network
from cohortium.synth.federate.private_reference import fit_network_privately
from cohortium.synth.generators.ctgan import Ctgan
from cohortium.synth.generators.vae_bgm import VaeBgm


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made_of", "options"),
    [(VaeBgm, {"latent": 4, "warm_epochs": 2}), (Ctgan, {"noise": 8, "critic_hidden": 16, "private_warm_steps": 20})],
)
def test_the_loop_without_a_swarm_ends_with_a_generator(world, monkeypatch, made_of, options):
    monkeypatch.setattr(private_network, "LEAST_DRAWN", 1500)
    sites = ranged(world.training)
    generator = made_of(facts=sites[0].facts, hidden=16, private_steps=6, **options)
    made = fit_network_privately(
        generator, sites, epsilon=2.0, delta=1e-5, entropy=np.random.default_rng(0).bytes,
        rng=np.random.default_rng(0), mode="local", rounds=2,
    )  # fmt: skip
    assert len(generator.sample(made, 30, rng=np.random.default_rng(0))) == 30


def test_nobody_is_refused():
    with pytest.raises(DataError, match="no patient"):
        fit_network_privately(None, [], epsilon=2.0, delta=1e-5, entropy=bytes, rng=np.random.default_rng(0))
