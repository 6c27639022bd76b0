"""Streams repeat by name; secrets come from the system unless a simulation says otherwise."""

import numpy as np

from cohortium.core.randomness import Chance


def test_the_same_names_give_the_same_stream_and_others_another():
    one, same, other = (Chance(3).stream(*names).random(4) for names in (("a", 1), ("a", 1), ("a", 2)))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_another_seed_gives_another_stream():
    assert Chance(1).stream("a").random() != Chance(2).stream("a").random()


def test_names_cannot_be_shifted_into_each_other():
    assert Chance(0).stream("ab", "c").random() != Chance(0).stream("a", "bc").random()


def test_secrets_come_from_the_system_by_default_and_never_repeat():
    chance = Chance(0)
    assert chance.source == "operating system"
    assert chance.secret(32, "key") != chance.secret(32, "key")


def test_simulated_secrets_repeat_and_say_so():
    chance = Chance(0, secrets_from_system=False)
    assert chance.secret(32, "key") == chance.secret(32, "key")
    assert chance.secret(32, "key") != Chance(1, secrets_from_system=False).secret(32, "key")
    assert "simulation" in chance.source
