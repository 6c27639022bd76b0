"""One node of a lab as a process: `python -m cohortium.lab.site HOME` is `cohortium node start`, with the lab's hooks.

The very service of a hospital runs here; faults come from `lab-faults.json` in the home, by way of `hooks.py`. On
SIGUSR1 it writes to its log where every thread stands.
"""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cohortium.errors import CohortiumError
from cohortium.lab.hooks import Hooks
from cohortium.lab.site_faults import FaultFile
from cohortium.lab.state import read_lab
from cohortium.lab.wires import Wires

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the node in a home until it is told to stop; the exit code."""
    from cohortium.node.home import Home
    from cohortium.node.service import Wrap, serve

    faulthandler.register(signal.SIGUSR1)
    path = Path(arguments[0]).absolute()
    faults = FaultFile(path)
    hooks = Hooks(path, faults)
    home = Home.open(path)
    lab = read_lab(path.parent)
    targets = {port: lab.ports[name] for name, port in lab.site(home.site).wires.items()}
    wrap = Wrap(transport=hooks.transport, clock=hooks.clock(time.time), work=hooks.work, store=hooks.store)
    try:
        with contextlib.closing(Wires(targets, is_cut=lambda: faults.now.ledger_cut)):
            serve(home, wrap=wrap)
    except CohortiumError as error:
        print(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
