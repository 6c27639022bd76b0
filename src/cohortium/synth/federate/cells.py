"""Which generator learns by which federation, and why the others do not: one clear sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["REFERENCES", "SINGLE", "cell_refused", "federations_of", "refused_under_masks"]

REFERENCES: Final = ("central", "isolated")
"""Settings of a simulation; no swarm ends in them."""
SINGLE: Final[Mapping[str, str]] = {
    "sharing": "shows the rows each site has drawn",
    "ensemble": "shows single-site models",
    "cyclic": "shows every site the model its predecessor made",
}
"""Federations that need single contributions, and what they show."""

_BY_SUMS = ("exact", "sharing", "similarity", "ensemble")
_BY_WEIGHTS = ("fedavg", "sharing", "similarity", "ensemble", "cyclic")
_NOISY = ("exact",)


def federations_of(generator: str, learns_by: str, *, private: bool = False) -> tuple[str, ...]:
    """The federations of a generator, best first. private: of a network under [privacy.dp]."""
    if private:
        return ("fedavg",)
    if generator == "marginal_dp":
        return _NOISY
    return _BY_SUMS if learns_by == "sums" else _BY_WEIGHTS


def cell_refused(generator: str, learns_by: str, federation: str, *, private: bool = False) -> str:
    """Why this generator does not learn by this federation; empty when it does. private: a network under dp."""
    if federation in REFERENCES:
        return (
            f"federation '{federation}' is a reference for simulations, no swarm learns by it;"
            f" `cohortium synth bench --settings {federation}` measures it"
        )
    able = federations_of(generator, learns_by, private=private)
    if federation in able:
        return ""
    choose = (
        ("under [privacy.dp] " if private else "")
        + "choose "
        + " or ".join(part for part in (", ".join(able[:-1]), able[-1]) if part)
    )
    if federation == "exact":
        return f"federation 'exact' adds up sums, generator '{generator}' trains a network; {choose}"
    if private:
        return f"federation '{federation}' shows more of a network than its noisy steps; {choose}"
    if generator == "marginal_dp":
        return (
            f"generator 'marginal_dp' adds the noise of one budget to one set of sums; federation '{federation}' would"
            f" need it several times, weight it or leave it out; {choose}"
        )
    return f"federation '{federation}' hands on weights of a network, generator '{generator}' learns by sums; {choose}"


def refused_under_masks(federation: str, learns_by: str, *, by_default: bool) -> str:
    """Why a federation that needs single contributions cannot be under secure aggregation."""
    how, other = " by default" if by_default else "", "exact" if learns_by == "sums" else "fedavg"
    return (
        f"federation '{federation}' {SINGLE[federation]}, but secure aggregation is on{how};"
        f" choose '{other}', or say secure_aggregation = false under [privacy]"
    )
