"""The processes a ledger engine needs beside the nodes: three etcd members with certificates, or one anvil.

`local` needs none. Nothing is downloaded: what is missing is said in one sentence, with what to install.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any, Final

from cohortium.errors import CohortiumError, UsageError
from cohortium.lab.authority import issue_all
from cohortium.lab.ports import free_ports
from cohortium.lab.processes import Proc, spawn
from cohortium.lab.state import Lab

__all__ = [
    "ANVIL_CHAIN_ID",
    "ENGINES",
    "engine_ports",
    "ledger_settings",
    "member_names",
    "prepare_engine",
    "start_member",
    "wait_for_member",
    "why_not",
]

ENGINES: Final = ("local", "replicated", "evm-rpc")
ANVIL_CHAIN_ID: Final = 31_337
_MEMBERS: Final = ("n1", "n2", "n3")
_ANVIL_PLACES: Final = ("node_modules/.bin/anvil", "~/.foundry/bin/anvil", "/tmp/anv/node_modules/.bin/anvil")  # noqa: S108 - looked for, never written
_START_S: Final = 20.0


def why_not(engine: str) -> str:
    """Why a lab on this engine cannot be started here; empty where it can."""
    if engine not in ENGINES:
        return f"unknown ledger engine '{engine}'; available: {', '.join(ENGINES)}"
    if engine == "replicated" and _etcd() is None:
        return "engine 'replicated' needs etcd: apt-get install etcd-server"
    if engine == "evm-rpc" and _anvil() is None:
        return "engine 'evm-rpc' needs anvil: npm install @foundry-rs/anvil here, or set COHORTIUM_ANVIL to its path"
    return ""


def _etcd() -> str | None:
    return shutil.which("etcd")


def _anvil() -> str | None:
    named = os.environ.get("COHORTIUM_ANVIL", "")
    places = [named] if named else [str(Path(place).expanduser()) for place in _ANVIL_PLACES]
    found = next((found for place in [*places, "anvil"] if (found := shutil.which(place)) is not None), None)
    return found and _program_of(Path(found).resolve())


def _program_of(anvil: Path) -> str:
    """npm's `anvil` is a script that starts a program beside it; the program is what can be killed and stopped."""
    programs = list(anvil.parents[1].glob("anvil-*/bin/anvil")) if anvil.name == "bin.mjs" else []
    return str(programs[0] if len(programs) == 1 else anvil)


def member_names(engine: str) -> tuple[str, ...]:
    """The processes an engine has."""
    return {"replicated": _MEMBERS, "evm-rpc": ("anvil",)}.get(engine, ())


def engine_ports(engine: str, *, taken: list[int]) -> dict[str, int]:
    """Free ports by name: clients' under the member's name, members' own under NAME-peer."""
    names = [*member_names(engine)]
    names += [f"{name}-peer" for name in names if engine == "replicated"]
    return dict(zip(names, free_ports(len(names), taken=taken), strict=True))


def prepare_engine(folder: Path, lab: Lab) -> None:
    """Folders and certificates. Raises UsageError where the engine cannot be started here."""
    if reason := why_not(lab.engine):
        raise UsageError(reason)
    if lab.engine == "replicated":
        (folder / "etcd").mkdir(mode=0o700, exist_ok=True)
        issue_all(folder / "etcd", sites=lab.names)
    elif lab.engine == "evm-rpc":
        (folder / "anvil").mkdir(mode=0o700, exist_ok=True)


def start_member(folder: Path, lab: Lab, name: str) -> Proc:
    """Start a member, or start it again on what it has kept."""
    folder = folder.absolute()
    if lab.engine == "replicated":
        return spawn(
            "etcd", name, _etcd_command(folder / "etcd", lab, name), log=folder / f"logs/{name}.log", cwd=folder
        )
    command = [str(_anvil()), "--port", str(lab.ports["anvil"]), "--chain-id", str(ANVIL_CHAIN_ID)]
    command += ["--state", str(folder / "anvil/chain.json"), "--state-interval", "1", "--silent"]
    command += ["--gas-price", "0", "--base-fee", "0"]
    command += ["--hardfork", "london", "--gas-limit", "100000000"]  # the contract's deployment asks for 60 million
    return spawn("anvil", name, command, log=folder / "logs/anvil.log", cwd=folder)


def _etcd_command(folder: Path, lab: Lab, name: str) -> list[str]:
    client, peer = (f"https://127.0.0.1:{lab.ports[one]}" for one in (name, f"{name}-peer"))
    members = ",".join(f"{one}=https://127.0.0.1:{lab.ports[f'{one}-peer']}" for one in _MEMBERS)
    command = [str(_etcd()), "--name", name, "--data-dir", str(folder / name)]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", members, "--initial-cluster-state", "new"]
    command += ["--client-cert-auth", "--peer-client-cert-auth", "--logger", "zap", "--log-level", "error"]
    for use in ("", "peer-"):
        command += [f"--{use}trusted-ca-file", str(folder / "ca.crt")]
        command += [f"--{use}cert-file", str(folder / "member.crt"), f"--{use}key-file", str(folder / "member.key")]
    return command


def wait_for_member(lab: Lab, proc: Proc, *, log: Path) -> None:
    """Return once it takes connections. Raises CohortiumError when it ended, or does not within its time."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if not proc.is_alive:
            raise CohortiumError(f"{proc.role} '{proc.name}' ended at once; see {log}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", lab.ports[proc.name])) == 0:
                return
        time.sleep(0.05)
    raise CohortiumError(f"{proc.role} '{proc.name}' takes no connection within {_START_S:.0f} s; see {log}")


def ledger_settings(folder: Path, lab: Lab, site: str, ports: dict[str, int] | None = None) -> dict[str, Any]:
    """The `[ledger]` section of a site. ports: where this site reaches the members, if not directly."""
    reach = ports or lab.ports
    if lab.engine == "replicated":
        etcd = folder.absolute() / "etcd"
        return {
            "engine": "replicated",
            "endpoints": [f"https://127.0.0.1:{reach[name]}" for name in _MEMBERS],
            "certificate": str(etcd / f"{site}.crt"),
            "key": str(etcd / f"{site}.key"),
            "authority": str(etcd / "ca.crt"),
        }
    if lab.engine == "evm-rpc":
        return {"engine": "evm-rpc", "endpoints": [f"http://127.0.0.1:{reach['anvil']}"]}
    return {"engine": "local"}
