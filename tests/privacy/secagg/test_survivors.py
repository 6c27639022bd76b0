import pytest

from cohortium.privacy.secagg.survivors import lone_difference, warnings_of

EVERY = ("bonn", "graz", "lund", "porto")


@pytest.mark.parametrize(
    ("before", "now", "site"),
    [
        (EVERY, EVERY[:3], "porto"),
        (EVERY[1:], EVERY, "bonn"),
        (EVERY, EVERY, ""),
        (EVERY, EVERY[:2], ""),
        (EVERY, (*EVERY[:3], "oslo"), ""),
        ((), ("bonn",), ""),
    ],
)
def test_one_site_in_only_one_of_two_sums_is_found(before, now, site) -> None:
    assert lone_difference(before, now) == site


def test_each_pair_of_successive_rounds_is_looked_at() -> None:
    survivors, rounds = [EVERY, EVERY[:3], EVERY[:3], EVERY], [6, 7, 8, 10]
    assert warnings_of(survivors, rounds) == ("round 7 minus round 6 differs by porto",
                                              "round 10 minus round 8 differs by porto")  # fmt: skip
    assert warnings_of([], []) == ()
