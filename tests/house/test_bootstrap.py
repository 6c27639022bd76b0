"""The bootstrap decides rightly and asks pip for nothing more: every branch, with a fake pip."""

import ast
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TORCH = "torch==2.13.0"


@pytest.fixture
def bootstrap(tmp_path, monkeypatch):
    """bootstrap.py as a module that believes it stands in an empty checkout without a GPU."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("pyproject.toml", "constraints.txt", "bootstrap.py"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(module, "HERE", str(tmp_path))
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    monkeypatch.setattr(module.sys, "platform", "linux")
    return module


class Pip:
    """A pip (and venv) that writes down what it is asked and fails where it is told to."""

    def __init__(self, *, wheel=False, cpu_index=True, usual_index=True, install=True, torch=""):
        self.wheel, self.cpu_index, self.usual_index, self.install = wheel, cpu_index, usual_index, install
        self.torch = torch
        self.asked = []

    def call(self, command, silent=False):
        words = command[1:]
        self.asked.append(" ".join(words))
        if words[:2] == ["-m", "venv"]:
            Path(words[-1]).mkdir(exist_ok=True)
            return 0
        if "--dry-run" in words:
            return 0 if self.wheel else 1
        if "--index-url" in words:
            return 0 if self.cpu_index else 1
        if TORCH in words:
            return 0 if self.usual_index else 1
        return 0 if self.install else 1

    def answer(self, command):
        return self.torch

    def torch_orders(self):
        return [one for one in self.asked if TORCH in one and "--dry-run" not in one]


def set_up(bootstrap, words, fake):
    return bootstrap.set_up(bootstrap.read_line(words.split()), fake.call, fake.answer)


# --- torch -----------------------------------------------------------------------------------------


def test_a_wheel_at_hand_is_taken_without_naming_an_index(bootstrap):
    fake = Pip(wheel=True)
    set_up(bootstrap, "demo", fake)
    [order] = fake.torch_orders()
    assert "--index-url" not in order


def test_the_probe_for_a_wheel_never_asks_an_index(bootstrap):
    fake = Pip()
    set_up(bootstrap, "demo", fake)
    [probe] = [one for one in fake.asked if "--dry-run" in one]
    assert "--no-index" in probe
    assert "--no-deps" in probe


def test_cuda_comes_from_the_configured_index_when_asked(bootstrap):
    fake = Pip()
    set_up(bootstrap, "--cuda demo", fake)
    [order] = fake.torch_orders()
    assert "--index-url" not in order


def test_a_gpu_is_enough_to_take_the_configured_index(bootstrap, monkeypatch):
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    fake = Pip()
    set_up(bootstrap, "demo", fake)
    assert "--index-url" not in fake.torch_orders()[0]


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_no_cuda_build_to_fear(bootstrap, platform):
    assert bootstrap.torch_plan("", False, False, False, platform)[0] == "configured"


def test_without_a_gpu_the_cpu_index_is_asked_briefly(bootstrap):
    fake = Pip()
    set_up(bootstrap, "demo", fake)
    [order] = fake.torch_orders()
    assert "--retries 1 --timeout 15 --index-url https://download.pytorch.org/whl/cpu" in order


def test_an_unreachable_cpu_index_stops_with_the_ways_out_and_never_falls_through(bootstrap):
    fake = Pip(cpu_index=False)
    with pytest.raises(bootstrap.Stop) as stop:
        set_up(bootstrap, "demo", fake)
    for way in ("PIP_FIND_LINKS=FOLDER make demo", "make demo ARGS=--cuda", "make demo ARGS=--no-torch"):
        assert way in str(stop.value)
    assert len(fake.torch_orders()) == 1
    assert "install -qq -c" not in fake.asked[-1]


@pytest.mark.parametrize("present", ["2.13.0", "2.13.0+cpu", "2.13.0+cu126"])
def test_the_pinned_torch_is_left_alone_whatever_its_label(bootstrap, present):
    fake = Pip(torch=present)
    set_up(bootstrap, "demo", fake)
    assert fake.torch_orders() == []


def test_another_torch_is_replaced_because_pip_would_do_it_with_cuda(bootstrap):
    assert bootstrap.torch_plan("2.12.1+cpu", False, False, False, "linux")[0] == "cpu-index"


def test_cuda_replaces_a_cpu_build(bootstrap):
    assert bootstrap.torch_plan("2.13.0+cpu", True, False, False, "linux")[0] == "configured"
    assert bootstrap.torch_plan("2.13.0+cu126", True, False, False, "linux")[0] == "nothing"


def test_no_torch_asks_for_no_torch(bootstrap):
    fake = Pip()
    set_up(bootstrap, "demo --no-torch", fake)
    assert "torch==" not in " ".join(fake.asked)
    assert fake.asked[-1].endswith("[evm,dp,demo-data]")


# --- the rest of a set-up --------------------------------------------------------------------------


def test_set_up_makes_a_place_then_installs_with_constraints(bootstrap, tmp_path):
    fake = Pip()
    place = set_up(bootstrap, "test", fake)
    assert fake.asked[0] == f"-m venv {tmp_path / '.venv'}"
    assert fake.asked[-1].endswith(f"-c {tmp_path / 'constraints.txt'} -e {tmp_path}[dev]")
    assert Path(place.stamp).exists()


def test_a_second_call_asks_nothing(bootstrap):
    set_up(bootstrap, "test", Pip())
    second = Pip()
    set_up(bootstrap, "test", second)
    set_up(bootstrap, "lint", second)
    set_up(bootstrap, "demo", second)
    assert second.asked == []


def test_a_larger_extra_is_added_to_what_is_there(bootstrap):
    set_up(bootstrap, "demo", Pip())
    second = Pip(torch="2.13.0")
    set_up(bootstrap, "test", second)
    assert second.asked[-1].endswith("[dev]")


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "bootstrap.py"])
def test_a_changed_file_sets_up_again(bootstrap, tmp_path, name):
    set_up(bootstrap, "test", Pip())
    (tmp_path / name).write_text("# another\n")
    again = Pip()
    set_up(bootstrap, "test", again)
    assert again.asked[-1].endswith("[dev]")
    assert "--clear" not in again.asked[0]


@pytest.mark.parametrize("change", ["version", "folder"])
def test_another_python_or_a_moved_checkout_starts_from_scratch(bootstrap, tmp_path, monkeypatch, change):
    set_up(bootstrap, "test", Pip())
    if change == "version":
        monkeypatch.setattr(bootstrap.sys, "version", "3.13.0 another")
    else:
        moved = tmp_path.parent / f"{tmp_path.name}-moved"
        tmp_path.rename(moved)
        monkeypatch.setattr(bootstrap, "HERE", str(moved))
    again = Pip()
    set_up(bootstrap, "test", again)
    assert "--clear" in again.asked[0]


def test_a_failed_installation_leaves_no_stamp(bootstrap, tmp_path):
    set_up(bootstrap, "demo", Pip())
    with pytest.raises(bootstrap.Stop, match="could not install"):
        set_up(bootstrap, "test", Pip(install=False))
    assert not (tmp_path / ".venv" / "cohortium-stamp.json").exists()


def test_a_damaged_stamp_counts_as_none(bootstrap, tmp_path):
    place = set_up(bootstrap, "demo", Pip())
    for content in ("", "[]", "{"):
        Path(place.stamp).write_text(content)
        again = Pip()
        set_up(bootstrap, "demo", again)
        assert again.asked


def test_with_and_without_torch_live_apart(bootstrap):
    with_torch = set_up(bootstrap, "test", Pip())
    without = set_up(bootstrap, "test --no-torch", Pip())
    assert with_torch.folder != without.folder
    assert "extras" in json.loads(Path(without.stamp).read_text())


def test_offline_takes_everything_from_the_folder(bootstrap, tmp_path):
    fake = Pip()
    set_up(bootstrap, f"demo --offline {tmp_path}", fake)
    pips = [one for one in fake.asked if one.startswith("-m pip")]
    assert len(pips) == 1
    assert f"--no-index --find-links {tmp_path}" in pips[0]


def test_offline_without_the_folder_says_how_to_make_one(bootstrap, tmp_path):
    with pytest.raises(bootstrap.Stop, match="make wheelhouse"):
        set_up(bootstrap, f"demo --offline {tmp_path / 'absent'}", Pip())


def test_a_wheelhouse_fetches_torch_by_the_same_branches_and_the_build_backend(bootstrap, tmp_path):
    fake = Pip()
    assert bootstrap.fill_wheelhouse(bootstrap.read_line(["wheelhouse"]), fake.call) == 0
    torch, rest = fake.asked[-2:]
    assert "download" in torch
    assert "--index-url" in torch
    assert all(word in rest for word in ("hatchling", "editables", f"{tmp_path}[dev]"))


def test_a_missing_file_is_told_as_a_broken_checkout(bootstrap, tmp_path):
    (tmp_path / "constraints.txt").unlink()
    with pytest.raises(bootstrap.Stop, match=r"constraints\.txt is missing"):
        set_up(bootstrap, "demo", Pip())


def test_no_index_but_the_cpu_one_is_named_anywhere():
    text = (ROOT / "bootstrap.py").read_text() + (ROOT / "pyproject.toml").read_text() + (ROOT / "Makefile").read_text()
    assert text.count("://") == 1


# --- lock and the oldest versions ------------------------------------------------------------------


def test_constraints_drop_labels_cuda_and_the_project(bootstrap):
    frozen = (
        "-e git+x#egg=cohortium\nnumpy==2.4.6\nnvidia-cublas-cu12==12.4\nnvidia_nccl==2\n"
        "cuda-bindings==1\ntorch==2.13.0+cpu\ntriton==3.4.0\nlocal @ file:///x\n"
    )
    assert bootstrap.constraints_text(frozen).splitlines()[1:] == ["numpy==2.4.6", "torch==2.13.0"]


def test_the_oldest_versions_are_the_lower_bounds(bootstrap):
    project = {
        "project": {
            "dependencies": ["numpy>=1.26,<3", "py-evm==0.12.1b1"],
            "optional-dependencies": {"torch": ["torch>=2.6"], "evm": [], "frames": ["pandas>=2.2"], "demo-data": []},
        }
    }
    assert bootstrap.lowest_plan(project) == ["numpy==1.26", "py-evm==0.12.1b1", "pandas==2.2"]


def test_every_requirement_has_a_lower_bound(bootstrap):
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = project["project"]["dependencies"] + extras["evm"] + extras["frames"] + extras["demo-data"]
    assert len(bootstrap.lowest_plan(project)) == len(wanted)


# --- the command line ------------------------------------------------------------------------------


def test_options_stand_before_or_behind_the_verb(bootstrap):
    before = bootstrap.read_line(["--no-torch", "test", "-k", "x"])
    behind = bootstrap.read_line(["test", "-k", "x", "--no-torch"])
    assert before == behind
    assert before.arguments == ["-k", "x"]


@pytest.mark.parametrize("words", [[], ["--no-torch"], ["tset"], ["--cpu", "test"], ["demo", "--offline"]])
def test_a_wrong_line_is_a_sentence_and_code_two(bootstrap, words, capsys):
    assert bootstrap.main(words) == 2
    assert capsys.readouterr().err.strip()


def test_every_verb_of_the_makefile_is_known_and_the_other_way_round(bootstrap):
    [verbs] = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("VERBS = ")]
    assert sorted(verbs.split()[2:]) == sorted(bootstrap.VERBS)


@pytest.mark.parametrize("version", [(2, 7), (3, 8), (3, 10), (3, 14), (4, 0)])
def test_a_wrong_python_is_told_which_one_is_right(bootstrap, version):
    assert "needs Python 3.11, 3.12 or 3.13" in bootstrap.python_problem(version)
    assert "PYTHON=python3.12" in bootstrap.python_problem(version, ["python3.12"])


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_the_promised_pythons_are_right(bootstrap, version):
    assert bootstrap.python_problem(version) == ""


def test_the_syntax_is_that_of_python_3_8():
    ast.parse((ROOT / "bootstrap.py").read_text(), feature_version=(3, 8))
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case 1: pass", feature_version=(3, 8))


def test_only_the_standard_library_is_imported():
    tree = ast.parse((ROOT / "bootstrap.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - {"venv", "ensurepip"} <= set(sys.stdlib_module_names)


def test_a_python_without_venv_names_the_package_to_install(bootstrap, monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(bootstrap.Stop, match="apt install python3-venv"):
        set_up(bootstrap, "demo", Pip())


@pytest.fixture
def checkout(tmp_path):
    """A checkout that is set up for `type`, with the text of its Python to be written by the test."""
    for name in ("pyproject.toml", "constraints.txt", "bootstrap.py"):
        shutil.copy(ROOT / name, tmp_path)
    prepare = (
        "import json, os, bootstrap as b\n"
        "line = b.read_line(['type'])\n"
        "place = b.place_of(line)\n"
        "os.makedirs(os.path.dirname(place.python))\n"
        "json.dump(b.stamp_of(line), open(place.stamp, 'w'))\n"
    )
    subprocess.run([sys.executable, "-c", prepare], cwd=tmp_path, check=True)

    def write(text):
        python = tmp_path / ".venv" / "bin" / "python"
        python.write_text(text)
        python.chmod(0o755)
        return tmp_path

    return write


def test_a_set_up_place_costs_less_than_a_second_and_passes_the_exit_code_on(checkout):
    place = checkout('#!/bin/sh\necho "$@"\nexit 7\n')
    used = os.times()
    began = used.children_user + used.children_system
    command = [sys.executable, "bootstrap.py", "type", "--strict"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    used = os.times()
    assert (done.returncode, done.stdout, done.stderr) == (7, "-m mypy --strict\n", "")
    assert used.children_user + used.children_system - began < 1.0


def test_compiled_modules_are_kept_whatever_the_shell_says(bootstrap, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert bootstrap.outlast([sys.executable, "-c", "import sys; sys.exit(sys.dont_write_bytecode)"]) == 0


def test_an_interrupted_verb_may_save_before_it_ends(checkout):
    saving = (
        f"#!{sys.executable}\nimport signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"  # a background job begins with it ignored
        "print('ready', flush=True)\nsignal.sigwait([signal.SIGINT])\n"
        "sum(range(30_000_000))\nprint('saved', flush=True)\nsys.exit(130)\n"  # longer than run() would wait
    )
    command = [sys.executable, "bootstrap.py", "type"]
    with subprocess.Popen(command, cwd=checkout(saving), stdout=subprocess.PIPE, start_new_session=True) as running:
        assert running.stdout.readline() == b"ready\n"
        os.killpg(running.pid, signal.SIGINT)
        rest, _ = running.communicate(timeout=60)
    assert (rest, running.returncode) == (b"saved\n", 130)
