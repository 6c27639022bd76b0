"""Records needed: the design's table is found again."""

import pytest

from cohortium.quality.power import AUROCS, NEEDED, detection_power, needed_records, records_for_power


@pytest.mark.parametrize(("auroc", "harm"), [(0.75, "reversed"), (0.85, "reversed"), (0.95, "reversed"),
                                             (0.85, "unrelated"), (0.95, "unrelated")])  # fmt: skip
def test_the_simulation_finds_the_designs_numbers(auroc, harm):
    expected = NEEDED[harm][AUROCS.index(auroc)]
    assert records_for_power(auroc, harm=harm) == pytest.approx(expected, rel=0.1, abs=1)


def test_half_the_records_do_not_have_the_power():
    assert detection_power(0.75, 20) == pytest.approx(0.8, abs=0.06)
    assert detection_power(0.75, 10) < 0.6


def test_needed_records_are_read_off_between_columns():
    assert needed_records(0.85) == 9
    assert needed_records(0.625) == 103
    assert needed_records(0.5) == 143
    assert needed_records(0.95, harm="unrelated") == 18
