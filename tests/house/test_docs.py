"""The reference names everything a user can type or read; pages show what is printed; every link leads somewhere.

A page's `console` blocks are run in order, in an empty folder. `$ ` begins a command (a line that ends in a backslash
goes on in the next one), all other lines are what it prints, on either stream; `$ echo $?` prints the exit code of the
command before. A line `...` stands for any lines; blanks count as one; times and digests are not compared. A `python`
or `toml` block whose first line is a comment with a file name is saved under that name.
"""

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
import typing
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

import cohortium
from cohortium.cli.app import app
from cohortium.core.messages import BODIES, LIMITS
from cohortium.core.study import Study
from cohortium.data import PREPARATIONS
from cohortium.data.flow import RULES
from cohortium.ledger import ENGINES
from cohortium.models import MODELS
from cohortium.quality import DETECTORS
from cohortium.reports.glossary import GLOSSARY
from cohortium.reports.outline import CHECKED_IN
from cohortium.reports.record import RunRecord
from cohortium.strategies import STRATEGIES
from cohortium.swarm.reasons import REASONS
from cohortium.transport import TRANSPORTS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]


def reference(name):
    return (DOCS / "reference" / name).read_text(encoding="utf-8")


def page_id(path):
    return path.relative_to(ROOT).as_posix()


# what a user can type


@pytest.mark.parametrize(
    "registry", [MODELS, STRATEGIES, PREPARATIONS, ENGINES, TRANSPORTS, DETECTORS], ids=lambda r: r.kind
)
def test_every_registered_name_has_its_row_in_the_reference(registry):
    page = reference("registries.md")
    assert [name for name in registry if not re.search(rf"^\| `{name}` \|", page, re.MULTILINE)] == []


def written(field):
    """An option as the reference writes it: `l2 = 0.01`; without a default, or with none, the bare name."""
    value = field.default
    if value is dataclasses.MISSING:
        return f"`{field.name}` (required)"
    if value is None:
        return f"`{field.name}` (none)"
    return f"`{field.name} = {json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def row_of(page, section, name):
    part = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.search(rf"^\| `{name}` \|.*$", part, re.MULTILINE)[0]


@pytest.mark.parametrize(
    ("section", "registry"), [("Models", MODELS), ("Strategies", STRATEGIES), ("Preparations", PREPARATIONS)]
)
def test_every_option_stands_in_its_row_with_its_default(section, registry):
    page = reference("registries.md")
    for name in registry:
        options = ", ".join(written(field) for field in dataclasses.fields(registry.resolve(name)))
        assert f"| {options or '-'} |" in row_of(page, section, name), f"{name} needs: {options or '-'}"


def test_the_reference_says_what_each_model_learns_by():
    page = reference("registries.md")
    for name in MODELS:
        made = MODELS.resolve(name)
        learner = made(factory="some.file:network") if name == "module" else made()
        assert f"| {learner.learns_by} |" in row_of(page, "Models", name)


def test_the_reference_says_which_strategies_work_on_sums_and_what_they_serve():
    page = reference("registries.md")
    for name in STRATEGIES:
        strategy = STRATEGIES.resolve(name)
        assert f"| {strategy.learns_by} | {'yes' if strategy.sums else 'no'} |" in row_of(page, "Strategies", name)


def test_every_study_key_and_default_is_in_the_reference():
    page = reference("study.md")
    missing = []
    for section, field in Study.model_fields.items():
        part = page.split(f"\n## [{section}]\n")[1].split("\n## ")[0]
        plan = next(
            one for one in (field.annotation, *typing.get_args(field.annotation)) if hasattr(one, "model_fields")
        )
        missing += [f"{section}.{key}" for key in plan.model_fields if f"| `{key}` |" not in part]
    assert missing == []


def test_no_help_page_loses_a_word_in_brackets():
    """typer takes `[synth]` for a mark of style and shows nothing."""
    lost = re.compile(r"(?<!\\)\[/?[a-z]")
    found = []
    for path, command in commands(typer.main.get_command(app)):
        texts = [command.help or "", *(getattr(one, "help", None) or "" for one in command.params)]
        found += [(path, text) for text in texts if lost.search(text)]
    assert found == []


