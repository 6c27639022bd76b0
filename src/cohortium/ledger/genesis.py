"""Where a consortium begins: the facts its founders agree on, and all that follows from them.

    genesis = Genesis(founders=(...), chain_id=7001, time=1_800_000_000, engine="local")
    genesis.contract     the address every signature is bound to
    genesis.consortium   its identity: the digest of all these facts
    genesis.deployment   block 1

Contract address and first block are functions of founders, chain id, time and code, the same at every
site. The deploying key is derived from these facts and therefore public: it is no member, the contract
knows no owner, and the entry rules refuse whatever else it signs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cohortium.core.identity import LedgerKey, check_site_name, keccak
from cohortium.ledger import rlp
from cohortium.ledger.interface import consortium
from cohortium.ledger.rules import Founder
from cohortium.ledger.transactions import sign_deployment

__all__ = ["MAX_FOUNDERS", "Genesis"]

MAX_FOUNDERS = 128
_DOMAIN = b"cohortium-consortium-1"
_DEPLOYER = b"cohortium-deployer-1"
_KEYS = {"chain_id", "code_hash", "engine", "founders", "time"}
_FOUNDER_KEYS = {"address", "name", "seal", "tls"}


@dataclass(frozen=True, kw_only=True)
class Genesis:
    """One consortium's beginning. time: of block 1, in seconds; founders are kept sorted by name."""

    founders: tuple[Founder, ...]
    chain_id: int
    time: int
    engine: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "founders", tuple(sorted(self.founders, key=lambda founder: founder.name)))
        if not 1 <= len(self.founders) <= MAX_FOUNDERS:
            raise ValueError(f"a consortium has 1 to {MAX_FOUNDERS} founders, got {len(self.founders)}")
        if not 1 <= self.time < 2**53:
            raise ValueError(f"time must be 1 to 2^53 - 1 seconds, got {self.time}")
        if not 1 <= self.chain_id < 2**53:
            raise ValueError(f"chain id must be 1 to 2^53 - 1, got {self.chain_id}")
        for founder in self.founders:
            check_site_name(founder.name)
            if (len(founder.address), len(founder.tls), len(founder.seal)) != (20, 32, 32):
                raise ValueError(
                    f"founder {founder.name!r}: expected 20 bytes of address, 32 of tls and of seal digest"
                )
        for what in ("name", "address"):
            if len({getattr(founder, what) for founder in self.founders}) < len(self.founders):
                raise ValueError(f"two founders have the same {what}")

    @cached_property
    def consortium(self) -> bytes:
        """The consortium's identity (32 bytes)."""
        return hashlib.sha256(_DOMAIN + _canonical(self.facts())).digest()

    @cached_property
    def contract(self) -> bytes:
        """The contract's address (20 bytes); equal for all engines."""
        return keccak(rlp.encode([self._deployer.address, b""]))[12:]

    @cached_property
    def deployment(self) -> bytes:
        """The raw transaction of block 1, which deploys the contract with its founders."""
        founders = self.founders
        args = (
            [founder.address for founder in founders],
            [founder.name for founder in founders],
            [founder.tls for founder in founders],
            [founder.seal for founder in founders],
        )
        return sign_deployment(self._deployer, chain_id=self.chain_id, args=args)

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values: what is written to an export's first line."""
        return {
            "chain_id": self.chain_id,
            "code_hash": consortium().code_hash.hex(),
            "engine": self.engine,
            "founders": [
                {
                    "address": founder.address.hex(),
                    "name": founder.name,
                    "seal": founder.seal.hex(),
                    "tls": founder.tls.hex(),
                }
                for founder in self.founders
            ],
            "time": self.time,
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Genesis:
        """The beginning those facts describe. Raises ValueError for others than `facts()` gives here."""
        if set(facts) != _KEYS:
            raise ValueError(f"genesis holds {', '.join(sorted(facts))}; expected {', '.join(sorted(_KEYS))}")
        if facts["code_hash"] != consortium().code_hash.hex():
            raise ValueError("genesis names another contract code than this release ships")
        founders = facts["founders"]
        if not isinstance(founders, list) or any(
            not isinstance(f, dict) or set(f) != _FOUNDER_KEYS or not all(isinstance(v, str) for v in f.values())
            for f in founders
        ):
            raise ValueError("genesis: each founder has address, name, seal and tls, all text")
        if not isinstance(facts["engine"], str) or any(type(facts[key]) is not int for key in ("chain_id", "time")):
            raise ValueError("genesis: engine is text, chain_id and time are whole numbers")
        return cls(
            founders=tuple(
                Founder(bytes.fromhex(f["address"]), f["name"], bytes.fromhex(f["tls"]), bytes.fromhex(f["seal"]))
                for f in founders
            ),
            chain_id=facts["chain_id"],
            time=facts["time"],
            engine=facts["engine"],
        )

    @cached_property
    def _deployer(self) -> LedgerKey:
        facts = {key: value for key, value in self.facts().items() if key != "engine"}
        return LedgerKey.from_bytes(keccak(_DEPLOYER + _canonical(facts)))


def _canonical(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
