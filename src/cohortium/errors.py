"""Every error `cohortium` raises on purpose, as one tree. Callers catch families.

CohortiumError
├── UsageError              the command or call is wrong                                   exit 2
├── StudyError              the agreed plan is wrong; carries every problem at once         exit 2
├── DataError               a site's table or image set breaks the agreed schema            exit 2
├── MissingExtra            an optional dependency is not installed                         exit 2
├── PolicyRefused           a site's own rule (consent, budget, policy) says no             exit 1
├── TrainingFailed          local training could not finish; carries stage and code         exit 4
├── RunFailed               the run ended `failed (site, stage, reason)`                    exit 4
├── VerificationFailed      a ledger, attestation or digest does not check                  exit 5
├── PeerError               a peer broke a rule of the protocol: refuse, count, go on
│   ├── FrameError          bytes that are too long, truncated or not of the agreed type
│   └── SignatureError      a signature that is not the claimed sender's
├── InvariantBroken         this node broke a rule of its own: stop
└── LedgerError
    ├── LedgerRefused       the contract reverted; carries its reason
    ├── LedgerUnreachable   no engine answered in time
    └── LedgerForked        two histories were signed; carries the evidence
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "CohortiumError",
    "DataError",
    "FrameError",
    "InvariantBroken",
    "LedgerError",
    "LedgerForked",
    "LedgerRefused",
    "LedgerUnreachable",
    "MissingExtra",
    "PeerError",
    "PolicyRefused",
    "Problem",
    "RunFailed",
    "SignatureError",
    "StudyError",
    "TrainingFailed",
    "UsageError",
    "VerificationFailed",
    "first_of",
]


class CohortiumError(Exception):
    """Anything `cohortium` refuses or gives up on. `hint` says what to do, when that is known."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """For our own worker processes: they hand errors over, and an error is not made of its message alone."""
        return _again, (type(self), self.args), self.__dict__


class UsageError(CohortiumError):
    """The command line or the call is wrong."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a study: where (dotted key), what, and the line if the file is known."""

    key: str
    message: str
    line: int | None = None


class StudyError(CohortiumError):
    """The study is wrong. `problems` holds all of them, in file order."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem], *, path: str = "study", hint: str = "") -> None:
        self.problems = tuple(problems)
        self.path = path
        super().__init__("\n".join(self._sentence(problem) for problem in self.problems), hint=hint)

    def _sentence(self, problem: Problem) -> str:
        where = self.path if problem.line is None else f"{self.path}:{problem.line}"
        return f"{where} {problem.key}: {problem.message}" if problem.key else f"{where}: {problem.message}"


class DataError(CohortiumError):
    """A site's data break the agreed schema. Never carries a patient's value; rows and counts only.

    problems: the sentences one by one, where a study's key asks for what the data do not have; key "" for the others.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", problems: Sequence[Problem] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)

    @classmethod
    def about(cls, problems: Sequence[Problem]) -> DataError:
        """One error for all of these, a sentence a line."""
        return cls("\n".join(problem.message for problem in problems), problems=problems)


class MissingExtra(CohortiumError):
    """An optional part is not installed."""

    exit_code = 2

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': pip install 'cohortium[{extra}]'")
        self.extra = extra


class PolicyRefused(CohortiumError):
    """A rule this site has set for itself says no."""


class TrainingFailed(CohortiumError):
    """Local training stopped. `stage` and `code` travel to the peers; the text stays at the site."""

    exit_code = 4

    def __init__(self, message: str, *, stage: str = "train", code: str = "error", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stage = stage
        self.code = code


class RunFailed(CohortiumError):
    """The run ended without a model: which site, at which stage, for which reason."""

    exit_code = 4

    def __init__(self, site: str, stage: str, reason: str) -> None:
        super().__init__(f"failed ({site}, {stage}, {reason})")
        self.site, self.stage, self.reason = site, stage, reason


class VerificationFailed(CohortiumError):
    """Something that can be checked does not check. The message locates the first bad record."""

    exit_code = 5


class PeerError(CohortiumError):
    """A peer did wrong. It is refused and counted; the round goes on. `site` names it, where that is certain."""

    def __init__(self, message: str, *, site: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.site = site


class FrameError(PeerError):
    """Bytes from outside that are too long, truncated or not of the agreed type."""


class SignatureError(PeerError):
    """A signature does not belong to the claimed sender."""


class InvariantBroken(CohortiumError):
    """This node broke a rule of its own. It stops."""

    exit_code = 70


class LedgerError(CohortiumError):
    """The ledger did not do what was asked."""


class LedgerRefused(LedgerError):
    """The contract reverted. `reason` is its one-word reason, e.g. `phase`, `voted`, `once`."""

    def __init__(self, reason: str, *, function: str = "") -> None:
        super().__init__(f"ledger refused {function or 'the call'}: {reason}")
        self.reason = reason


class LedgerUnreachable(LedgerError):
    """No engine answered in time."""


class LedgerForked(LedgerError):
    """Two histories were signed. `evidence` holds both signed heads."""

    exit_code = 5

    def __init__(self, message: str, *, evidence: Sequence[bytes] = ()) -> None:
        super().__init__(message)
        self.evidence = tuple(evidence)


def _again(kind: type[CohortiumError], args: tuple[object, ...]) -> CohortiumError:
    return kind.__new__(kind, *args)


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group; the cancelling of its neighbours is none."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return first_of(error)
        if isinstance(error, Exception):
            return error
    return group.exceptions[0]
