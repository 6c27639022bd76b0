"""From what went wrong at this site to the one word its peers may hear of it.

The text of a foreign error may hold a patient's value, so it stays in the site's own log. What travels is a code, and
where in our code it happened. Which codes there are is on the ledger's list (`swarm.reasons`).
"""

from __future__ import annotations

import errno
import signal

from cohortium.errors import CohortiumError, DataError, MissingExtra, StudyError, TrainingFailed

__all__ = ["code_of_error", "code_of_exit", "sentence_of"]

_ERRNO = {
    errno.ENOSPC: "disk",
    errno.EDQUOT: "disk",
    errno.EROFS: "path_readonly",
    errno.EACCES: "path_readonly",
    errno.EPERM: "path_readonly",
    errno.ENOMEM: "memory",
}
_SHARED_MEMORY = ("bus error", "shared memory", "/dev/shm", "shm_open")  # noqa: S108 - words in messages
_DEVICE = ("cuda", "cudnn", "cublas", "nccl", "hip error", "mps backend", "no kernel image", "device-side")
_SIGNALS = {signal.SIGBUS: "shared_memory", signal.SIGKILL: "memory"}


def code_of_error(error: BaseException) -> str:
    """The code of an error raised while reading data or training."""
    match error:
        case TrainingFailed():
            return error.code
        case DataError():
            return "data"
        case StudyError() | MissingExtra():
            return "code"
        case MemoryError():
            return "memory"
        case OSError() if error.errno in _ERRNO:
            return _ERRNO[error.errno]
    words = f"{type(error).__name__} {error}".lower()
    if any(word in words for word in _SHARED_MEMORY):
        return "shared_memory"
    if "outofmemory" in words or "out of memory" in words or "defaultcpuallocator" in words:
        return "memory"
    if any(word in words for word in _DEVICE) or "acceleratorerror" in words:
        return "device"
    return "error"


def code_of_exit(status: int) -> str:
    """The code of a worker process that ended by itself. status: as `Popen.returncode` gives it, negative = signal."""
    return _SIGNALS.get(-status, "error") if status < 0 else "error"  # type: ignore[call-overload]


def sentence_of(error: BaseException) -> str:
    """What this site's own log and screen say: our sentences in full, of foreign errors the kind only."""
    if isinstance(error, CohortiumError):
        return f"{error}; {error.hint}" if error.hint else str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return f"{type(error).__name__}: {error.strerror}" + (f" '{error.filename}'" if error.filename else "")
    return type(error).__name__
