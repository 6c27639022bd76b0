"""Tables of the privacy section, from both sides: shown where there is something, absent where there is nothing."""

from dataclasses import replace

import pytest

from cohortium.core.messages import BODIES
from cohortium.ledger.rules import FUNCTIONS
from cohortium.reports.privacy import EgressLine, PrivacyRecord, RoundProtection, SiteSpending
from cohortium.reports.privacy_sections import PrivacySections, content_of

SITES = ("bonn", "lund", "porto")


def rounds(*survivors):
    return tuple(RoundProtection(round=i, survivors=s, frozen=3, threshold=3) for i, s in enumerate(survivors, start=1))


MASKED = PrivacyRecord(method="masks", noise="operating system", colluders=1, word_bits=32)


def test_sums_that_differ_by_one_site_are_named_unless_noise_covers_them():
    record = replace(MASKED, rounds=rounds(SITES, SITES[:2], SITES[:2], SITES))
    assert PrivacySections(record, SITES).changes() == [
        "round 2 and round 1 differ by porto", "round 4 and round 3 differ by porto",
    ]  # fmt: skip
    assert PrivacySections(replace(record, method="none"), SITES).changes() == []


def test_nothing_to_show_is_no_table():
    empty = PrivacySections(PrivacyRecord(method="none", noise="seeded (simulation)"), SITES)
    assert [made() for made in (empty.survivors, empty.spending, empty.history, empty.egress, empty.egress_by_site,
                                empty.attacks, empty.attacks_by_site)] == [None] * 7  # fmt: skip
    assert dict(empty.facts())["Patients"] == "no formal guarantee"


def test_masks_alone_are_never_called_privacy_of_patients():
    assert "masks hide sites, not patients" in dict(PrivacySections(MASKED, SITES).facts())["Patients"]


def test_survivors_and_the_missing_are_named():
    table = PrivacySections(replace(MASKED, rounds=rounds(SITES, SITES[:2])), SITES).survivors()
    assert table.rows == (("1", "3 of 3", "nobody", "3", "3"), ("2", "2 of 3", "porto", "3", "3"))


def test_equal_histories_share_a_line():
    spent = [
        SiteSpending(site=s, rounds=2, outsiders=1, colluders=1, alone=1, total=1, cap=10, delta=1e-5, history=h)
        for s, h in zip(SITES, [(0.5, 1.0), (0.5, 1.0), (0.7, 1.2)], strict=True)
    ]
    figure = PrivacySections(replace(MASKED, spending=tuple(spent)), SITES).history()
    assert "bonn and 1 more" in figure.html
    assert "porto" in figure.html


def test_kinds_are_added_up_over_sites():
    lines = tuple(
        EgressLine(site=s, kind="offer", what="masked", receivers=2, frames=4, bytes=1000, digest="ab" * 32)
        for s in SITES
    )
    table = PrivacySections(replace(MASKED, egress=lines), SITES).egress()
    assert [(row[0], row[2], row[3], row[4]) for row in table.rows] == [("offer masked", "3", "12", "3,000")]
    assert PrivacySections(replace(MASKED, egress=lines), SITES).egress_by_site().rows[0][5] == "ab" * 8


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_every_kind_of_message_is_explained(kind):
    steps = {"offer": "updates", "step": "survivors"}
    assert content_of(kind, steps.get(kind, ""))


def test_every_call_of_the_contract_is_explained():
    assert all(content_of("ledger", name) for name in FUNCTIONS)
    assert content_of("ledger", "attest") == "a call of the contract"
