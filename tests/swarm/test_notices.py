import dataclasses
import typing

from cohortium.swarm import notices


def test_notices_are_frozen_and_name_their_site() -> None:
    for kind in typing.get_args(notices.Notice):
        assert kind.__dataclass_params__.frozen
        assert "site" in {field.name for field in dataclasses.fields(kind)}
        assert kind.__name__ in notices.__all__