def test_the_first_paragraph_of_a_help_text_is_a_sentence():
    """The list of commands shows it alone."""
    shown = {path: (command.help or "").split("\n\n")[0] for path, command in commands(typer.main.get_command(app))}
    assert {path: text for path, text in shown.items() if not text.rstrip().endswith(".")} == {}


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_every_command_and_option_is_in_the_reference():
    page = reference("commands.md")
    for path, command in commands(typer.main.get_command(app)):
        row = re.search(rf"^\| `cohortium {' '.join(path)}[ `].*$", page, re.MULTILINE)
        assert row, path
        options = [o for p in command.params for o in p.opts if o.startswith("--") and o != "--help"]
        assert [f"{path}: {o}" for o in options if f"`{o}`" not in row[0]] == []


def test_every_exit_code_is_in_the_reference():
    page = reference("commands.md")
    for code in (0, 1, 2, 3, 4, 5, 70, 130):
        assert re.search(rf"^\| {code} \|", page, re.MULTILINE), code


def test_every_public_name_of_the_package_and_argument_of_simulate_is_in_the_reference():
    page = reference("python.md")
    assert [name for name in cohortium.__all__ if f"`{name}`" not in page and f"`co.{name}`" not in page] == []
    assert [name for name in inspect.signature(cohortium.simulate).parameters if f"`{name}`" not in page] == []


# what a user can read


def records(kind, seen):
    """Every dataclass inside a type, each once."""
    for inner in typing.get_args(kind):
        records(inner, seen)
    if dataclasses.is_dataclass(kind) and kind not in seen:
        seen.append(kind)
        for hint in typing.get_type_hints(kind).values():
            records(hint, seen)
    return seen


def test_every_field_of_run_json_is_in_the_reference():
    page = reference("run-json.md")
    assert "| `format` |" in page
    assert "| `intervals` |" in page
    for record in records(RunRecord, []):
        missing = [f.name for f in dataclasses.fields(record) if f"| `{f.name}` |" not in page]
        assert missing == [], record.__name__


def test_every_figure_of_the_report_and_every_check_is_in_the_reference():
    page = reference("report-fields.md")
    assert [word.key for word in GLOSSARY if f"| `{word.key}` |" not in page] == []
    assert [check for check in CHECKED_IN if f"| `{check}` |" not in page] == []
    assert [f"L{i}" for i in range(1, 9) if f"| `L{i}` |" not in page] == []


def test_every_message_with_its_fields_and_limit_and_every_reason_is_in_the_reference():
    page = reference("messages.md")
    for kind, body in BODIES.items():
        row = re.search(rf"^\| `{kind}` \|.*$", page, re.MULTILINE)[0]
        assert f"| {LIMITS[kind]:,} |" in row, f"{kind}: {LIMITS[kind]:,}"
        assert [name for name in body.__struct_fields__ if f"`{name}`" not in row] == []
    assert [word for word in REASONS if f"`{word}`" not in page] == []


def test_every_rule_for_bad_records_is_in_the_guide_to_own_data():
    page = (DOCS / "how-to" / "own-data.md").read_text(encoding="utf-8")
    assert [rule for rule in RULES if f"`{rule}`" not in page] == []


# pages


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_between_pages_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        there = page.parent / target if target else page
        assert there.exists(), f"{page_id(page)} -> {target}"
        assert not anchor or anchor in anchors(there), f"{page_id(page)} -> {target}#{anchor}"


def anchors(page):
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    bare = (re.sub(r"[^\w\s-]", "", title.replace("`", "")).strip().lower() for title in titles)
    return {re.sub(r"[\s-]+", "-", title) for title in bare}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_page_loads_anything_from_elsewhere(page):
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"!\[[^\]]*\]\(https?:|<(?:script|link|img|iframe)\b", text) == []


