"""A new study file with a comment beside every choice; what is commented out shows the default."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from cohortium.assembly import learner_options
from cohortium.core.study_text import parse_study
from cohortium.errors import UsageError

__all__ = ["study_text", "write_study"]

_EMPTY = '""'
_NEEDED = {"factory": '"net:build"              # function `build` in net.py beside this file'}
_TEXT = """\
# A cohortium study: the plan all sites approve. Check it with: cohortium study check {file}

[study]
name = {name}
outcome = {outcome}
# features = ["age", "sex"]        # only these columns; default: every column but the outcome
# exclude = ["discharged_at"]      # or every column but these. Leave out what is known only after the outcome.

[cohort]
# patient = "patient_id"           # column that tells patients apart; default: one row is one patient
# fill = "mean"                    # missing values: mean, gaussian, none
# scale = "standard"               # standard, site, shrunk, combat, none; public: agreed ranges, as under [privacy] dp
# ranges = {{ age = [18, 100] }}     # of scale = "public": from textbooks, devices, publications, never from the data

[model]
name = {model}
{options}
[strategy]
name = "auto"                      # exact-sums where the model learns by sums, else fedavg
# rounds = 20
# min_sites = 3                    # default: more than half of the sites

[privacy]
# secure_aggregation = true        # members see only the sum of updates; default: from three sites on
# weights = "public"               # hidden: the number of a site's training rows is masked too

[quality]
# gate = "consortium"              # warn a site whose units (3 sites) or label coding (6) differ from the others'
# copies = true                    # with it: look for the same patient at two sites; no privacy guarantee
# detector = "out-of-bag"          # audit the sites' data before a simulated training; 8 sites, or 10 and more

[evaluation]
test_fraction = 0.3                # patients held out at every site
calibration_fraction = 0.1         # patients kept for recalibration and thresholds
seed = 0
"""


def study_text(*, name: str, outcome: str, model: str = "", file: str = "study.toml") -> str:
    """The text of a new study. outcome: a column, or `time,event` for survival."""
    time, comma, event = (part.strip() for part in outcome.partition(","))
    survival = bool(comma)
    if not time or (survival and not event):
        raise UsageError(f"outcome must be a column or TIME,EVENT, got {outcome!r}")
    shown = f"{{ time = {_quoted(time)}, event = {_quoted(event)} }}" if survival else _quoted(time)
    chosen = model or ("cox" if survival else "logistic")
    text = _TEXT.format(file=file, name=_quoted(name), outcome=shown, model=_quoted(chosen), options=_options(chosen))
    parse_study(text, path=file)
    return text


def _options(model: str) -> str:
    """The model's options with their defaults, commented out; those without a default open. Raises StudyError."""
    lines = []
    for field in learner_options(model):
        if field.default is dataclasses.MISSING:
            lines.append(f"{field.name} = {_NEEDED.get(field.name, _EMPTY)}")
        elif isinstance(field.default, bool | int | float | str):
            lines.append(f"# {field.name} = {json.dumps(field.default)}")
    return "".join(f"{line}\n" for line in lines)


def write_study(path: Path, *, outcome: str, model: str, name: str) -> None:
    """Write a new study file. Raises UsageError when the file is there already."""
    text = study_text(name=name, outcome=outcome, model=model, file=path.name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"'{path}' exists already; choose another name or remove it") from None
    except OSError as error:
        raise UsageError(f"cannot write '{path}': {error.strerror}") from None


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
