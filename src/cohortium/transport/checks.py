"""Preflight of the network: own certificate, names, ports, proxy, and who really answers at a peer's address.

    check_certificate(der, now_s=...)            days left: warns at 30, fails at 0
    check_on_ledger(der, recorded)               own certificate is the one on the ledger
    check_contact(contact, proxy=...)            name, port and certificate of one peer, from here

Each opens at most one connection, waits at most `timeout_s` and changes nothing. Nothing is sent but a TLS greeting.
TLS inspection shows here as a certificate that is not the peer's own; the pin breaks on purpose, and the issuer named
is the device that the IT department must exempt this address from.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509

from cohortium.core.check import Check
from cohortium.core.identity import fingerprint
from cohortium.transport.certificates import server_name
from cohortium.transport.directory import Contact

__all__ = [
    "check_certificate",
    "check_clocks",
    "check_contact",
    "check_echoes",
    "check_listen",
    "check_on_ledger",
    "check_proxy",
]

WARN_DAYS: Final = 30
WARN_SKEW_S: Final = 2.0
FAIL_SKEW_S: Final = 30.0
_ROTATE = "cohortium node rotate"
_MAX_ANSWER = 4096

Resolve = Callable[..., Sequence[Any]]


def check_certificate(certificate: bytes, *, now_s: float) -> Check:
    """Whether the own certificate (DER) holds now, and for how long."""
    made = x509.load_der_x509_certificate(certificate)
    begin, end = made.not_valid_before_utc, made.not_valid_after_utc
    days = (end.timestamp() - now_s) / 86_400
    if now_s < begin.timestamp():
        found = f"own certificate begins only on {begin:%Y-%m-%d %H:%M} UTC, here it is {_utc(now_s)} UTC"
        return Check(id="certificate", level="fail", found=found, fix="set this machine's clock (timedatectl)")
    if days <= 0:
        found = f"own certificate ended on {end:%Y-%m-%d}; peers refuse it"
        return Check(id="certificate", level="fail", found=found, fix=_ROTATE)
    if days <= WARN_DAYS:
        return Check(id="certificate", level="warn", found=f"own certificate ends in {days:.0f} days", fix=_ROTATE)
    return Check(id="certificate", level="ok", found=f"own certificate holds {days:.0f} days more")


def check_on_ledger(certificate: bytes, recorded: bytes | None) -> Check:
    """Whether the own certificate is the one on the ledger. recorded: its SHA-256 there; None: no active member."""
    if recorded is None:
        found = "this site is no active member on the ledger as it stands here"
        fix = "send your request file to a member; it runs: cohortium node approve SITE.request.json"
        return Check(id="certificate-on-ledger", level="fail", found=found, fix=fix)
    own = hashlib.sha256(certificate).digest()
    if own != recorded:
        found = f"own certificate {fingerprint(own)} is not the one on the ledger, {fingerprint(recorded)}"
        fix = f"put the keys back that belong to it, or: {_ROTATE}"
        return Check(id="certificate-on-ledger", level="fail", found=found, fix=fix)
    return Check(id="certificate-on-ledger", level="ok", found=f"the ledger has this certificate, {fingerprint(own)}")


def check_listen(listen: str, *, running: bool) -> Check:
    """Whether the port to listen on can be had. running: this site's node holds it already."""
    if not listen:
        return Check(id="port", level="ok", found="no inbound port: this node dials out only")
    host, port = _split(listen)
    if running:
        return Check(id="port", level="ok", found=f"port {port} is this node's own")
    try:
        with socket.create_server((host, port)):
            return Check(id="port", level="ok", found=f"port {port} is free on {host}")
    except PermissionError:
        found = f"port {port} may not be opened by this user"
        fix = f"setcap cap_net_bind_service, a port above 1023, or the systemd unit's AmbientCapabilities, for {listen}"
        return Check(id="port", level="fail", found=found, fix=fix)
    except OSError as error:
        found = f"cannot listen on {listen}: {error.strerror}"
        fix = f"see who has it: ss -ltnp 'sport = :{port}'; or change network.listen in node.toml"
        return Check(id="port", level="fail", found=found, fix=fix)


def check_proxy(proxy: str, *, target: str, timeout_s: float = 4.0) -> Check:
    """Whether the proxy lets a connection through. target: "host:port" of some peer; empty: only reach the proxy."""
    if not proxy:
        return Check(id="proxy", level="ok", found="no proxy is set")
    try:
        with _dial(target or proxy, proxy=proxy if target else "", timeout_s=timeout_s):
            return Check(id="proxy", level="ok", found=f"proxy {proxy} lets connections through")
    except _ProxySaid as refused:
        found = f"proxy {proxy} answers '{refused}' to CONNECT {target}"
        return Check(id="proxy", level="fail", found=found, fix=f"ask the IT department to allow CONNECT to {target}")
    except OSError as error:
        found = f"proxy {proxy} cannot be reached: {_words(error)}"
        fix = "correct network.proxy in node.toml, or ask the IT department for its address"
        return Check(id="proxy", level="fail", found=found, fix=fix)


