"""The one function by which a node comes to its ledger: founded on first use, opened ever after.

    ledger = open_ledger(genesis, path=home / "chain.sqlite", clock=time.time, key=key, site="porto", ...)

Which engine it is, the founders agreed on in the genesis. What is site by site is given here: with `local`, who
hosts (`host`, its site name; empty: this site) and how to ask it (`ask`); with `replicated` and `evm-rpc`, where etcd
or the chain's node is reached (`endpoints`, `tls`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from cohortium.core.identity import LedgerKey
from cohortium.core.seams import Ledger, LedgerEvent
from cohortium.errors import LedgerError, UsageError
from cohortium.ledger import ENGINES
from cohortium.ledger.chain_file import is_laid
from cohortium.ledger.export import SignedHead
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.http_json import ClientTls

__all__ = ["NodeLedger", "open_ledger"]


class NodeLedger(Ledger, Protocol):
    """What every engine offers a node beside the seam's calls. Blocking; several threads may share one."""

    @property
    def genesis(self) -> Genesis: ...

    @property
    def chain_id(self) -> int: ...

    @property
    def contract(self) -> bytes: ...

    def nonce(self, address: bytes) -> int:
        """The number of an account's next transaction."""
        ...

    def events_here(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """The events from a height on that are known here; nobody is asked."""
        ...

    def sync(self) -> bool:
        """Fetch and check what others wrote; whether there was anything."""
        ...

    def export(self, path: Path, *, heads: Sequence[SignedHead] = ()) -> None: ...

    def close(self) -> None: ...


def open_ledger(
    genesis: Genesis,
    *,
    path: Path,
    clock: Callable[[], float],
    key: LedgerKey,
    site: str,
    host: str = "",
    endpoints: Sequence[str] = (),
    tls: ClientTls | None = None,
    ask: Callable[[bytes], bytes] | None = None,
) -> NodeLedger:
    """This site's ledger, at its last block.

    path: of the chain file. clock: seconds since 1970. host: the site that hosts `local`, `site` itself when empty.
    ask: a request to the host and its answer; blocks, raises LedgerUnreachable. endpoints, tls: of etcd or the chain.
    Raises UsageError when something the engine needs is not given, LedgerError for a file of another consortium.
    """
    make: Any
    given: dict[str, Any] = {"clock": clock}
    if genesis.engine == "local" and host not in ("", site):
        from cohortium.ledger.hosted import HostedLedger

        if ask is None:
            raise UsageError(f"the ledger is hosted by {host!r}; say how to ask it")
        make, given = HostedLedger, {**given, "key": key, "ask": ask}
    else:
        if genesis.engine == "replicated":
            given = {**given, "key": key, "endpoints": endpoints, "tls": tls}
        if genesis.engine == "evm-rpc":
            given = {**given, "endpoints": endpoints, "tls": tls}
        make = ENGINES.resolve(genesis.engine)
    return _found_or_open(make, genesis, path, given)


def _found_or_open(make: Any, genesis: Genesis, path: Path, given: dict[str, Any]) -> NodeLedger:
    if genesis.engine == "memory" or not is_laid(path):
        founded: NodeLedger = make.found(genesis, path=path, **given)
        return founded
    ledger: NodeLedger = make.open(path, **given)
    if ledger.genesis != genesis:
        with contextlib.closing(ledger):
            raise LedgerError(
                f"{path} holds the chain of another consortium", hint="give this consortium a home folder of its own"
            )
    return ledger
