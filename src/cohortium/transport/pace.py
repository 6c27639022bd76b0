"""How patient a network transport is: every wait it makes, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Pace"]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """connect_s: for a connection to stand. first_retry_s, last_retry_s: shortest and longest pause between attempts,
    doubled each time and shortened by chance. patience_s: before the site whose turn it is not dials after all.
    keepalive_s, keepalive_timeout_s: between signs of life on an idle connection, and for the answer to one.
    """

    connect_s: float = 15.0
    first_retry_s: float = 0.5
    last_retry_s: float = 30.0
    patience_s: float = 10.0
    keepalive_s: float = 30.0
    keepalive_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        for one in fields(self):
            if not getattr(self, one.name) > 0:
                raise ValueError(f"{one.name} must be positive, got {getattr(self, one.name)}")

    def pause_s(self, failures: int, chance: float) -> float:
        """The pause after so many failures in a row; chance, 0 to 1, takes up to half of it away."""
        longest = min(self.last_retry_s, self.first_retry_s * 2.0 ** min(failures - 1, 30))
        return longest * (1 - chance / 2)
