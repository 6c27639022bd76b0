"""Answers that are declared public, shown in a round whose sums hide all others.

Every site commits the salted digest of its answer before the round closes, with its own key, on the ledger. Under
masks that payload never leaves; where the state says so (`core.marks.shows`) it travels with the first payload of the
recipe, after the closing, so nobody could answer knowing the answers of others, and nobody can answer for somebody
else: masks hide who has added what to a sum, the ledger does not hide who has committed what. Whoever shows what the
merge would refuse is out before anything is masked for it (`Workshop.run_step`). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from cohortium.core.exchange import Recipe
from cohortium.core.frames import Limits, Packed, blob_parts, decode_blob, parameters_of, read_header
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import FrameError, PeerError

__all__ = ["MAX_SHOWN_BYTES", "context_of", "read_shown", "salt_of", "showing_step", "with_shown", "without_shown"]

MAX_SHOWN_BYTES = 1 << 20
"""An answer that is shown is a row of numbers."""

_NAME = "shown/payload"


def showing_step(recipe: Recipe) -> str:
    """The step with which committed answers are shown: the first of a masked recipe. Empty where they lie open."""
    return recipe.steps[0].name if recipe.masked else ""


def context_of(site: str, *, run: int, round: int, study: bytes, salt: bytes) -> dict[str, str | int]:
    """What a site's own payload says of itself beside its arrays; the salt keeps small tables from being guessed."""
    return {"site": site, "run": run, "round": round, "study": study.hex(), "salt": salt.hex()}


def salt_of(context: Mapping[str, str | int], *, site: str) -> bytes:
    """The salt in what an answer says of itself. Raises PeerError, naming the site, where it says anything else."""
    salt = context.get("salt")
    if context.keys() != {"site", "run", "round", "study", "salt"} or not isinstance(salt, str):
        raise PeerError(f"site '{site}' shows an answer that says other things of itself", site=site)
    if not re.fullmatch(r"[0-9a-f]{32}", salt):
        raise PeerError(f"site '{site}' shows an answer without a salt of 16 bytes", site=site)
    return bytes.fromhex(salt)


def with_shown(arrays: Parameters, committed: Packed) -> Parameters:
    """The payload of a step, and with it the committed one as it was hashed."""
    blob = b"".join(bytes(part) for part in blob_parts(committed))
    return arrays | Parameters({_NAME: np.frombuffer(blob, dtype=np.uint8)})


def without_shown(arrays: Parameters) -> Parameters:
    """The payload as its guard made it."""
    return arrays.without([_NAME]) if _NAME in arrays else arrays


def read_shown(arrays: Parameters, *, site: str, run: int, round: int, committed: bytes, limits: Limits) -> Update:
    """What a site shows. Raises PeerError, naming it, unless it is what the site has committed for this round."""
    held = arrays.get(_NAME)
    if held is None or held.dtype != np.uint8 or held.nbytes > MAX_SHOWN_BYTES:
        raise PeerError(f"site '{site}' does not show the answer it has committed", site=site)
    try:
        packed = decode_blob(held.tobytes(), limits=limits)
        said = read_header(packed.header, limits=limits).context
        if packed.digest != committed or (said.get("site"), said.get("run"), said.get("round")) != (site, run, round):
            raise PeerError(f"site '{site}' shows another answer than it has committed", site=site)
        return Update(
            site=site, parameters=parameters_of(packed, limits=limits)[0], weight=1, salt=salt_of(said, site=site)
        )
    except FrameError as broken:
        raise PeerError(f"site '{site}' shows no answer that can be read: {broken}", site=site) from None
