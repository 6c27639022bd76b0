import dataclasses
import typing

from cohortium.core.messages import Progress, Trouble
from cohortium.swarm import notices


def test_notices_are_frozen_and_name_their_site() -> None:
    for kind in typing.get_args(notices.Notice):
        assert kind.__dataclass_params__.frozen
        assert "site" in {field.name for field in dataclasses.fields(kind)}
        assert kind.__name__ in notices.__all__


def test_what_a_site_said_is_told_with_its_name_and_round() -> None:
    trouble = notices.notice_of("porto", 3, Trouble(stage="train", code="device", where="x:1"))
    assert trouble == notices.Troubled(site="porto", round=3, stage="train", code="device", where="x:1")
    progress = notices.notice_of("porto", 3, Progress(stage="train", fraction=0.5, eta_s=9.0))
    assert progress == notices.Progressed(site="porto", round=3, stage="train", fraction=0.5, eta_s=9.0)
