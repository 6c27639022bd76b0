"""`synth seals`: its words and its exit codes; what holds and what does not is tested with the seals."""

from cohortium.cli.app import run as run_command


def test_a_folder_without_a_generator_is_named(tmp_path, capsys):
    assert run_command(["synth", "seals", str(tmp_path)]) == 2
    assert "cannot read generator" in capsys.readouterr().err
