"""A real Ethereum node for the tests: anvil, one process on a free port, every transaction a block at once.

    with anvil(folder) as node: JsonRpc([node.url])

The binary is `COHORTIUM_ANVIL`, one on the PATH, or what `npm install @foundry-rs/anvil` left in `.tools`. `why_not()`
says that there is none. `node.begin()` brings the chain back to its beginning, so that tests may share a process.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parents[2] / ".tools"
CHAIN_ID = 7001
START = 1_800_000_000


def binary() -> str:
    """Where anvil is; empty where it is not."""
    given = os.environ.get("COHORTIUM_ANVIL") or shutil.which("anvil")
    return given or shutil.which("anvil", path=str(TOOLS / "node_modules" / ".bin")) or ""


def why_not() -> str:
    """Why there can be no node here; empty where there can."""
    return "" if binary() else "anvil is not installed (npm install --prefix .tools @foundry-rs/anvil@1.7.1)"


@dataclass
class Node:
    """A running node."""

    url: str
    process: subprocess.Popen
    snapshot: str = ""

    def rpc(self, method: str, *params):
        """Any method, those of the tests' own among them. Raises AssertionError for an error."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            said = json.loads(answer.read())
        assert "error" not in said, said
        return said["result"]

    def begin(self) -> None:
        """Back to block 0."""
        if self.snapshot:
            self.rpc("anvil_dropAllTransactions")
            assert self.rpc("evm_revert", self.snapshot)
        self.snapshot = self.rpc("evm_snapshot")
        self.rpc("evm_setAutomine", True)

    def next_time(self, now: float) -> None:
        """The time of the next block: `now`, or a second after the last one."""
        last = int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        with contextlib.suppress(AssertionError):  # somebody else's block was there first
            self.rpc("evm_setNextBlockTimestamp", max(last + 1, int(now)))


@contextmanager
def anvil(folder: Path, *, chain_id: int = CHAIN_ID):
    """A running node, killed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [binary(), "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(chain_id), "--accounts", "1"]
    command += ["--hardfork", "london", "--gas-limit", "100000000", "--gas-price", "0", "--base-fee", "0"]
    command += ["--timestamp", str(START - 1), "--silent"]
    with (folder / "anvil.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    node = Node(f"http://127.0.0.1:{port}", process)
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                node.begin()
                break
            assert process.poll() is None, (folder / "anvil.log").read_text()
            time.sleep(0.05)
        yield node
    finally:
        process.kill()
        process.wait(10)
