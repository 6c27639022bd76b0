"""The numbers of the contract and their words: limits, states, phases, flags, kinds of ballots, verdicts.

Reason codes are not here: the contract takes any from 1 to 255; their words belong to the nodes.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ACTIVE",
    "ADMIT",
    "APPROVING",
    "ATTEST",
    "CLOSE",
    "COLLECT",
    "DECIDED",
    "DECLINED",
    "DRAWN",
    "DROP",
    "ELIMINATE",
    "END",
    "EXCHANGE",
    "EXCLUDE",
    "EXCLUDED",
    "FAILED",
    "FAILOVER",
    "FINAL",
    "FINISHED",
    "HARM",
    "INCONCLUSIVE",
    "KEEP_SHIFTED",
    "LEFT",
    "MASKED",
    "MAX_APPEALS",
    "MAX_ATTEMPTS",
    "MAX_CODE",
    "MAX_FOUNDERS",
    "MAX_JOINERS",
    "MAX_MEMBERS",
    "MAX_ROUNDS",
    "MAX_TIMEOUT_S",
    "OPEN",
    "POST",
    "PROCEED",
    "QUARANTINE",
    "READYING",
    "REKEY",
    "RUNNING",
    "SURVIVORS",
    "VECTORS",
    "VOID",
]

MAX_FOUNDERS: Final = 128
MAX_MEMBERS: Final = 255
MAX_JOINERS: Final = 128
MAX_TIMEOUT_S: Final = 31_536_000
MAX_ROUNDS: Final = 1_000_000
MAX_CODE: Final = 255
MAX_ATTEMPTS: Final = 3
MAX_APPEALS: Final = 3

# a member
ACTIVE, EXCLUDED, LEFT = 1, 2, 3
# a run
APPROVING, READYING, RUNNING, FINISHED, FAILED = 1, 2, 3, 4, 5
# a round
COLLECT, EXCHANGE, ATTEST, FINAL = 1, 2, 3, 4
# flags of a plan
DRAWN, MASKED = 1, 2
# steps of the masked recipe that the contract knows
VECTORS, SURVIVORS = 2, 3
# kinds of ballots
ADMIT, EXCLUDE, REKEY, OPEN, PROCEED, CLOSE, DROP, END, FAILOVER, VOID, HARM, POST = range(1, 13)
# the bit of a harm ballot that says a verdict was reached
DECIDED: Final = 255
# the reason code of a run that too few approved
DECLINED: Final = 9
# verdicts: 1 keep, 2 keep-shifted, 3 repair, 4 quarantine, 5 eliminate, 6 inconclusive
KEEP_SHIFTED, QUARANTINE, ELIMINATE, INCONCLUSIVE = 2, 4, 5, 6
