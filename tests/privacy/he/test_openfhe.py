"""CKKS by OpenFHE: exact sums, all keys or none, and noise as wide as promised. Skips where it cannot be imported."""

import numpy as np
import pytest

from cohortium.errors import PeerError
from cohortium.privacy.he.guard import CkksGuard

SEED = b"s" * 32


@pytest.fixture(scope="module")
def keys(openfhe):
    """Five keys and their joint one."""
    made = [openfhe.share(SEED) for _ in range(5)]
    return [secret for secret, _ in made], openfhe.add([public for _, public in made])


def summed(scheme, joint, vectors):
    return scheme.add([scheme.encrypt(SEED, joint, one) for one in vectors])


@pytest.mark.parametrize("bits", [20, 30, 44])
def test_sums_are_exact_up_to_the_largest_that_may_be(openfhe, keys, bits):
    secrets, joint = keys
    rng = np.random.default_rng(bits)
    vectors = [rng.integers(-(2**bits) // 5, 2**bits // 5, size=5000).astype(float) for _ in secrets]
    total = summed(openfhe, joint, vectors)
    assert total.shape == (2, 2, 2, 8192)
    opened = openfhe.opened(total, [openfhe.partial(secret, total) for secret in secrets])
    assert np.array_equal(opened[:5000], sum(vectors))
    assert not opened[5000:].any()


def test_all_keys_but_one_open_nothing(openfhe, keys):
    secrets, joint = keys
    total = summed(openfhe, joint, [np.arange(4096.0)] * 5)
    parts = [openfhe.partial(secret, total) for secret in secrets]
    for left_out in range(5):
        with pytest.raises(PeerError, match="the parts do not open the sum"):
            openfhe.opened(total, parts[:left_out] + parts[left_out + 1 :])
    stranger, _ = openfhe.share(SEED)
    with pytest.raises(PeerError, match="the parts do not open the sum"):
        openfhe.opened(total, [*parts[:4], openfhe.partial(stranger, total)])


def test_a_single_ciphertext_does_not_open_by_its_owners_key(openfhe, keys):
    secrets, joint = keys
    one = openfhe.encrypt(SEED, joint, np.arange(4096.0))
    with pytest.raises(PeerError, match="the parts do not open the sum"):
        openfhe.opened(one, [openfhe.partial(secrets[0], one)])


def test_the_flood_is_as_wide_as_promised_and_not_the_librarys_own(openfhe, keys, monkeypatch):
    """2^38 in a coefficient is 2^44 in the real part of a value, 2^-15 of a step, for each of five keys."""
    secrets, joint = keys
    total = summed(openfhe, joint, [np.zeros(4096)] * 5)
    parts = [openfhe.partial(secret, total) for secret in secrets]
    monkeypatch.setattr(np, "rint", lambda values: values)
    noise = openfhe.opened(total, parts)
    promised = 2.0**-15 * np.sqrt(5)
    assert 0.9 * promised < np.std(noise) < 2 * promised  # the library adds as much again when it decodes
    assert 2.0**-33 * np.sqrt(5) < 0.001 * np.std(noise)


def test_a_second_flood_is_another_one(openfhe, keys):
    secrets, joint = keys
    total = summed(openfhe, joint, [np.zeros(4096)] * 5)
    assert not np.array_equal(openfhe.partial(secrets[0], total), openfhe.partial(secrets[0], total))


def test_the_common_polynomial_is_one_for_all_and_uniform_below_its_primes(openfhe):
    one, again, other = openfhe._common(b"a"), openfhe._common(b"a"), openfhe._common(b"b")
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    share = one / openfhe.primes.astype(float)
    assert np.all(one < openfhe.primes)
    assert share.mean(axis=1) == pytest.approx([0.5, 0.5], abs=0.02)


@pytest.mark.parametrize("n", [3, 5])
def test_a_round_of_guards_opens_the_exact_sum(openfhe, encrypted, n):
    world = encrypted(n, scheme=openfhe, floats=5000).run()
    opened = world.open()
    assert np.array_equal(opened.total["counts"], world.total("counts"))
    assert world.open(world.sites[-1]).total.digest == opened.total.digest


def test_a_key_survives_a_restart(openfhe, encrypted):
    world = encrypted(3, scheme=openfhe).run("promises", "publics", "ciphertexts")
    memory = world.guards["site-02"].memory()
    world.guards["site-02"] = CkksGuard("site-02", scheme=openfhe)
    world.guards["site-02"].restore(memory)
    assert np.array_equal(world.run("partials").open().total["counts"], world.total("counts"))
