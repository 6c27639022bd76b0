from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.privacy.secagg.shamir import PRIME, combine, deal


@given(value=st.integers(0, PRIME - 1), seed=st.binary(min_size=32, max_size=32), data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_threshold_of_shares_gives_the_secret(value, seed, data) -> None:
    n = data.draw(st.integers(1, 20))
    threshold = data.draw(st.integers(1, n))
    shares = deal(value.to_bytes(32, "little"), seed=seed, threshold=threshold, n=n)
    holders = data.draw(st.permutations(range(1, n + 1)))[:threshold]
    assert combine({x: shares[x - 1] for x in holders}, n_bytes=32) == value.to_bytes(32, "little")


def test_known_polynomial_is_opened_by_hand() -> None:
    # f(x) = 1234 + 166 x + 94 x^2, the example of Shamir's scheme: f(1..5)
    values = {1: 1494, 2: 1942, 3: 2578, 4: 3402, 5: 4414}
    for chosen in combinations(values, 3):
        shares = {x: values[x].to_bytes(32, "little") for x in chosen}
        assert combine(shares, n_bytes=32) == (1234).to_bytes(32, "little")
    two = {x: values[x].to_bytes(32, "little") for x in (2, 4)}
    assert combine(two, n_bytes=32) != (1234).to_bytes(32, "little")


def test_dealing_repeats_from_its_seed_and_another_seed_gives_other_shares() -> None:
    secret = (7).to_bytes(31, "little")
    first = deal(secret, seed=b"a", threshold=3, n=5)
    assert deal(secret, seed=b"a", threshold=3, n=5) == first
    assert not set(deal(secret, seed=b"b", threshold=3, n=5)) & set(first)


def test_shares_below_the_threshold_fit_every_secret_alike() -> None:
    # with t - 1 shares fixed, each candidate secret is met by exactly one value of the missing share
    shares = deal((5).to_bytes(32, "little"), seed=b"s", threshold=3, n=4)
    for claimed in (0, 1, PRIME - 1):
        known = {x: int.from_bytes(shares[x - 1], "little") for x in (1, 2)}
        # f(3) that makes f(0) = claimed: f(0) = 3 f(1) - 3 f(2) + f(3) for degree 2
        missing = (claimed - 3 * known[1] + 3 * known[2]) % PRIME
        opened = combine({1: shares[0], 2: shares[1], 3: missing.to_bytes(32, "little")}, n_bytes=32)
        assert opened == claimed.to_bytes(32, "little")


def test_a_secret_too_long_for_its_kind_is_none() -> None:
    shares = deal((1 << 250).to_bytes(32, "little"), seed=b"s", threshold=1, n=1)
    assert combine({1: shares[0]}, n_bytes=31) is None


def test_secret_above_the_prime_and_impossible_thresholds_are_refused() -> None:
    with pytest.raises(ValueError, match="below 2"):
        deal(PRIME.to_bytes(32, "little"), seed=b"", threshold=1, n=1)
    for threshold in (0, 4):
        with pytest.raises(ValueError, match="threshold must be 1 to 3"):
            deal(bytes(32), seed=b"", threshold=threshold, n=3)
