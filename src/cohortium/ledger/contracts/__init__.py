"""The contract `Consortium` as shipped: source, and what the compiler made of it.

    artefact().bytecode  ->  what a deployment sends before the constructor's arguments

`Consortium.json` is read as it is; nobody needs a compiler at run time. `compile.py` writes it and a
test compares it with a fresh compilation. Calls and events by name are in `ledger/interface.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from cohortium.errors import VerificationFailed

__all__ = ["MAX_RUNTIME_BYTES", "Artefact", "artefact", "source"]

MAX_RUNTIME_BYTES: Final = 24_576
"""Longest runtime code an EVM accepts (EIP-170)."""


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """One compiled contract. bytecode: for the deployment; runtime: what then stands on the chain.

    compiler: full version. evm_version: oldest EVM it runs on. source_sha256: of `Consortium.vy`, in hex.
    """

    abi: tuple[Mapping[str, Any], ...]
    bytecode: bytes
    runtime: bytes
    compiler: str
    evm_version: str
    source_sha256: str


@lru_cache(maxsize=1)
def artefact() -> Artefact:
    """The contract of this release. Raises VerificationFailed when source and compiled form do not belong together."""
    made = json.loads(files(__name__).joinpath("Consortium.json").read_bytes())
    if hashlib.sha256(source()).hexdigest() != made["source_sha256"]:
        raise VerificationFailed(
            "Consortium.json was not compiled from the Consortium.vy beside it",
            hint="python -m cohortium.ledger.contracts.compile",
        )
    return Artefact(
        abi=tuple(made["abi"]),
        bytecode=bytes.fromhex(made["bytecode"].removeprefix("0x")),
        runtime=bytes.fromhex(made["bytecode_runtime"].removeprefix("0x")),
        compiler=made["compiler"],
        evm_version=made["evm_version"],
        source_sha256=made["source_sha256"],
    )


def source() -> bytes:
    """The contract's source, byte for byte."""
    return files(__name__).joinpath("Consortium.vy").read_bytes()
