"""Each failure hospitals reported has its code; its text stays at home."""

import errno
import signal

import pytest

from cohortium.errors import DataError, MissingExtra, Problem, StudyError, TrainingFailed
from cohortium.node.failures import code_of_error, code_of_exit, sentence_of
from cohortium.swarm.reasons import REASONS


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TrainingFailed("x", code="not_finite"), "not_finite"),
        (DataError("column"), "data"),
        (StudyError([Problem("model.name", "x")]), "code"),
        (MissingExtra("a network", extra="torch"), "code"),
        (MemoryError(), "memory"),
        (OSError(errno.ENOSPC, "no space"), "disk"),
        (OSError(errno.EROFS, "read-only"), "path_readonly"),
        (PermissionError(errno.EACCES, "denied"), "path_readonly"),
        (OSError(errno.ENOENT, "gone"), "error"),
        (RuntimeError("CUDA error: device-side assert triggered"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (OutOfMemoryError("CUDA out of memory"), "memory"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."), "shared_memory"),
        (RuntimeError("unable to open shared memory object </torch_7> in read-write mode"), "shared_memory"),
        (KeyError("x"), "error"),
    ],
)
def test_an_error_becomes_the_word_its_peers_may_hear(error, code):
    assert code_of_error(error) == code
    assert code in REASONS or code == "not_finite"


@pytest.mark.parametrize(
    ("status", "code"),
    [(-signal.SIGBUS, "shared_memory"), (-signal.SIGKILL, "memory"), (-signal.SIGSEGV, "error"), (1, "error")],
)
def test_the_end_of_a_worker_tells_why(status, code):
    assert code_of_exit(status) == code


def test_foreign_errors_are_told_by_kind_only():
    assert sentence_of(ValueError("patient P-0007 is 83")) == "ValueError"
    assert sentence_of(DataError("column 'a'", hint="exclude it")) == "column 'a'; exclude it"
    assert sentence_of(OSError(errno.ENOSPC, "No space left on device", "/x")) == (
        "OSError: No space left on device '/x'"
    )
