import numpy as np
from scipy import stats

from cohortium.privacy.secagg.dither import PERIOD, dither_of, repeated, total_dither


def test_dither_is_spread_evenly_over_a_step_without_its_ends() -> None:
    found = dither_of("porto", header=b"h" * 32)
    assert found.shape == (PERIOD,)
    assert found.dtype == np.float32
    assert np.abs(found).max() == 255 / 512
    assert set((found * 512).astype(int) % 2) == {1}
    assert stats.chisquare(np.bincount((found * 256 + 127.5).astype(int), minlength=256)).pvalue > 1e-4


def test_everybody_has_the_same_dither_and_each_site_and_header_its_own() -> None:
    one = dither_of("porto", header=b"h" * 32)
    assert np.array_equal(one, dither_of("porto", header=b"h" * 32))
    for other in (dither_of("lund", header=b"h" * 32), dither_of("porto", header=b"i" * 32)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(PERIOD)


def test_total_is_the_sum_and_repeats_with_its_period() -> None:
    sites = ["bonn", "lund", "porto"]
    total = total_dither(sites, header=b"h" * 32)
    assert np.array_equal(total, sum(dither_of(s, header=b"h" * 32).astype(float) for s in sites))
    long = repeated(total, 1000)
    assert np.array_equal(long[PERIOD:], total[:1000])
    assert len(long) == PERIOD + 1000
