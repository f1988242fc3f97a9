"""What lies in a site's folder: charter, settings, policy, and the ledger of its data set.

charter.json approval.json site.toml policy.toml ledger/ audit.jsonl answered.json reply.bin
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.channels.monotonic import FileMonotonic
from securefl.errors import NotReady, RunFolderError
from securefl.federation.policy import Policy, load_policy
from securefl.files import locked, read_json, write_json
from securefl.privacy.data_set import Ceiling, DataSetLedger
from securefl.privacy.ledger import Ledger
from securefl.privacy.terms import Terms
from securefl.runs.deployed.approval import Approval
from securefl.runs.deployed.audit_log import AuditLog
from securefl.runs.deployed.charter import CHARTER, Charter
from securefl.runs.deployed.documents import Hex32, is_valid
from securefl.runs.deployed.joining import POLICY
from securefl.runs.deployed.journal import AUDIT, Journal
from securefl.runs.deployed.keys import check_private, signing_key
from securefl.runs.deployed.own_records import SITE
from securefl.runs.deployed.settings import Settings, load_settings
from securefl.scenario.assemble.ledgers import terms_of
from securefl.scenario.scenario import Scenario

APPROVAL = "approval.json"
LEDGERS = "ledger"
REGISTERED = "registered.json"
_FILES = ".files.json"


@dataclass(frozen=True)
class Folder:
    """What lies in a site's folder, without a record.

    Attributes:
        path: of the folder.
        charter: that the site works under, or is asked to.
        site: its number in the roster.
        key: its Ed25519 key.
        settings: of `site.toml`.
        policy: of `policy.toml`.
    """

    path: Path
    charter: Charter
    site: int
    key: Ed25519PrivateKey
    settings: Settings
    policy: Policy

    @classmethod
    def read(cls, path: Path, charter: Charter) -> "Folder":
        """Returns a site's folder.

        Raises:
            RunFolderError: others may read it, or its key is not in the roster.
            ScenarioError: `site.toml` or `policy.toml` is wrong.
        """
        require_private(path)
        key = signing_key(path)
        settings = load_settings(path / SITE)
        policy = load_policy(path / POLICY)
        return cls(path, charter, site_of(charter, key), key, settings, policy)

    @property
    def witness(self) -> Path | None:
        """The file on another volume; None without one."""
        return self.settings.path_of(self.settings.witness, self.path)

    @property
    def ledgers(self) -> Path:
        """The folder with the ledgers of data sets."""
        return self.settings.path_of(self.settings.ledger, self.path) or self.path / LEDGERS

    @property
    def ceiling(self) -> Ceiling:
        """The budget of the data set."""
        return Ceiling(self.policy.budget.epsilon, self.policy.budget.delta)


def approved_charter(path: Path, log: AuditLog) -> Charter:
    """Returns the charter that the site approved last.

    Raises:
        RunFolderError: there is none, or the files hold another than the audit log.
    """
    if not (path / APPROVAL).exists():
        raise RunFolderError(f"{path} has approved no charter: securefl site approve {path} FILE")
    charter = Charter.read(path / CHARTER)
    Approval.read(path / APPROVAL).check(charter)
    newest = log.approved(charter.run)
    if newest is None or newest.charter != charter.digest.hex():
        raise RunFolderError(
            f"{path / CHARTER} is not the charter that {path / AUDIT} says was approved last: "
            "approve it again"
        )
    return charter


def site_of(charter: Charter, key: Ed25519PrivateKey) -> int:
    """Returns the number of the site with a key. Raises RunFolderError: it is not in the roster."""
    public = key.public_key().public_bytes_raw()
    for site, other in charter.keys.items():
        if other == public:
            return site
    raise RunFolderError("the charter's roster does not list this site's Ed25519 key")


def require_private(path: Path) -> None:
    """Raises RunFolderError: there is no such folder, or others may look into it."""
    if not path.is_dir():
        raise RunFolderError(f"there is no folder {path}")
    check_private(path)


@contextmanager
def held_ledgers(folder: Folder) -> Iterator[None]:
    """Holds the ledgers of a folder, which others may share: one at a time writes, or looks.

    Raises:
        RunFolderError: another process holds them, others may read them, or they are gone.
    """
    if folder.settings.ledger is not None:
        require_private(folder.ledgers)
    elif not folder.ledgers.exists():  # before the first approval
        yield
        return
    with locked(folder.ledgers):
        yield


def register(folder: Folder, digest: str) -> None:
    """Gives a data set its ledger; files that changed keep the one that there is.

    Raises:
        RunFolderError: the files that came instead have a ledger of their own.
    """
    path = folder.path / LEDGERS / REGISTERED
    path.parent.mkdir(mode=0o700, exist_ok=True)
    ledger = _ledger_named(folder, digest)
    # First, for other folders, which may come with files that this one replaced or replaces.
    files = folder.ledgers / f"{ledger}{_FILES}"
    of_all = read_json(files)["files"] if files.exists() else []
    if digest not in of_all:
        write_json(files, {"files": [*of_all, digest]})
    known = _registered(folder.path) if path.exists() else {"ledger": ledger, "files": []}
    if digest not in known["files"][-1:]:
        write_json(path, {**known, "files": [*known["files"], digest]})


def _ledger_named(folder: Folder, digest: str) -> str:
    """Returns the name of the ledger of a data set: the folder's, one of another, or a new one.

    Raises:
        RunFolderError: the folder has a ledger, and the data set another one.
    """
    of_all = {
        files.name.removesuffix(_FILES): read_json(files)["files"]
        for files in folder.ledgers.glob(f"*{_FILES}")
    }
    owner = next((ledger for ledger, files in of_all.items() if digest in files), None)
    if not (folder.path / LEDGERS / REGISTERED).exists():
        return owner or digest
    ledger = str(_registered(folder.path)["ledger"])
    if owner not in (None, ledger):
        raise RunFolderError(
            f"the records that {folder.path} now has are booked in another ledger of "
            f"{folder.ledgers}: join with a folder of their own"
        )
    return ledger


def require_registered(folder: Folder, digest: str) -> None:
    """Raises NotReady: the files are not those that were approved last."""
    if digest != _registered(folder.path)["files"][-1]:
        raise NotReady(
            "the files of records have changed since the charter was approved: approve it again "
            "(the ledger stays)"
        )


def ledger_of(folder: Folder, scenario: Scenario, digest: str | None = None) -> DataSetLedger:
    """Opens the ledger of the site's data set, in which every run books its trainings.

    Args:
        folder: of the site.
        scenario: of the charter.
        digest: names the ledger where none is registered, before an approval.

    Raises:
        LedgerError: it is damaged.
        NotReady: no data set is registered.
    """
    terms = terms_of(scenario)
    if terms is None:
        terms = Terms("example", "add_remove", folder.ceiling.delta, math.inf)
    path = ledger_file(folder, digest)
    return DataSetLedger(path, folder.charter.run, terms, folder.ceiling)


def registered_ledger(path: Path, settings: Settings) -> Path:
    """Returns the file of the ledger of a site's registered data set. Raises NotReady: none is."""
    ledgers = settings.path_of(settings.ledger, path) or path / LEDGERS
    return ledgers / f"{_registered(path)['ledger']}.jsonl"


