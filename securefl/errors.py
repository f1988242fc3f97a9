"""Every error a user can meet, each with the exit code that the command line gives it."""

from collections.abc import Mapping
from decimal import ROUND_CEILING, Context
from types import MappingProxyType

_ENOUGH_DIGITS = Context(prec=4, rounding=ROUND_CEILING)


class Interrupted(BaseException):
    """Raised when somebody presses Ctrl-C; not an Exception, so that it never counts as failure."""


class SecureflError(Exception):
    """A failure with one clear sentence; ends a command with its exit code."""

    exit_code = 1


class ScenarioError(SecureflError):
    """Raised when the scenario, an option or a path is wrong; nothing was run."""

    exit_code = 2


class DataError(SecureflError):
    """Raised when a data file is missing, damaged or not the published one."""


class NotReady(DataError):
    """Raised at a site whose own records differ from what was agreed; the sentence stays there."""

    exit_code = 2


class RunFolderError(SecureflError):
    """Raised when a run folder is damaged, in use, or holds something else."""


class LedgerError(SecureflError):
    """Raised when a privacy ledger was truncated, edited or does not fit its run."""


class RunFailed(SecureflError):
    """Raised when a run cannot go on; its last good model is kept."""


class NoResult(RunFailed):
    """Raised when a run has ended without a result, and starting it again cannot give it one."""


class PluginError(SecureflError):
    """Raised when code that a scenario names, and that is none of ours, did something wrong."""


class BudgetExceeded(SecureflError):
    """Raised when the next release would cost more than the privacy budget allows."""

    exit_code = 3


class PolicyRefused(SecureflError):
    """Raised when a site's own policy does not allow what its coordinator proposes or asks."""

    exit_code = 4


class ProtocolError(SecureflError):
    """Raised when a message is illegal, or a call comes in the wrong state."""


class RoundAbandoned(SecureflError):
    """Raised when a round ends without a result; model and server state stay as they were.

    Args:
        message: one sentence that says why.
        named: client -> the reason for which it takes no further part in the run.
        paired: clients of which one is at fault; neither is chosen again.
    """

    def __init__(
        self,
        message: str,
        *,
        named: Mapping[int, str] = MappingProxyType({}),
        paired: tuple[tuple[int, int], ...] = (),
    ) -> None:
        super().__init__(message)
        self.named = named
        self.paired = paired


class ClientFailure(SecureflError):
    """Raised when one client cannot take part in a round; the others go on without it."""


class ReleasedBefore(ClientFailure):
    """Raised when a client has paid for a release before, and its noise cannot be drawn again."""


def at_least(value: float) -> str:
    """Returns a number > 0 in few digits that is never below the value.

    A sentence that tells somebody to write a number "or more" must name one that is enough.
    """
    return f"{float(_ENOUGH_DIGITS.create_decimal_from_float(value)):g}"
