"""From a home to its ledger: founded on first use, opened ever after, on the engine the founders agreed on."""

from __future__ import annotations

import time
from collections.abc import Callable

from cohortium.errors import UsageError
from cohortium.ledger.http_json import ClientTls
from cohortium.ledger.opening import NodeLedger, open_ledger
from cohortium.node.founding import Founding
from cohortium.node.home import Home

__all__ = ["agreed_founding", "client_tls", "open_chain"]


def agreed_founding(home: Home) -> Founding:
    """The consortium this home serves. Raises UsageError where there is none, or not every founder has signed."""
    founding = home.founding
    if founding is None:
        hint = "found one: cohortium node found *.request.json, or approve the consortium.json you were sent"
        raise UsageError(f"'{home.path}' belongs to no consortium yet", hint=hint)
    if not founding.complete:
        raise UsageError(
            f"the consortium is not founded yet; missing signatures: {', '.join(founding.missing)}",
            hint="send them consortium.json, then approve the file they send back",
        )
    return founding


def open_chain(
    home: Home, *, clock: Callable[[], float] = time.time, ask: Callable[[bytes], bytes] | None = None
) -> NodeLedger:
    """The consortium's ledger as this site has it. ask: of the host of engine `local`, where that is another site.

    Raises UsageError before the founding is complete, and for a hosted ledger without `ask`; LedgerError.
    """
    founding = agreed_founding(home)
    host = home.ledger_host
    if founding.genesis.engine == "local" and host != home.site and ask is None:
        raise UsageError(
            f"the ledger is hosted by '{host}' and reached only by a running node", hint="cohortium node start"
        )
    return open_ledger(
        founding.genesis,
        path=home.chain,
        clock=clock,
        key=home.keys.ledger,
        site=home.site,
        host=host,
        endpoints=home.settings.ledger.endpoints,
        tls=client_tls(home),
        ask=ask,
    )


def client_tls(home: Home) -> ClientTls | None:
    """The files by which etcd knows this site, None where node.toml names none; relative paths start at the home."""
    plan = home.settings.ledger
    if not plan.authority:
        return None
    return ClientTls(ca=home.path / plan.authority, certificate=home.path / plan.certificate, key=home.path / plan.key)
