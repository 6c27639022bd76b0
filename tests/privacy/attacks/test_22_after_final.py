"""Attack 22: read the node's files, logs and memory after the merge is final, for seeds and shares."""

import logging
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cohortium.core.randomness import Chance
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.sim import playing
from cohortium.sim.faults import Scenario
from cohortium.swarm.store import DiskStore

SITES = ("bonn", "graz", "lund", "porto")


class Loose(DiskStore):
    """Weak: secrets are payloads like any other, and are deleted as files are."""

    def hide(self, secret, *, run, round):
        self.put(secret)

    def reveal(self, digest, *, run, round):
        return self.get(digest)

    def burn(self, *, run, upto):
        return


def play(tmp_path, monkeypatch, caplog, store):
    """A masked run on disk; the roots that were drawn in it, and every byte that is left."""
    drawn = []

    class Watched(MaskedGuard):
        def __init__(self, site, *, entropy, **options):
            def watched(n):
                drawn.append(entropy(n))
                return drawn[-1]

            super().__init__(site, entropy=watched, **options)

    @contextmanager
    def here(*args, **options):
        yield str(tmp_path)

    monkeypatch.setattr("cohortium.privacy.secagg.guard.MaskedGuard", Watched)
    monkeypatch.setattr(playing.tempfile, "TemporaryDirectory", here)
    monkeypatch.setattr(playing, "DiskStore", store)
    with caplog.at_level(logging.DEBUG):
        report = playing.play(Scenario(name="disk", sites=SITES, rounds=3, min_sites=3, masked=True, disk=True))
    assert {str(outcome) for outcome in report.outcomes.values()} == {"complete"}
    left = b"".join(path.read_bytes() for path in sorted(Path(tmp_path).rglob("*")) if path.is_file())
    return drawn, left, caplog.text + str(report)


def test_secrets_kept_like_any_payload_are_found_in_the_files(tmp_path, monkeypatch, caplog) -> None:
    drawn, left, _ = play(tmp_path, monkeypatch, caplog, Loose)
    assert any(root in left for root in drawn)


def test_after_final_no_root_of_ours_is_in_any_file_or_log(tmp_path, monkeypatch, caplog) -> None:
    drawn, left, said = play(tmp_path, monkeypatch, caplog, DiskStore)
    assert len(drawn) >= 3 * len(SITES)
    assert not [root for root in drawn if root in left or root.hex() in said or repr(root) in said]


def test_and_none_is_left_in_the_guard(world) -> None:
    ours = world().run()
    secrets = ours.secrets("site-00")
    guard = ours.guards["site-00"]
    guard.finish(1)
    kept = b"".join(np.asarray(array).tobytes() for array in guard.memory().values())
    for part in (secrets.a, secrets.b, secrets.e):
        assert part not in kept
    assert guard._secrets == {}
    assert not guard._scratch.mask.any()
    assert not guard._scratch.values.any()


def test_secrets_never_show_themselves_in_text() -> None:
    guard = MaskedGuard("a", entropy=lambda n: Chance(0).secret(n, "x"))
    assert "root" not in repr(guard)
    with pytest.raises(AttributeError):
        guard.root  # noqa: B018 - there is no such door