def test_every_page_is_in_the_contents_and_the_other_way_round():
    listed = re.findall(r":\s*([\w/-]+\.md)\s*$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert set(listed) == there
    assert len(listed) == len(set(listed))


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_asks_nothing_of_the_network(tmp_path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install mkdocs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    loaded = re.compile(r"<(?:script|img|iframe)[^>]*\bsrc=\"(https?:)?//|<link[^>]*\bhref=\"(https?:)?//")
    assert [page.name for page in tmp_path.rglob("*.html") if loaded.search(page.read_text(encoding="utf-8"))] == []
    styles = [sheet.read_text(encoding="utf-8") for sheet in tmp_path.rglob("*.css")]
    assert not any(re.search(r"url\(['\"]?(https?:)?//|@import\s+['\"]http", sheet) for sheet in styles)


# what pages show

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^# ([\w-]+\.(?:py|toml))$")
_TIME = re.compile(r"\d+(\.\d+)? s\b")
_DIGEST = re.compile(r"\b[0-9a-f]{16}(?:[0-9a-f]{48})?\b")
_ETA = re.compile(r"\s*ETA .*$")
_SCORE = re.compile(r"\b0\\?\.\d{3}\b")
_MACHINES_APART = 0.02


@dataclass(frozen=True)
class Step:
    """One command and what the page says it prints; or a file to save, with its text."""

    command: str
    shown: str
    file: str = ""


def commands_of(text):
    """The steps of a page in order."""
    for language, block in _FENCE.findall(text):
        named = _FILE.match(block.partition("\n")[0])
        if language in ("python", "toml") and named:
            yield Step("", block, named[1])
        if language == "console":
            yield from _steps(block)


def _steps(block):
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        n = 1
        while lines[n - 1].endswith("\\"):
            n += 1
        yield Step("\n".join(lines[:n]), "\n".join(lines[n:]))


def plain(text):
    """Lines as they are compared: no blanks but single ones, no times, no digests, no empty lines."""
    without = (_DIGEST.sub("DIGEST", _TIME.sub("T s", _ETA.sub("", line))) for line in text.splitlines())
    return [" ".join(line.split()) for line in without if line.strip()]


def matches(shown, printed, *, apart=0.0):
    """Whether the page shows what was printed; `...` stands for any lines. apart: by which a score may differ."""
    lines = plain(shown)
    pattern = "".join(r"(?:.*\n)*" if line == "..." else re.escape(line) + r"\n" for line in lines)
    if apart:
        pattern = _SCORE.sub(r"(0\\.\\d{3})", pattern)
    found = re.fullmatch(pattern, "".join(line + "\n" for line in plain(printed)))
    if found is None or not apart:
        return found is not None
    scores = [float(score) for line in lines for score in _SCORE.findall(line)]
    return all(abs(float(one) - score) <= apart for one, score in zip(found.groups(), scores, strict=True))


def play(text, folder: Path):
    """Runs a page in `folder`; gives (step, what was printed) for every command."""
    where = str(Path(sys.executable).parent)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))},
        "PATH": where + os.pathsep + os.environ["PATH"],
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "default",
        "LC_ALL": "C.UTF-8",
    }
    code = 0
    for step in commands_of(text):
        if step.file:
            (folder / step.file).write_text(step.shown, encoding="utf-8")
            continue
        done = subprocess.run(
            ["bash", "-c", f"(exit {code})\n{step.command}"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=110,
        )
        code = done.returncode
        yield step, done.stdout


SHOWN = [page for page in PAGES if "```console" in page.read_text(encoding="utf-8")]


@pytest.mark.slow
@pytest.mark.parametrize("page", SHOWN, ids=page_id)
def test_commands_on_the_page_print_what_the_page_shows(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    apart = 0.0
    if "needs torch" in text:
        pytest.importorskip("torch", reason="this page trains a network")
        apart = _MACHINES_APART  # the bits of a network are those of one machine
    for step, printed in play(text, tmp_path):
        assert matches(step.shown, printed, apart=apart), f"$ {step.command}\n{printed}"


def test_a_score_of_a_network_may_differ_a_little_and_no_more():
    assert matches("AUROC 0.961  x", "AUROC 0.960  x", apart=0.02)
    assert not matches("AUROC 0.961  x", "AUROC 0.960  x")
    assert not matches("AUROC 0.961", "AUROC 0.930", apart=0.02)
    assert not matches("AUROC 0.961", "AUROC high", apart=0.02)


def test_a_page_that_shows_something_else_is_caught(tmp_path):
    page = "```console\n$ echo one\none\n$ echo two\nthree\n$ false\n$ echo $?\n1\n```\n"
    assert [matches(step.shown, printed) for step, printed in play(page, tmp_path)] == [True, False, True, True]
