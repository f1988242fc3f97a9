"""The ledgers of figures on records that judge: one for each run, next to that of the data set."""

from pathlib import Path

from securefl.errors import RunFolderError
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import read_entries
from securefl.privacy.past import NO_PAST, past_of
from securefl.runs.deployed.audit_log import AuditLog
from securefl.runs.deployed.journal import AUDIT
from securefl.runs.deployed.site_folder import Folder, ledger_file


def figures_folder(folder: Folder, digest: str | None = None) -> Path:
    """Returns the folder with a ledger a run, of the figures on records that judge.

    Args:
        folder: of the site.
        digest: names the data set where none is registered, before an approval.

    Raises:
        NotReady: no data set is registered.
    """
    return ledger_file(folder, digest).with_suffix(".judging")


def figures_ledger(folder: Folder, run: str) -> Path:
    """Returns the file of the ledger of a run's figures. Raises NotReady: nothing is registered."""
    return figures_folder(folder) / f"{run}.jsonl"


def require_figures(folder: Folder, log: AuditLog) -> None:
    """Raises RunFolderError: a ledger of figures lacks what it held when something left last.

    One that was removed, or restored alone, would let figures be paid for twice.
    """
    for run, head in log.figures_heads().items():
        path = figures_ledger(folder, run)
        # The file begins with the first payment, and replies may have left before.
        past = past_of(path) if path.exists() else NO_PAST
        if head not in past.heads:
            raise RunFolderError(
                f"{path} is older than {folder.path / AUDIT}, or was removed: restore the newest "
                "files, or leave the federation"
            )


def spent_on_figures(folder: Folder, digest: str | None = None) -> float:
    """Returns the epsilon of all figures that other federations got, each at its own delta.

    Arguments are those of `figures_folder`.
    """
    total = 0.0
    for path in figures_folder(folder, digest).glob("*.jsonl"):
        entries = read_entries(path)
        if path.stem != folder.charter.run and entries:
            events = dict(past_of(path).events)
            total += epsilon(events, delta=entries[0]["terms"]["delta"])
    return total
