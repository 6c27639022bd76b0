"""What a site decided is on disk before anything is done for it."""

import pytest

from cohortium.errors import CohortiumError
from cohortium.node.run_folder import Ending, Figures, RunFolder
from cohortium.swarm.egress import Sent


def test_words_figures_and_endings_are_read_back(tmp_path):
    folder = RunFolder(tmp_path / "7", clock=lambda: 0.0)
    assert folder.decision() is folder.figures() is folder.ending() is folder.report is None
    folder.decide("approve", by="person", study=b"\xab" * 32)
    folder.keep_figures(Figures(measures={"swarm/auroc": 0.9}))
    folder.close(Ending(status="partial", sentence="partial (1/2 sites)", missing={"lund": "left"}))
    again = RunFolder(tmp_path / "7")
    assert (again.decision().word, again.decision().by, again.decision().at) == (
        "approve", "person", "1970-01-01T00:00:00Z",
    )  # fmt: skip
    assert again.figures().measures == {"swarm/auroc": 0.9}
    assert again.ending().exit_code == 3
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "7").iterdir()} == {0o600}


def test_the_last_word_counts(tmp_path):
    folder = RunFolder(tmp_path)
    folder.decide("approve", by="automatic", study=bytes(32))
    folder.decide("stop", by="person", study=bytes(32), why="holidays")
    assert (folder.decision().word, folder.decision().why) == ("stop", "holidays")


def test_what_left_is_on_disk_line_by_line_and_summed_over_all_lives(tmp_path):
    def sent(n_bytes, receiver="lund"):
        return Sent(round=1, kind="offer", what="updates", receiver=receiver, n_bytes=n_bytes, digest=bytes(32))

    first = RunFolder(tmp_path).egress()
    first(sent(100))
    with (tmp_path / "egress.jsonl").open("a") as file:
        file.write('{"round": 1, "ki')  # torn by a kill
    second = RunFolder(tmp_path).egress()
    second(sent(50, "porto"))
    (row,) = second.rows()
    assert (row.n_frames, row.n_bytes, row.receivers) == (2, 150, ("lund", "porto"))
    lines = (tmp_path / "egress.jsonl").read_text().splitlines()
    assert '"bytes":100' in lines[0]
    assert (tmp_path / "egress.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b'{"word": "perhaps"}', b"[]"])
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path, content):
    (tmp_path / "decision.json").write_bytes(content)
    with pytest.raises(CohortiumError, match="is damaged") as caught:
        RunFolder(tmp_path).decision()
    assert "remove the file" in caught.value.hint


@pytest.mark.parametrize(("status", "code"), [("complete", 0), ("partial", 3), ("failed", 4)])
def test_exit_codes_follow_the_ending(status, code):
    assert Ending(status=status, sentence="").exit_code == code
