import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError
from cohortium.privacy.secagg.messages import Answer, Keys, Shares


def test_payloads_come_back_as_they_were(masked) -> None:
    world = masked(4).run()
    binding = world.binding()
    for step, kind in (("keys", Keys), ("shares", Shares), ("unmask", Answer)):
        for site, arrays in world.received[step].items():
            assert kind.from_parameters(arrays, binding, site=site).to_parameters() == arrays


def test_sizes_are_those_of_the_design(masked) -> None:
    world = masked(10).run()
    keys, shares, answer = (world.received[step]["site-03"] for step in ("keys", "shares", "unmask"))
    assert keys.size_bytes == 4 * 32 + 1
    assert shares.size_bytes == 10 * (2 * 32 + 80)
    assert answer.size_bytes == 10 * 33
    assert world.received["masked"]["site-03"].size_bytes == (12 + 8) * 4 + (6 + 8) * 8 + 32


@pytest.mark.parametrize("step", ["keys", "shares", "unmask"])
def test_missing_longer_or_other_arrays_are_refused_by_name(masked, step) -> None:
    world = masked(4).run()
    kind = {"keys": Keys, "shares": Shares, "unmask": Answer}[step]
    good = world.received[step]["site-01"]
    last = list(good)[-1]
    wrong = [
        good.without([last]),
        good | Parameters({"more": np.zeros(1)}),
        good | Parameters({last: np.asarray(good[last])[:-1]}),
        good | Parameters({last: np.asarray(good[last]).astype(np.int32)}),
        Parameters(),
    ]
    for arrays in wrong:
        with pytest.raises(FrameError, match="site 'site-01' are not of the agreed layout") as refused:
            kind.from_parameters(arrays, world.binding(), site="site-01")
        assert refused.value.site == "site-01"


def test_keys_for_another_base_model_or_attempt_are_named_as_such(masked) -> None:
    world = masked(3).run("keys")
    for change in ({"base": b"other"}, {"attempt": 2}, {"round": 2}, {"run": 2}):
        with pytest.raises(FrameError, match="keys of site 'site-02' are for another attempt, base model or layout"):
            Keys.from_parameters(world.received["keys"]["site-02"], world.binding(**change), site="site-02")


@pytest.mark.parametrize("exponent", [-9, 17, 127, -128])
def test_range_outside_of_the_legal_one_is_refused_by_name(masked, exponent) -> None:
    world = masked(3).run("keys")
    wrong = world.received["keys"]["site-00"] | Parameters({"exponents": np.array([exponent], np.int8)})
    with pytest.raises(FrameError, match="'site-00' announces a range outside of"):
        Keys.from_parameters(wrong, world.binding(), site="site-00")


def test_share_that_is_not_held_travels_as_zeros_and_comes_back_as_none(masked) -> None:
    world = masked(3)
    answer = Answer(shares=(b"s" * 32, None, b"t" * 32))
    arrays = answer.to_parameters()
    assert arrays["held"].tolist() == [1, 0, 1]
    assert Answer.from_parameters(arrays, world.binding(), site="site-00") == answer
