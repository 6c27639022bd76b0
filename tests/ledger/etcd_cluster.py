"""A real etcd cluster on this machine: three processes, TLS 1.3, client certificates from an authority made here.

    with etcd_cluster(folder) as cluster: EtcdClient(cluster.endpoints, tls=cluster.tls)

Ports are free ones, everything lies in `folder`, all processes are gone at the end. `why_not()` says if etcd is absent.
"""

import datetime
import ipaddress
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cohortium.ledger.etcd import EtcdClient
from cohortium.ledger.http_json import ClientTls


def why_not() -> str:
    """Why there can be no cluster here; empty where there can."""
    return "" if shutil.which("etcd") else "etcd is not installed (apt-get install etcd-server)"


def authority(name: str = "etcd authority"):
    """A key and the self-signed certificate of an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = _builder(subject, subject, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return key, made.sign(key, hashes.SHA256())


def issue(folder: Path, name: str, ca_key, ca_certificate, *, usages) -> ClientTls:
    """A certificate for 127.0.0.1 with its key, as PEM files in a folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        _builder(subject, ca_certificate.subject, key)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    files = ClientTls(ca=folder / "ca.crt", certificate=folder / f"{name}.crt", key=folder / f"{name}.key")
    pem = serialization.Encoding.PEM
    files.ca.write_bytes(ca_certificate.public_bytes(pem))
    files.certificate.write_bytes(made.public_bytes(pem))
    files.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return files


def _builder(subject, issuer, key):
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=2))
    )


BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
CLIENT = [ExtendedKeyUsageOID.CLIENT_AUTH]


@dataclass
class Cluster:
    """Its members by name, and what a site needs to reach it."""

    folder: Path
    tls: ClientTls
    server: ClientTls
    clients: dict[str, int]
    peers: dict[str, int]
    running: dict[str, subprocess.Popen] = field(default_factory=dict)

    @property
    def endpoints(self) -> list[str]:
        return [f"https://127.0.0.1:{port}" for port in self.clients.values()]

    def start(self, name: str) -> None:
        """Start a member, or start it again on its data."""
        first = not (self.folder / name).exists()
        client, peer = (f"https://127.0.0.1:{ports[name]}" for ports in (self.clients, self.peers))
        members = ",".join(f"{one}=https://127.0.0.1:{port}" for one, port in self.peers.items())
        command = ["etcd", "--name", name, "--data-dir", str(self.folder / name)]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", members, "--initial-cluster-state", "new" if first else "existing"]
        command += ["--client-cert-auth", "--peer-client-cert-auth", "--logger", "zap", "--log-level", "error"]
        for use in ("", "peer-"):
            command += [
                f"--{use}trusted-ca-file",
                str(self.server.ca),
                f"--{use}cert-file",
                str(self.server.certificate),
            ]
            command += [f"--{use}key-file", str(self.server.key)]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def kill(self, name: str) -> None:
        """`kill -9` of one member."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def stop(self) -> None:
        for name in [*self.running]:
            self.kill(name)

    def leader(self) -> str:
        """The name of the member that leads now."""
        client = EtcdClient(self.endpoints, tls=self.tls)
        for name, member in zip(self.clients, client.members(), strict=True):
            if member.member and member.member == member.leader:
                return name
        raise AssertionError("no member leads")

    def wait(self, *, deadline_s: float = 20) -> None:
        """Until every running member answers and knows one leader."""
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            client = EtcdClient([f"https://127.0.0.1:{self.clients[name]}" for name in self.running], tls=self.tls)
            if {member.leader for member in client.members()} - {"", "0"} and all(
                member.leader not in ("", "0") for member in client.members()
            ):
                return
            time.sleep(0.05)
        logs = "\n".join((self.folder / f"{name}.log").read_text()[-2000:] for name in self.running)
        raise AssertionError(f"etcd did not come up within {deadline_s} s:\n{logs}")


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on now; each is taken at once by what is started next."""
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def etcd_cluster(folder: Path, *, n: int = 3):
    """A running cluster of n members; every process is killed at the end."""
    ca_key, ca = authority()
    names = [f"n{i}" for i in range(1, n + 1)]
    ports = free_ports(2 * n)
    cluster = Cluster(
        folder=folder,
        tls=issue(folder, "site", ca_key, ca, usages=CLIENT),
        server=issue(folder, "server", ca_key, ca, usages=BOTH),
        clients=dict(zip(names, ports[:n], strict=True)),
        peers=dict(zip(names, ports[n:], strict=True)),
    )
    try:
        for name in names:
            cluster.start(name)
        cluster.wait()
        yield cluster
    finally:
        cluster.stop()
