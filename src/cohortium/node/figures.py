"""Figures between sites once a run has ended: what may leave, asking for the others', and why one is missing.

Each site measures the final model on its own patients and tells its peers a few figures, to three digits: more would
let counts be computed back. They are asked for until they come or the time is up, so a lost message loses nothing, and
a site that never answers is named with its reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from cohortium.errors import FrameError, PeerError
from cohortium.node.run_folder import Figures
from cohortium.quality.gate import codes
from cohortium.reports.measure import Measure
from cohortium.reports.record import Measures, RunRecord, SharedFigures

__all__ = ["TOPIC", "answer_figures", "ask_figures", "gather_figures", "own_figures", "shared_figures"]

TOPIC = "figures"
_DIGITS = 3
_TOLD = ("auroc", "c_index", "accuracy", "brier", "calibration_slope", "rmse", "r2", "deviance")
_ROLES = ("swarm", "own")
_GATE = ("units", "polarity", "image", "copies")
_ASK_S = 10.0

Ask = Callable[[str, bytes], Awaitable[bytes]]


def own_figures(record: RunRecord, site: str, *, withheld: str) -> Figures:
    """What this site tells its peers of its record."""
    gated = "gate" in record.study.get("quality", {})
    gate = codes(one for one in record.checks if one.id in _GATE) if gated else {}
    if withheld:
        return Figures(withheld=withheld, gate=gate)
    measures: dict[str, float] = {}
    for role in _ROLES:
        for name, found in record.test.per_site.get(site, {}).get(role, {}).items():
            if name in _TOLD and found.value is not None:
                measures[f"{role}/{name}"] = round(found.value, _DIGITS)
                if found.interval is not None:
                    low, high = found.interval
                    measures[f"{role}/{name}/low"] = round(low, _DIGITS)
                    measures[f"{role}/{name}/high"] = round(high, _DIGITS)
    return Figures(measures=measures, withheld="" if measures else "nothing was measured there", gate=gate)


def shared_figures(told: Figures | str) -> SharedFigures:
    """What a site told, as the record holds it. told: its figures, or why there are none."""
    if isinstance(told, str):
        return SharedFigures(missing=told)
    gate = {name: str(word) for name, word in told.gate.items()}
    if told.withheld:
        return SharedFigures(missing=f"withheld: {told.withheld}", gate=gate)
    return SharedFigures(swarm=_measures(told.measures, "swarm"), own=_measures(told.measures, "own"), gate=gate)


def _measures(told: Mapping[str, float], role: str) -> Measures:
    names = [name.split("/")[1] for name in told if name.count("/") == 1 and name.startswith(f"{role}/")]
    return {
        name: Measure(
            value=told[f"{role}/{name}"],
            low=told.get(f"{role}/{name}/low"),
            high=told.get(f"{role}/{name}/high"),
            n=None,
            method="as the site told it",
        )
        for name in names
    }


def answer_figures(request: bytes, find: Callable[[int], Figures | None]) -> bytes:
    """The answer to a peer. Raises PeerError while there are none."""
    if len(request) != 8:
        raise FrameError(f"a request for figures holds the number of a run in 8 bytes, got {len(request)}")
    number = int.from_bytes(request, "big")
    found = find(number)
    if found is None:
        raise PeerError(f"run {number} is not measured here yet")
    return msgspec.json.encode(found)


async def ask_figures(peer: str, number: int, ask: Ask) -> Figures:
    """A peer's figures. Raises PeerError or TimeoutError."""
    answer = await ask(peer, number.to_bytes(8, "big"))
    try:
        return msgspec.json.decode(answer, type=Figures)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrameError(f"figures of {peer!r}: {error}", site=peer) from None


async def gather_figures(
    peers: Mapping[str, str], number: int, ask: Ask, *, wait_s: float, again_s: float
) -> dict[str, Figures | str]:
    """Every peer's figures, or why there are none. peers: site -> why it left the run, empty where it is expected.

    A site that left is asked once; one that is expected until it answers or wait_s have passed.
    """
    found: dict[str, Figures | str] = {}

    async def until_there(peer: str, left: str) -> None:
        deadline = asyncio.get_running_loop().time() + (0.0 if left else wait_s)
        while True:
            try:
                found[peer] = await ask_figures(peer, number, ask)
                return
            except (PeerError, TimeoutError) as error:
                why = "no answer" if isinstance(error, TimeoutError) else str(error)
            if asyncio.get_running_loop().time() + again_s > deadline:
                found[peer] = left or why
                return
            await asyncio.sleep(again_s)

    async with asyncio.TaskGroup() as tasks:
        for peer, left in peers.items():
            tasks.create_task(until_there(peer, left))
    return dict(sorted(found.items()))
