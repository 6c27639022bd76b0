"""Evidence as a row of whole numbers and back."""

import numpy as np
import pytest

from cohortium.core.verdicts import Evidence
from cohortium.quality.rows import FIELDS, read_row, row_of

REPAIRS = ("label-polarity", "intensity")
ONE = Evidence(site="porto", n=40, two_class=True, sound=1.25, reversed=-3.5, shifted=0.5, novelty=2.0, contradicted=3,
               flagged=1, majority=1, auroc=0.75, ranking=3.5, repair="intensity", gain=16)  # fmt: skip


def test_a_row_says_what_was_written():
    assert read_row("porto", row_of(ONE, repairs=REPAIRS, silent=False), repairs=REPAIRS) == ONE
    assert read_row("porto", np.zeros(len(FIELDS), dtype=np.int64), repairs=REPAIRS) is None


def test_a_silent_row_holds_nothing_that_was_found_by_labels():
    told = read_row("porto", row_of(ONE, repairs=REPAIRS, silent=True), repairs=REPAIRS)
    assert (told.n, told.novelty, told.two_class) == (40, 2.0, True)
    assert (told.sound, told.reversed, told.repair, told.flagged, told.auroc) == (0.0, 0.0, "", 0, 0.5)


def test_labels_that_are_all_certain_are_believed():
    row = row_of(ONE, repairs=REPAIRS, silent=False)
    row[FIELDS.index("sound")] = 27_725_887  # 40 log 2
    assert read_row("porto", row, repairs=REPAIRS).sound == pytest.approx(40 * np.log(2))


@pytest.mark.parametrize(
    ("field", "value"), [("two_class", 2), ("majority", -1), ("repair", 3), ("flagged", 41), ("n", 4), ("gain", 9),
                         ("contradicted", 41), ("auroc", 1_000_002), ("auroc", -1), ("novelty", 6_000_002),
                         ("novelty", -1), ("sound", 27_725_890), ("reversed", 1 << 62), ("shifted", 27_725_890)]
)  # fmt: skip
def test_what_no_site_can_have_found_is_refused(field, value):
    row = row_of(ONE, repairs=REPAIRS, silent=False)
    row[FIELDS.index(field)] = value
    with pytest.raises(ValueError, match=r"."):
        read_row("porto", row, repairs=REPAIRS)
