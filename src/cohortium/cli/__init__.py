"""The command line, one module per noun.

    cohortium demo | simulate | evaluate | report | study new|check|show|pin | audit | node init|... | run propose|...

Results go to stdout, progress and messages to stderr. Imports stay inside the commands, so that help
costs no numpy. Exit codes: 0 done, 1 refused, 2 usage, study or data, 3 partial, 4 failed,
5 verification failed, 70 our bug, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings

__all__ = ["main"]


def main() -> None:
    """Entry point of the `cohortium` command.

    Warnings of libraries and asyncio's own log are for developers (`python -W default`): a person at a hospital
    gets sentences, and nothing that may quote a value.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # small models gain nothing from threads and burn the other cores
    from cohortium.cli.app import run

    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.getLogger("asyncio").addHandler(logging.NullHandler())
    logging.getLogger("asyncio").propagate = False
    sys.exit(run(sys.argv[1:]))
