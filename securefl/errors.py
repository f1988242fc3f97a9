"""Every error a user can meet, each with the exit code the command line gives it."""


class Interrupted(BaseException):
    """Somebody pressed Ctrl-C; not an Exception, so that nothing takes it for a failure."""


class SecureflError(Exception):
    """A failure with one clear sentence; ends a command with its exit code."""

    exit_code = 1


class ScenarioError(SecureflError):
    """The scenario, an option or a path is wrong; nothing was run."""

    exit_code = 2


class DataError(SecureflError):
    """A data file is missing, damaged or not what it should be."""


class RunFolderError(SecureflError):
    """A run folder is damaged, in use, or holds something else."""


class LedgerError(SecureflError):
    """A privacy ledger was truncated, edited or does not fit its run."""


class RunFailed(SecureflError):
    """A run could not go on; its last good model is kept."""


class BudgetExceeded(SecureflError):
    """The next release would cost more than the privacy budget allows."""

    exit_code = 3


class ProtocolError(SecureflError):
    """A message is illegal, or a call came in the wrong state."""


class RoundAbandoned(SecureflError):
    """A round ended without a result; model and server state stay as they were."""


class ClientFailure(SecureflError):
    """One client could not take part in a round; the others go on without it."""
