import typing

from cohortium.swarm import events
from cohortium.swarm.machine import _FOLDS


def test_the_machine_folds_every_event_there_is() -> None:
    assert set(_FOLDS) == set(typing.get_args(events.Event))
    assert {kind.__name__ for kind in _FOLDS} | {"Event"} == set(events.__all__)