def ledger_file(folder: Folder, digest: str | None) -> Path:
    """Returns the file of the ledger of a data set, by default of the registered one."""
    if digest is None:
        return registered_ledger(folder.path, folder.settings)
    return folder.ledgers / f"{_ledger_named(folder, digest)}.jsonl"


def _registered(folder: Path) -> dict[str, Any]:
    """Returns what is registered. Raises NotReady, RunFolderError: nothing, or it is damaged."""
    path = folder / LEDGERS / REGISTERED
    if not path.exists():
        raise NotReady(f"the records are not registered: securefl site approve {folder} FILE")
    known = read_json(path)
    files = known.get("files")
    if not is_valid(Hex32, known.get("ledger")) or not isinstance(files, list) or not files:
        raise RunFolderError(f"{path} is damaged: it registers no data set")
    return known


def journal_of(
    folder: Folder,
    log: AuditLog,
    monotonic: FileMonotonic,
    ledger: DataSetLedger,
    figures: Ledger | None = None,
) -> Journal:
    """Returns the memory of a site under its charter."""
    return Journal(
        folder.path,
        folder.charter.digest,
        folder.site,
        folder.key,
        log=log,
        monotonic=monotonic,
        ledger=ledger,
        figures=figures,
        witness=folder.witness,
    )
