"""The versions of a model on disk, and which of them is released.

    RUN/                       version 1, an ordinary run folder
    RUN/releases.jsonl         releases, refusals and rollbacks; the last release is in force
    RUN/versions/2/plan.json   what was asked for
    RUN/versions/2/prepaid/    the sites' ledgers before training, where a claim is made
    RUN/versions/2/run/        its run folder
    RUN/versions/2/judged.json the new and the released version, on the same records
    RUN/versions/2/card.md     its model card, and card.json

Nothing is overwritten. The lines of releases.jsonl carry a chain of hashes, so that an edit shows.
"""

import datetime
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from securefl.errors import RunFolderError, ScenarioError
from securefl.files import DurableLines, read_json
from securefl.privacy.chain import GENESIS, chain
from securefl.runs.folder import LabelledCell, RunFolder

RELEASES = "releases.jsonl"
VERSIONS = "versions"
PLAN = "plan.json"
JUDGED = "judged.json"
RELEASED: Final = "released"
REFUSED: Final = "refused"
ROLLED_BACK: Final = "rolled back"
Kind = Literal["released", "refused", "rolled back"]


@dataclass(frozen=True)
class Decision:
    """One line of the history.

    Attributes:
        version: its number.
        kind: what was decided about it. "rolled back" releases an earlier version once more.
        at: when, in UTC.
        facts: what it rests on, such as the gate and the values that it compared.
    """

    version: int
    kind: Kind
    at: str
    facts: dict[str, Any]


class Series:
    """The versions of one model.

    Args:
        path: the run folder of the first version.

    Raises:
        ScenarioError: it is no run folder, holds several runs, or is a later version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        cells = RunFolder.open(path).cells()
        if len(cells) != 1:
            raise ScenarioError(f"{path} holds {len(cells)} runs, and a version is one run")
        refined = cells[0].scenario.get("refine")
        if refined is not None:
            # A second series on the same ledgers would spend the same budget twice.
            raise ScenarioError(
                f"{path} is version {refined['version']} of a model; give the run folder of its "
                "first version"
            )

    @property
    def versions(self) -> list[int]:
        """The numbers of all versions, ascending, unfinished ones included."""
        folder = self.path / VERSIONS
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        numbers = [int(name) for name in names if re.fullmatch(r"[1-9]\d{0,8}", name)]
        return sorted({1, *numbers})

    def folder(self, version: int) -> Path:
        """Returns the folder of what belongs to a version, next to its run."""
        return self.path / VERSIONS / str(version)

    def run_of(self, version: int) -> Path:
        """Returns the run folder of a version."""
        return self.path if version == 1 else self.folder(version) / "run"

    def cell(self, version: int) -> LabelledCell:
        """Returns the run of a version. Raises ScenarioError where there is none."""
        (cell,) = RunFolder.open(self.run_of(version)).cells()
        return cell

    @property
    def claims_dp(self) -> bool:
        """Whether the first version claims DP, as all versions then do."""
        privacy = self.cell(1).scenario["privacy"]
        return privacy is not None and privacy["epsilon"] != "inf"

    def require(self, version: int) -> None:
        """Checks that there is a version of this number. Raises ScenarioError."""
        if version not in self.versions:
            known = ", ".join(map(str, self.versions))
            raise ScenarioError(f"{self.path} has no version {version}; there are {known}")

    def history(self) -> list[Decision]:
        """Returns all decisions, in order; without any, the first version is the released one.

        Raises:
            RunFolderError: the file was edited or damaged.
        """
        return self._read()[0]

    @property
    def released(self) -> int:
        """The version in force."""
        in_force = [line.version for line in self.history() if line.kind != REFUSED]
        return in_force[-1] if in_force else 1

    @property
    def ever_released(self) -> frozenset[int]:
        """The versions that were in force at some time."""
        return frozenset({1, *(d.version for d in self.history() if d.kind != REFUSED)})

    def decision(self, version: int) -> Decision | None:
        """Returns what was decided about a version; None before that, and for the first one."""
        lines = [d for d in self.history() if d.version == version and d.kind != ROLLED_BACK]
        return lines[-1] if lines else None

    def decide(self, version: int, kind: Kind, **facts: Any) -> Decision:
        """Appends a decision; it is on disk before this returns.

        Raises:
            RunFolderError: the file was edited or damaged, or cannot be written.
        """
        _, head, size = self._read()
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        decision = Decision(version, kind, at, facts)
        line, _ = chain(head, {"version": version, "kind": kind, "at": at, "facts": facts})
        file = self.path / RELEASES
        try:
            if file.exists() and file.stat().st_size > size:
                # A crash cut the last line short: nobody was told of it.
                with file.open("rb+") as opened:
                    opened.truncate(size)
            DurableLines(file, size).append(line)
        except OSError as reason:
            raise RunFolderError(f"cannot write {file}: {reason.strerror}") from None
        return decision

    def has_noisy_gate(self, version: int) -> bool:
        """Whether a noisy gate decides about a version. Raises RunFolderError."""
        file = self.folder(version) / PLAN
        asked = read_json(file).get("asked") if file.exists() else None
        return isinstance(asked, dict) and asked.get("noise") is not None

    def roll_back(self, to: int | None) -> Decision:
        """Releases an earlier version once more; whatever was spent stays spent.

        Args:
            to: its number; None for the last one released before the one in force.

        Raises:
            ScenarioError: there is no such version, or it was never released.
        """
        now = self.released
        if to is None:
            earlier = [version for version in self.ever_released if version < now]
            if not earlier:
                raise ScenarioError(f"no version before {now} was released: nothing to go back to")
            to = max(earlier)
        self.require(to)
        if to == now:
            raise ScenarioError(f"version {to} is the released one already")
        if to not in self.ever_released:
            raise ScenarioError(f"version {to} was never released; refine it further instead")
        return self.decide(to, ROLLED_BACK, before=now)

    def _read(self) -> tuple[list[Decision], str, int]:
        """Returns the decisions, the hash of the last line, and the bytes of all whole lines."""
        file = self.path / RELEASES
        if not file.exists():
            return [], GENESIS, 0
        try:
            data = file.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            decisions, head = [], GENESIS
            for line in whole.splitlines(keepends=True):
                body = json.loads(line)
                body.pop("hash")
                expected, head = chain(head, body)
                if expected != line:
                    raise ValueError("the chain is broken")
                decisions.append(_decision(body))
        except OSError as reason:
            raise RunFolderError(f"cannot read {file}: {reason.strerror}") from None
        except (AttributeError, KeyError, TypeError, ValueError):
            raise RunFolderError(
                f"{file} was edited or is damaged: its lines do not chain"
            ) from None
        return decisions, head, len(whole)


def _decision(entry: dict[str, Any]) -> Decision:
    """Returns the decision of a line. Raises ValueError or KeyError where it is none."""
    version, kind, at, facts = (entry[key] for key in ("version", "kind", "at", "facts"))
    if type(version) is not int or version < 1 or not isinstance(at, str):
        raise ValueError("no version or no time")
    if kind not in (RELEASED, REFUSED, ROLLED_BACK) or not isinstance(facts, dict):
        raise ValueError("no decision")
    return Decision(version, kind, at, facts)
