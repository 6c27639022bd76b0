"""The code a study brings along: `[model] factory = "net:build"` is `build` in `net.py` beside the study file.

Whoever approves a study approves this file: `code_digest` is the SHA-256 of its bytes, and the study's own digest
covers it. The file is read once; what is hashed is what runs. It stands alone: neither it nor the study's folder
is put on the import path, so that no second file comes in unseen. It may import whatever is installed.
What it raises is told by file, line and kind of error only, because its text may hold a patient's value.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from cohortium.core.study import Study
from cohortium.errors import CohortiumError, Problem, StudyError

__all__ = ["OwnCode", "blamed_on", "check_code", "find_code", "load_code", "loaded_code"]

MAX_CODE_BYTES = 1 << 20
_MODEL = "module"
_MARK = "__cohortium_code__"


@dataclass(frozen=True, kw_only=True)
class OwnCode:
    """The file a study's factory is in, as it was read."""

    path: Path
    module: str
    source: bytes

    @property
    def digest(self) -> str:
        """What the study must name as `code_digest`."""
        return hashlib.sha256(self.source).hexdigest()


def find_code(study: Study, folder: Path) -> OwnCode | None:
    """The file of the study's factory, None where the study brings no code. Raises StudyError when it is not there."""
    factory = study.model.options.get("factory")
    if study.model.name != _MODEL or not isinstance(factory, str):
        return None
    module = factory.partition(":")[0]
    path = folder / f"{module}.py"
    if "." in module:
        raise _wrong(
            "factory", f"'{factory}' is in a package; the code of a study is one file beside it: 'name:factory'"
        )
    try:
        with path.open("rb") as file:
            source = file.read(MAX_CODE_BYTES + 1)
    except OSError as error:
        raise _wrong("factory", f"cannot read '{path}': {error.strerror}") from None
    if len(source) > MAX_CODE_BYTES:
        raise _wrong("factory", f"'{path}' is larger than {MAX_CODE_BYTES} bytes")
    return OwnCode(path=path, module=module, source=source)


def check_code(study: Study, code: OwnCode | None) -> None:
    """Refuse code that is not the approved one. Raises StudyError with both digests."""
    named = study.model.code_digest
    if code is None:
        if named is not None and study.model.name != _MODEL:
            raise _wrong("code_digest", f"model '{study.model.name}' runs no code of yours; leave code_digest out")
        return
    if named is None:
        sentence = f"is missing; read '{code.path}' and, if you approve it, write code_digest = \"{code.digest}\""
        raise _wrong("code_digest", sentence)
    if named != code.digest:
        raise _wrong("code_digest", f"'{code.path}' has digest {code.digest}, approved is {named}")


def load_code(code: OwnCode) -> None:
    """Run the file once and make it known under its name, so that the model finds its factory. Raises StudyError."""
    if _loaded(code.module) == code:
        return
    if _taken(code):
        raise _wrong("factory", f"'{code.module}' is the name of an installed module; rename '{code.path}'")
    module = ModuleType(code.module)
    module.__file__ = str(code.path)
    module.__dict__[_MARK] = code
    sys.modules[code.module] = module
    try:
        with blamed_on(code):
            exec(compile(code.source, str(code.path), "exec"), module.__dict__)  # noqa: S102 - the approved bytes
    except BaseException:
        del sys.modules[code.module]
        raise


def loaded_code(study: Study) -> OwnCode | None:
    """The file of the study's factory, if `load_code` has loaded it."""
    factory = study.model.options.get("factory")
    return _loaded(factory.partition(":")[0]) if isinstance(factory, str) else None


@contextmanager
def blamed_on(code: OwnCode | None) -> Iterator[None]:
    """Turn an error that passed through the study's own file into a StudyError; let others fly."""
    try:
        yield
    except CohortiumError:
        raise
    except Exception as error:
        line = _line_in(code, error)
        if code is None or line is None:
            raise
        raise _wrong("factory", f"'{code.path}' line {line} raised {type(error).__name__}") from None


def _line_in(code: OwnCode | None, error: Exception) -> int | None:
    """The last line of the study's file that the error passed."""
    if code is None:
        return None
    if isinstance(error, SyntaxError) and error.filename == str(code.path):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(code.path)]
    return lines[-1] if lines else None


def _loaded(module: str) -> OwnCode | None:
    held = getattr(sys.modules.get(module), _MARK, None)
    return held if isinstance(held, OwnCode) else None


def _taken(code: OwnCode) -> bool:
    """Whether another module of that name is there or could be imported (looked up, not imported)."""
    if code.module in sys.modules:
        return _loaded(code.module) is None
    spec = importlib.util.find_spec(code.module)
    return spec is not None and (spec.origin is None or Path(spec.origin).resolve() != code.path.resolve())


def _wrong(key: str, sentence: str) -> StudyError:
    return StudyError([Problem(f"model.{key}", sentence)])
