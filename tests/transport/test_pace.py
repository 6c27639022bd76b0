import pytest

from cohortium.transport.pace import Pace


def test_pauses_double_up_to_the_longest_and_chance_takes_at_most_half() -> None:
    pace = Pace(first_retry_s=1.0, last_retry_s=10.0)
    assert [pace.pause_s(n, 0.0) for n in (1, 2, 3, 4, 5, 1000)] == [1, 2, 4, 8, 10, 10]
    assert pace.pause_s(1, 1.0) == 0.5


@pytest.mark.parametrize("name", ["connect_s", "first_retry_s", "keepalive_s"])
def test_a_wait_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        Pace(**{name: 0.0})
