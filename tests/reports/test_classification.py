import numpy as np
import pytest
from sklearn import metrics

from cohortium.reports import classification as c

RNG = np.random.default_rng(1)
Y = (RNG.random(200) < 0.3).astype(float)
P = np.clip(0.3 + 0.2 * (Y - 0.3) + 0.2 * RNG.normal(size=200), 0, 1)


def test_counts_and_shares_equal_scikit_learn():
    found = c.confusion(Y, P, threshold=0.35).measures()
    called = P >= 0.35
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(Y, called))
    assert found["sensitivity"].value == pytest.approx(metrics.recall_score(Y, called))
    assert found["specificity"].value == pytest.approx(metrics.recall_score(1 - Y, ~called))
    assert found["ppv"].value == pytest.approx(metrics.precision_score(Y, called))
    assert found["npv"].value == pytest.approx(metrics.precision_score(1 - Y, ~called))
    assert found["f1"].value == pytest.approx(metrics.f1_score(Y, called))


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_newcombes_published_table(k, n, low, high):
    """Newcombe 1998, Statistics in Medicine 17, table I, method 3."""
    assert c.wilson(k, n) == pytest.approx((low, high), abs=5e-5)


def test_share_of_nobody_is_not_available():
    assert c.share(0, 0).value is None
    assert c.wilson(0, 0) is None
    assert c.confusion(np.zeros(3), np.zeros(3)).measures()["f1"].value is None


def test_each_row_may_have_its_sites_own_threshold():
    counts = c.confusion(np.array([1.0, 1.0]), np.array([0.4, 0.4]), threshold=np.array([0.3, 0.5]))
    assert (counts.tp, counts.fn) == (1, 1)


def test_net_benefit_by_hand():
    """10 patients, 3 true and 2 false positives at 0.2: 3/10 - 2/10 x 0.25 = 0.25."""
    y = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 1.0])
    p = np.array([0.9, 0.8, 0.3, 0.4, 0.2, 0.1, 0.1, 0.0, 0.1, 0.1])
    assert c.net_benefit(y, p, threshold=0.2) == pytest.approx(0.25)
    assert np.isnan(c.net_benefit(np.zeros(0), np.zeros(0), threshold=0.2))
    with pytest.raises(ValueError, match="threshold must lie in"):
        c.net_benefit(y, p, threshold=1.0)


def test_predictive_values_at_a_stated_prevalence():
    """Sensitivity .9, specificity .8 at 10 %: PPV .09/.27, NPV .72/.73."""
    assert c.predictive_values(0.9, 0.8, prevalence=0.1) == pytest.approx((1 / 3, 0.72 / 0.73))
    assert np.isnan(c.predictive_values(0.0, 1.0, prevalence=0.0)[0])
    with pytest.raises(ValueError, match="prevalence"):
        c.predictive_values(0.9, 0.8, prevalence=1.2)


def test_wilson_covers_95_percent_over_2000_simulations():
    draws = np.random.default_rng(2).binomial(100, 0.8, size=2000)
    hits = [low <= 0.8 <= high for low, high in (c.wilson(int(k), 100) for k in draws)]
    assert 0.93 <= np.mean(hits) <= 0.97
