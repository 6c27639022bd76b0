"""Attack 17: send NaN, 10^9, a wrong length, layout or byte order, or a weight above the largest."""

import numpy as np
import pytest

from cohortium.core.frames import pack, parameters_of
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import FrameError, PeerError, TrainingFailed

BAD = "site-01"


def with_values(world, *values):
    arrays = world.updates[BAD].parameters
    w = np.array(arrays["w"])
    w[: len(values)] = values
    world.updates[BAD] = Update(site=BAD, parameters=Parameters({"w": w}), weight=1)
    return world


def weak_codec(values, *, scale, limit):
    """Weak: cuts to a range and casts, as fixed-point code often does."""
    with np.errstate(invalid="ignore"):
        return np.rint(np.clip(values, -limit, limit) * scale).astype(np.int64).astype(np.uint32)


def test_a_codec_that_cuts_and_casts_says_nothing_and_sums_nonsense() -> None:
    honest = np.array([0.5, 0.5, 0.5])
    sent = [weak_codec(v, scale=2**20, limit=1.0) for v in (honest, np.array([np.nan, 1e9, 3.0]))]
    mean = (sent[0] + sent[1]).view(np.int32) / 2**20 / 2
    assert mean.tolist() != [np.nan, 5e8, 1.75]  # 10^9 and a true coefficient of 3 became 1, NaN became a number
    assert np.isfinite(mean).all()


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "is not finite"), (np.inf, "is not finite"), (1e9, "exceeds 2\\^16")]
)
def test_ours_refuses_values_at_the_site_before_anything_is_sent(world, value, words) -> None:
    with pytest.raises(TrainingFailed, match=rf"site '{BAD}': array 'w' {words}") as refused:
        with_values(world(), value).ask(BAD, "keys")
    assert "1000000000" not in str(refused.value)


def test_ours_refuses_a_weight_above_the_largest_and_one_of_none(privacy) -> None:
    hidden = privacy.Masked(3, integers=0, weights=[1, 5000, 1], largest_weight=4096)
    with pytest.raises(TrainingFailed, match=r"above the study's privacy.largest_weight"):
        hidden.ask(BAD, "keys")
    for weight in (0, -1, (1 << 29) + 1):
        with pytest.raises(ValueError, match="weight"):
            Update(site=BAD, parameters=Parameters(), weight=weight)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w[:-1],
        lambda w: w.astype(np.uint64),
        lambda w: w.view(np.uint16),
        lambda w: w.reshape(2, -1),
    ],
)
def test_ours_refuses_vectors_of_another_length_word_or_shape_by_name(world, change) -> None:
    ours = world().run()
    words = np.asarray(ours.received["masked"][BAD]["floats"])
    seen = ours.received["masked"][BAD]["seen"]
    ours.received["masked"][BAD] = Parameters({"floats": change(words), "seen": seen})
    with pytest.raises(FrameError, match=f"masked vector of site '{BAD}' is not of the agreed layout") as refused:
        ours.open()
    assert refused.value.site == BAD


def test_other_byte_order_cannot_be_said_and_swapped_words_do_not_cancel(world) -> None:
    ours = world().run()
    words = np.asarray(ours.received["masked"][BAD]["floats"])
    big = pack(Parameters({"floats": words.astype(">u4")}))
    assert parameters_of(big)[0]["floats"].dtype == np.dtype("<u4")
    ours.received["masked"][BAD] |= Parameters({"floats": words.byteswap()})
    with pytest.raises(PeerError, match="did not cancel"):
        ours.open()


def test_an_announced_range_outside_of_the_limits_is_refused_by_name(world) -> None:
    ours = world().run("keys")
    ours.received["keys"][BAD] |= Parameters({"exponents": np.array([100], np.int8)})
    with pytest.raises(FrameError, match=f"'{BAD}' announces a range outside of 2\\^-8 to 2\\^16"):
        ours.ask("site-00", "shares")
