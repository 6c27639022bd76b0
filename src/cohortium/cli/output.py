"""What a person or a script sees: progress on stderr, results on stdout, JSON strict and alone.

No colour, no cursor codes and no wrapped tables unless the stream is a terminal.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Screen", "strict_json"]


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Where lines go. as_json: stdout holds JSON only. quiet: errors and the final lines only."""

    as_json: bool = False
    quiet: bool = False

    def say(self, text: str) -> None:
        """One line of progress or advice."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """One line of warning."""
        if not self.quiet:
            print(f"{_styled('warning:', '33')} {text}", file=sys.stderr, flush=True)

    def result(self, text: str) -> None:
        """A line of the result; goes to stderr when stdout belongs to JSON."""
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def document(self, content: Mapping[str, Any]) -> None:
        """The JSON document of `--json`, and nothing without it."""
        if self.as_json:
            print(strict_json(content), flush=True)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Aligned columns on a terminal, tab-separated lines otherwise."""
        if self.as_json:
            return
        if not sys.stdout.isatty():
            for row in [header, *rows]:
                print("\t".join(row))
            return
        from rich.console import Console
        from rich.table import Column, Table

        table = Table(
            *(Column(name, overflow="fold") for name in header),
            box=None,
            pad_edge=False,
            header_style="bold" if _colour(sys.stdout) else "",
        )
        for row in rows:
            table.add_row(*row)
        Console(no_color=not _colour(sys.stdout), highlight=False, markup=False).print(table)


def strict_json(content: Mapping[str, Any]) -> str:
    """JSON without NaN or infinity: they become null."""
    return json.dumps(_finite(content), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _colour(stream: Any) -> bool:
    return bool(stream.isatty()) and "NO_COLOR" not in os.environ


def _styled(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if _colour(sys.stderr) else text
