"""Attack 21: the keys of threshold encryption - a rogue last key, a key used twice, one opening too many, a giant
ciphertext.

The guard is ours throughout; the arithmetic under it is a scheme in plain sight, so that this runs without OpenFHE, and
the rogue key is tried against OpenFHE too where it can be imported. Weak variants: shares of the key shown without a
promise, a guard that answers as often as it is asked, a reader that takes whatever size comes.
"""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError, PeerError
from cohortium.privacy.he import guard as ours

ROGUE, VICTIM = "site-04", "site-00"


def rogue(world):
    """The last site waits for the others' shares, then shows its own key less theirs: the joint key is its own."""
    mine = world.received["publics"][ROGUE]["public"]
    prime = world.scheme.primes.astype(object)
    others = [world.received["publics"][site]["public"] for site in world.sites if site != ROGUE]
    forged = (mine.astype(object) - world.scheme.add(others).astype(object)) % prime
    return world.change("publics", ROGUE, public=forged.astype(np.uint64))


def opened_alone(world):
    """The victim's ciphertext opened by the rogue's key and no other."""
    values = world.received["ciphertexts"][VICTIM]["values"]
    secret = world.guards[ROGUE]._kept[1, 1, 1].secret
    return world.scheme.opened(values, [world.scheme.partial(secret, values)])


@pytest.fixture(params=["glass", "openfhe"])
def scheme(request):
    return request.getfixturevalue("openfhe") if request.param == "openfhe" else None


def test_a_rogue_last_key_reads_everybody_where_nothing_was_promised(encrypted, scheme, monkeypatch) -> None:
    monkeypatch.setattr(ours, "_promise", lambda *named: b"p" * 32)  # weak: any share fits
    weak = rogue(encrypted(5, scheme=scheme, floats=0).run("promises", "publics"))
    weak.run("ciphertexts")
    assert np.array_equal(opened_alone(weak)[:6], weak.updates[VICTIM].parameters["counts"])


def test_a_rogue_last_key_is_not_what_was_promised(encrypted, scheme) -> None:
    world = rogue(encrypted(5, scheme=scheme, floats=0).run("promises", "publics"))
    for site in world.sites[:-1]:
        with pytest.raises(PeerError, match="'site-04' shows another share of the key than it promised") as named:
            world.ask(site, "ciphertexts")
        assert named.value.site == ROGUE


class Obliging(ours.CkksGuard):
    """Weak: one key for every attempt, and it opens whatever it is asked to, as often as it is asked."""

    def _begin(self, binding):
        made = next(iter(self._kept.values()), None) or super()._begin(binding)
        self._kept[ours._attempt(binding.context)] = made
        return made

    def _known(self, binding):
        return next(iter(self._kept.values()))

    def opens(self, total):
        return self._scheme.partial(next(iter(self._kept.values())).secret, total)


def test_a_key_that_opens_twice_gives_a_single_update_away(encrypted) -> None:
    weak = encrypted(5, floats=0, guard=Obliging).run("promises", "publics", "ciphertexts")
    values = [weak.received["ciphertexts"][site]["values"] for site in weak.sites]
    whole, without = (
        weak.scheme.opened(total, [guard.opens(total) for guard in weak.guards.values()])
        for total in (weak.scheme.add(values), weak.scheme.add(values[1:]))
    )
    assert np.array_equal((whole - without)[:6], weak.updates[VICTIM].parameters["counts"])


def test_ours_opens_one_sum_with_a_key_and_that_of_all(encrypted) -> None:
    world = encrypted(5, floats=0).run()
    asked = {**world.received, "survivors": dict.fromkeys(world.sites[1:], Parameters())}
    for site in world.sites[1:]:
        world.guards[site]._given.clear()  # as after a restart
        with pytest.raises(PeerError, match="every key opens one sum"):
            world.ask(site, "partials")
        with pytest.raises(PeerError, match="all sites or none; missing: site-00"):
            world.ask(site, "partials", received=asked)
        with pytest.raises(PeerError, match="round 1 was opened in attempt 1; attempt 2 is refused"):
            world.ask(site, "promises", attempt=2, frozen=tuple(world.sites[1:]))


def test_no_run_round_or_attempt_has_the_key_of_another(encrypted) -> None:
    world = encrypted(5, floats=0)
    asked = [{"run": run, "round": round} for run in (1, 2) for round in (1, 2, 3)]
    promises = {world.ask("site-01", "promises", **one)["promise"].tobytes() for one in asked}
    assert len(promises) == len(asked)
    weak = encrypted(5, floats=0, guard=Obliging)
    weak.ask("site-01", "promises")
    assert weak.guards["site-01"]._kept[1, 1, 1] is weak.guards["site-01"]._known(None), "the weak one keeps its key"


def test_a_hundred_and_first_opening_is_what_a_first_is_already_too_many(encrypted) -> None:
    """The design counts to a hundred openings; ours to one: 101 rounds take 101 keys."""
    world, kept = encrypted(3, floats=0, integers=1), set()
    for round in range(1, 102):
        world.run(round=round)
        held = world.guards["site-01"].memory()
        assert len(held[f"1/{round}/1/secret"]) == 0, "gone once it was used"
        assert {name.split("/")[1] for name in held} == {str(round)}
        kept.add(held[f"1/{round}/1/public"].tobytes())
    assert len(kept) == 101


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda values: np.concatenate([values] * 50), "not of the agreed size"),
        (lambda values: values[:0], "not of the agreed size"),
        (lambda values: values.astype(np.float64), "not of the agreed size"),
        (lambda values: np.full_like(values, 2**64 - 1), "no polynomials of this scheme"),
    ],
)  # fmt: skip
def test_a_ciphertext_of_another_size_never_reaches_the_library(encrypted, monkeypatch, change, why) -> None:
    world = encrypted(5).run("promises", "publics", "ciphertexts")
    values = world.received["ciphertexts"][ROGUE]["values"]
    world.change("ciphertexts", ROGUE, values=change(values))
    world.received["survivors"] = dict.fromkeys(world.sites, Parameters())
    reached = []
    monkeypatch.setattr(world.scheme, "add", reached.append)
    with pytest.raises(FrameError, match=why) as named:
        world.ask(VICTIM, "partials")
    assert (named.value.site, reached) == (ROGUE, [])


def test_a_reader_without_sizes_hands_whatever_comes_to_the_library(encrypted, monkeypatch) -> None:
    monkeypatch.setattr(ours.CkksGuard, "_polynomials", lambda self, held, site, name, *_, **__: held[site][name])
    weak = encrypted(5).run("promises", "publics", "ciphertexts")
    giant = np.concatenate([weak.received["ciphertexts"][ROGUE]["values"]] * 50)
    weak.change("ciphertexts", ROGUE, values=giant)
    weak.received["survivors"] = dict.fromkeys(weak.sites, Parameters())
    reached = []
    monkeypatch.setattr(weak.scheme, "add", lambda arrays: reached.extend(arrays) or arrays[0])
    weak.ask(VICTIM, "partials")
    assert any(array is giant or array.shape == giant.shape for array in reached)
