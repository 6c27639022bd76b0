import numpy as np
import pytest

from cohortium.core.examples import Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Turn
from cohortium.errors import UsageError
from cohortium.strategies.fedavg import FedAvg
from cohortium.synth.federate.network_stages import Closing, NetworkWeights, Travelling


def test_before_the_foundation_is_known_weights_and_closing_are_empty(tiny):
    layout, rng = Layout(features=("age",), outcome="survival"), np.random.default_rng(0)
    assert list(NetworkWeights(generator=tiny, trainings=1).initial(layout, rng=rng)) == ["age"]
    closing = Closing(generator=tiny)
    assert list(closing.initial(layout, rng=rng)) == ["empty"]
    for learner in (closing, NetworkWeights(generator=tiny, trainings=1)):
        with pytest.raises(UsageError):
            learner.predict(Parameters(), None)


def test_what_a_site_remembers_is_handed_in_and_never_sent():
    merge = Travelling(inner=FedAvg())
    start = Parameters({"w": np.zeros(2, dtype=np.float32)})
    turn = Turn(round=0, sites=("a", "b"), start=start, site="a", memory=Parameters({"moments/m": np.ones(1)}))
    (asked,) = merge.instruct(turn)
    assert list(asked.start) == ["shared/w", "memory/moments/m"]
    trained = Parameters({"shared/w": np.ones(2, dtype=np.float32), "memory/moments/m": np.full(1, 5.0)})
    update = merge.conclude(turn, (Fitted(parameters=trained, n_samples=7),))
    assert list(update.parameters) == ["w"]
    assert update.weight == 7
    assert update.memory["moments/m"].tolist() == [5.0]
    assert merge.sums
