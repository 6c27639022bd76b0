"""`python -m benchmarks NAME [options]`: one module a benchmark; `python -m benchmarks` lists them."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
NOT_BENCHMARKS = {"__init__", "__main__", "datasets", "harm_tasks", "synth_worlds"}


def names() -> dict[str, str]:
    """Benchmark name -> first line of what it says of itself."""
    found = {}
    for path in sorted(HERE.glob("*.py")):
        if path.stem not in NOT_BENCHMARKS:
            found[path.stem] = path.read_text(encoding="utf-8").split('"""')[1].strip().splitlines()[0]
    return found


if __name__ == "__main__":
    asked = sys.argv[1:]
    if not asked or asked[0] not in names():
        print("\n".join(f"{name:20} {what}" for name, what in names().items()))
        sys.exit(0 if not asked else 2)
    sys.argv = [f"python -m benchmarks {asked[0]}", *asked[1:]]  # the first is what its usage says
    sys.exit(import_module(f"benchmarks.{asked[0]}").main())  # by its name: functions go to other processes