def check_contact(
    contact: Contact, *, proxy: str = "", timeout_s: float = 4.0, resolve: Resolve = socket.getaddrinfo
) -> Check:
    """Whether the peer itself answers at its address: name, port, then the certificate shown."""
    name, endpoint = f"peer-{contact.name}", contact.endpoint
    if not endpoint:
        return Check(id=name, level="skipped", found=f"{contact.name} dials out only; it is reached when it calls")
    host, _ = _split(endpoint)
    if not proxy:
        try:
            resolve(host, None)
        except OSError as error:
            found = f"the name {host} of {contact.name} is not known here: {_words(error)}"
            fix = f"ask the IT department to resolve {host}, or {contact.name} for its address"
            return Check(id=name, level="fail", found=found, fix=fix)
    try:
        shown = _certificate_at(endpoint, proxy=proxy, timeout_s=timeout_s, host=server_name(contact.name))
    except ssl.SSLError as error:
        found = f"{endpoint} of {contact.name} answers, but not with TLS 1.3 ({error.reason or 'no handshake'})"
        fix = (
            f"ask {contact.name} whether its node listens there, and the IT department whether a device answers for it"
        )
        return Check(id=name, level="fail", found=found, fix=fix)
    except OSError as error:
        found = f"{endpoint} of {contact.name} cannot be reached: {_words(error)}"
        fix = f"ask the IT department to let TCP to {endpoint} out; or {contact.name} whether its node runs"
        return Check(id=name, level="fail", found=found, fix=fix)
    return _judged(contact, shown)


def check_clocks(offsets_s: Mapping[str, float]) -> Check:
    """Own clock against the peers'. offsets_s: peer -> how much its clock is ahead of this one's."""
    if not offsets_s:
        return Check(id="clock", level="skipped", found="no peer was heard, so the clock was compared with nobody's")
    ordered = sorted(offsets_s.values())
    skew = ordered[len(ordered) // 2] if len(ordered) % 2 else sum(ordered[len(ordered) // 2 - 1 :][:2]) / 2
    if abs(skew) > WARN_SKEW_S:
        word = "behind" if skew > 0 else "ahead of"
        found = f"this machine's clock is {abs(skew):.0f} s {word} the peers' (median of {len(ordered)})"
        fix = "switch time synchronisation on: timedatectl set-ntp true"
        return Check(id="clock", level="fail" if abs(skew) > FAIL_SKEW_S else "warn", found=found, fix=fix)
    alone = [peer for peer, offset in offsets_s.items() if abs(offset) > FAIL_SKEW_S]
    if alone:
        fix = f"tell {', '.join(alone)} to set its clock"
        return Check(id="clock", level="warn", found=f"the clock of {', '.join(alone)} is more than 30 s off", fix=fix)
    return Check(id="clock", level="ok", found=f"clock within {max(map(abs, ordered)):.1f} s of {len(ordered)} peers")


def check_echoes(failures: Mapping[str, str], *, asked: int) -> Check:
    """Whether 64 KiB come back from every peer. failures: peer -> what happened instead."""
    if not asked:
        return Check(id="echo", level="skipped", found="no peer to send a stream to")
    if failures:
        said = "; ".join(f"{peer}: {why}" for peer, why in sorted(failures.items()))
        fix = "look for a firewall or antivirus that resets long streams, at the sites named and here"
        return Check(id="echo", level="fail" if len(failures) == asked else "warn", found=f"no echo ({said})", fix=fix)
    return Check(id="echo", level="ok", found=f"64 KiB came back from {asked} peers")


def _judged(contact: Contact, shown: bytes) -> Check:
    name = f"peer-{contact.name}"
    if hashlib.sha256(shown).digest() == contact.fingerprint:
        return Check(id=name, level="ok", found=f"{contact.endpoint} answers with the certificate of {contact.name}")
    other = x509.load_der_x509_certificate(shown)
    issuer = other.issuer.rfc4514_string()[:120]
    if other.issuer == other.subject and f"CN={contact.name}" in issuer:
        found = f"{contact.endpoint} answers with another certificate of {contact.name} than the one on the ledger"
        fix = f"ask {contact.name} to run: cohortium node doctor"
        return Check(id=name, level="fail", found=found, fix=fix)
    found = f"TLS to {contact.name} is inspected on the way: a certificate issued by '{issuer}' is shown, not its own"
    fix = f"ask the IT department to exempt {contact.endpoint} from TLS inspection by that device"
    return Check(id=name, level="fail", found=found, fix=fix)


class _ProxySaid(OSError):
    """A proxy's refusal."""


def _certificate_at(endpoint: str, *, proxy: str, timeout_s: float, host: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # looked at, not trusted: compared with the pin afterwards
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # an inspecting device may speak no newer one
    context.set_alpn_protocols(["h2"])
    with (
        _dial(endpoint, proxy=proxy, timeout_s=timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    if shown is None:
        raise ssl.SSLError("no certificate was shown")
    return shown


def _dial(endpoint: str, *, proxy: str, timeout_s: float) -> socket.socket:
    if not proxy:
        return socket.create_connection(_split(endpoint), timeout=timeout_s)
    plain = socket.create_connection(_split(proxy), timeout=timeout_s)
    try:
        plain.sendall(f"CONNECT {endpoint} HTTP/1.1\r\nHost: {endpoint}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = plain.recv(1024)
            if not piece or len(answer) > _MAX_ANSWER:
                raise _ProxySaid("no answer")
            answer += piece
        status = answer.split(b"\r\n")[0].decode("latin-1")
        if status.split(" ")[1:2] != ["200"]:
            raise _ProxySaid("".join(c for c in status[:60] if c.isprintable()))
    except BaseException:
        plain.close()
        raise
    return plain


def _split(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def _words(error: OSError) -> str:
    return "nothing answers in time" if isinstance(error, TimeoutError) else (error.strerror or type(error).__name__)


def _utc(now_s: float) -> str:
    return f"{datetime.fromtimestamp(now_s, UTC):%Y-%m-%d %H:%M}"
