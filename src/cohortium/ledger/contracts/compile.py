"""Compile the contract anew. For developers: needs vyper 0.4.3; nothing else imports this module.

    python -m cohortium.ledger.contracts.compile

It is what `vyper -f abi,bytecode,bytecode_runtime --evm-version london Consortium.vy` gives, written
as `Consortium.json` beside the source: same source and compiler, same bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from cohortium.errors import VerificationFailed
from cohortium.ledger.contracts import MAX_RUNTIME_BYTES, source

__all__ = ["COMPILER", "EVM_VERSION", "compiled", "main"]

COMPILER: Final = "0.4.3"
EVM_VERSION: Final = "london"


def compiled() -> str:
    """The text of `Consortium.json`. Raises VerificationFailed for another compiler or code no EVM would take."""
    import vyper
    from vyper.compiler import compile_code
    from vyper.compiler.settings import Settings

    if vyper.__version__ != COMPILER:
        raise VerificationFailed(f"vyper {vyper.__version__} is installed; the contract is compiled with {COMPILER}")
    made: dict[str, Any] = compile_code(
        source().decode(),
        output_formats=["abi", "bytecode", "bytecode_runtime"],
        settings=Settings(evm_version=EVM_VERSION),
    )
    if (size := len(made["bytecode_runtime"]) // 2 - 1) >= MAX_RUNTIME_BYTES:
        raise VerificationFailed(f"runtime code of {size} bytes; an EVM takes less than {MAX_RUNTIME_BYTES}")
    content = {
        "abi": made["abi"],
        "bytecode": made["bytecode"],
        "bytecode_runtime": made["bytecode_runtime"],
        "compiler": f"vyper {COMPILER}+commit.{vyper.__commit__}",
        "evm_version": EVM_VERSION,
        "source_sha256": hashlib.sha256(source()).hexdigest(),
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write `Consortium.json`."""
    target = Path(__file__).with_name("Consortium.json")
    target.write_text(compiled(), encoding="ascii")
    print(f"{target}: written")


if __name__ == "__main__":
    main()
