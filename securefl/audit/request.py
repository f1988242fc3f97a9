"""What an audit is asked to do, and the command that asks for it again."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from securefl.audit.threats import threat
from securefl.errors import ScenarioError
from securefl.runs.folder import RunFolder

ALL = "all"  # in place of an adversary: every party in turn
MIN_SHADOWS = 2
MAX_SHADOWS = 1024


@dataclass(frozen=True)
class AuditRequest:
    """One audit, as its command line gives it.

    Attributes:
        path: a scenario, or the folder of a run.
        overrides: `KEY.PATH=VALUE`, for a scenario only.
        adversary: a name of `THREATS`, or `ALL`.
        colluders: clients on the adversary's side, where it has any.
        target: the client that the adversary looks at.
        shadows: rehearsals that the adversary compares with; 0 for none.
        seed: decides the coins of the audit.
        jobs: shadows trained at once.
        folder: for shadows, findings and figures; None for one under audits/.
        exposure: whether updates are searched for records, labels, a property and sources.
        pictures: whether reconstructed images are kept, next to the TRAINING RECORDS behind them.
    """

    path: Path
    overrides: tuple[str, ...]
    adversary: str
    colluders: int
    target: int
    shadows: int
    seed: int
    jobs: int
    folder: Path | None
    exposure: bool = True
    pictures: bool = False

    @property
    def of_run(self) -> bool:
        """Whether a run that ended is audited, and not a scenario."""
        return self.path.is_dir()

    def of(self, adversary: str) -> Self:
        """Returns the request for one adversary alone."""
        return replace(self, adversary=adversary)

    @property
    def command(self) -> str:
        """The command that gives the same findings."""
        words = ["securefl", "audit", str(self.path)]
        for override in self.overrides:
            words += ["--set", override]
        # Defaults are spelled out: the command still means the same when a default changes.
        words += ["--adversary", self.adversary]
        if self._has_clients:
            words.append(f"--colluders={self.colluders}")
        words += [f"--target={self.target}", f"--shadows={self.shadows}", f"--seed={self.seed}"]
        if self.pictures:
            words.append("--pictures")
        if not self.exposure:
            words.append("--no-exposure")
        if self.folder is not None:
            words.append(f"--out={self.folder}")
        return shlex.join(words)

    @property
    def stem(self) -> str:
        """Name of the files of one adversary's findings, without its ending."""
        clients = f"-{self.colluders}" if self._has_clients else ""
        return f"audit-{self.adversary}{clients}-shadows-{self.shadows}-seed-{self.seed}"

    @property
    def _has_clients(self) -> bool:
        return self.adversary == ALL or threat(self.adversary).clients

    def check(self) -> None:
        """Refuses what no audit can do, before anything is read or trained.

        Raises:
            ScenarioError: there is no such adversary, a number of shadows or a pair of options
                makes no sense, or the folder belongs to a run, which keeps no audits.
        """
        if self.adversary != ALL:
            threat(self.adversary)
        if self.shadows and not MIN_SHADOWS <= self.shadows <= MAX_SHADOWS:
            raise ScenarioError(
                f"--shadows must be 0, or from {MIN_SHADOWS} to {MAX_SHADOWS}, got {self.shadows}"
            )
        if self.pictures and not self.exposure:
            raise ScenarioError(
                "--pictures shows what --no-exposure leaves out: choose one of them"
            )
        if self.folder is not None and self.folder.exists():
            _check_folder(self.folder)


def _check_folder(folder: Path) -> None:
    """Keeps audits apart from runs: pictures of records must not travel with a model."""
    if not folder.is_dir():
        raise ScenarioError(f"--out: {folder} is a file")
    if not RunFolder.is_at(folder):
        return
    if any(use.label != "shadow" for use in RunFolder.open(folder).request().uses):
        raise ScenarioError(
            f"--out: {folder} is the folder of a run, which holds no audits; choose another"
        )
