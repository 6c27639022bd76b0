"""Shared suite of transcripts: the independent verifier, and golden vectors that must never change unnoticed."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.privacy.secagg.member import header_of, pair_key
from cohortium.privacy.secagg.messages import Answer, Shares
from cohortium.privacy.secagg.shamir import combine, deal
from cohortium.privacy.secagg.streams import key_stream

HERE = Path(__file__).parents[1]
GOLDEN = HERE / "golden.json"
_spec = importlib.util.spec_from_file_location("verifier", HERE / "verifier.py")
verifier = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(verifier)


def transcript(world, survivors):
    """One masked round as plain JSON."""
    binding = world.binding()
    at = binding.context
    shares = {s: Shares.from_parameters(p, binding, site=s) for s, p in world.received["shares"].items()}
    answers = {s: Answer.from_parameters(p, binding, site=s) for s, p in world.received["unmask"].items()}
    word_bits, hidden, entries = json.loads(binding.layout.to_bytes())
    return {
        "consortium": at.consortium.hex(), "study": at.study.hex(), "base": at.base.hex(),
        "run": at.run, "round": at.round, "attempt": at.attempt, "n_joiners": at.n_joiners,
        "sites": world.sites, "survivors": list(survivors), "layout": [word_bits, hidden, entries],
        "weights": dict(at.weights), "largest_weight": world.largest_weight,
        "keys": {
            s: {name: array.tobytes().hex() for name, array in p.items()} for s, p in world.received["keys"].items()
        },
        "digests": {s: [[one.hex() for one in pair] for pair in shares[s].digests] for s in world.sites},
        "masked": {
            s: {name: array.tobytes().hex() for name, array in p.items() if name != "seen"}
            for s, p in world.received["masked"].items() if s in survivors
        },
        "answers": {s: [one and one.hex() for one in a.shares] for s, a in answers.items()},
    }  # fmt: skip


@pytest.mark.parametrize("word_bits", [16, 32, 64])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_verifier_gets_the_same_digest_from_every_transcript(privacy, word_bits, data) -> None:
    n = data.draw(st.integers(3, 10))
    hidden = data.draw(st.sampled_from([0, 100])) if word_bits > 16 else 0
    world = privacy.Masked(n, floats=data.draw(st.integers(1, 9)), integers=data.draw(st.integers(0, 4)), seed=n,
                           word_bits=word_bits, largest_weight=hidden,
                           weights=data.draw(st.lists(st.integers(1, 100), min_size=n, max_size=n)))  # fmt: skip
    spare = n - max(world.binding().threshold, world.binding().least)
    lost = data.draw(st.permutations(world.sites))[: data.draw(st.integers(0, spare))]
    survivors = [s for s in world.sites if s not in lost]
    world.run(survivors=survivors)
    opened = world.open(survivors=survivors)
    assert verifier.sum_digest(transcript(world, survivors)) == opened.total.digest.hex()


def flips(found, path=()):
    """Every place of a transcript where a hexadecimal digit or a number stands."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from flips(value, (*path, key))
    elif isinstance(found, list):
        for key, value in enumerate(found):
            yield from flips(value, (*path, key))
    elif isinstance(found, int) or (isinstance(found, str) and len(found) >= 16):
        yield path


def test_one_flipped_bit_anywhere_fails_or_gives_another_digest(privacy) -> None:
    world = privacy.Masked(4, floats=3, integers=2, weights=[1, 2, 3, 4])
    survivors = world.sites[:3]
    world.run(survivors=survivors)
    good = transcript(world, survivors)
    expected = verifier.sum_digest(good)
    assert expected == world.open(survivors=survivors).total.digest.hex()
    n_noticed = 0
    for path in flips(good):
        if path[0] in ("layout", "largest_weight") or path[-1] == "seal_key":
            continue  # shape of the document; seal keys do not enter the sum
        bad = json.loads(json.dumps(good))
        place = bad
        for key in path[:-1]:
            place = place[key]
        old = place[path[-1]]
        place[path[-1]] = old ^ 1 if isinstance(old, int) else _flipped(old)
        try:
            found = verifier.sum_digest(bad)
        except ValueError:
            found = ""
        assert found != expected or not _needed(path), path
        n_noticed += found != expected
    assert n_noticed > 40


def _needed(path):
    """Whether a sum depends on this: of site-03, which was lost, neither answers nor self mask are asked."""
    match path:
        case ("digests", owner, holder, kind):
            return holder < 3 and kind == int(owner == "site-03")
        case ("keys", "site-03", "self_digest"):
            return False
    return True


def _flipped(text):
    return f"{int(text[0], 16) ^ 1:x}{text[1:]}"


def golden_world(privacy):
    world = privacy.Masked(3, floats=0, integers=0, weights=[3, 1, 2])
    arrays = {"w": np.array([0.5, -1.25, 3.0], np.float32), "n": np.array([7, -2])}
    world.updates = {
        s: Update(site=s, parameters=Parameters({name: a * (i + 1) for name, a in arrays.items()}), weight=(3, 1, 2)[i])
        for i, s in enumerate(world.sites)
    }
    return world.run()


def golden(privacy):
    world = golden_world(privacy)
    binding, keys = world.binding(), world.keys()
    header = header_of(binding, keys)
    a, b = world.sites[:2]
    pair = pair_key(world.secrets(a).mask_key, keys[b].mask_key, header=header, segment="floats", pair=(a, b), peer=b)
    shares = deal(bytes(range(31)), seed=b"golden", threshold=3, n=5)
    opened = world.open()
    return {
        "ctx": binding.digest.hex(),
        "header": header.hex(),
        "pair_seed": pair.hex(),
        "stream": key_stream(pair, 64).hex(),
        "shamir": {"secret": bytes(range(31)).hex(), "shares": [share.hex() for share in shares]},
        "round": transcript(world, world.sites),
        "sum": {"w": opened.total["w"].tolist(), "n": opened.total["n"].tolist(), "digest": opened.total.digest.hex()},
    }


def test_golden_vectors_are_what_they_were(privacy) -> None:
    assert golden(privacy) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_verifier_agrees_with_the_golden_round() -> None:
    frozen = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert verifier.sum_digest(frozen["round"]) == frozen["sum"]["digest"]
    assert frozen["sum"]["n"] == [(3 * 1 + 1 * 2 + 2 * 3) * one for one in (7, -2)]
    assert np.allclose(frozen["sum"]["w"], np.array([0.5, -1.25, 3.0]) * 11, atol=1e-6)
    secret, shares = frozen["shamir"]["secret"], [bytes.fromhex(one) for one in frozen["shamir"]["shares"]]
    assert combine({2: shares[1], 3: shares[2], 5: shares[4]}, n_bytes=31).hex() == secret
