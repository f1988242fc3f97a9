"""Run folders: the request, the environment, and one folder a cell with everything it produced."""

import errno
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from securefl.errors import RunFolderError, ScenarioError
from securefl.files import locked, read_json, write_atomic, write_json
from securefl.runs.cell import Cell
from securefl.runs.environment import environment
from securefl.runs.home import absolute, relative
from securefl.runs.names import cell_hash

if TYPE_CHECKING:  # torch takes seconds to import, which a mere look at a folder need not wait for
    from securefl.scenario.scenario import Scenario


@dataclass(frozen=True)
class Use:
    """A cell at one place of a table.

    Args:
        cell: its name.
        label: of the row.
        levels: axis -> label of the row's level.
        part: which part of the row; empty where the row has one part.
        seed: the study's; None for a single run.
        code: version that makes the cell; empty for a single run.
    """

    cell: str
    label: str
    levels: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    seed: int | None = None
    code: str = ""


@dataclass(frozen=True)
class Request:
    """What a run folder is asked to hold.

    Args:
        text: the scenario or the study as given.
        cells: cell -> its resolved scenario.
        uses: where each cell is used.
        study: name of the study; None for single runs.
        codes: versions of the code that cells of the study were made by, earlier ones included.
    """

    text: str
    cells: Mapping[str, Mapping[str, Any]]
    uses: tuple[Use, ...]
    study: str | None = None
    codes: tuple[str, ...] = ()

    @classmethod
    def of(cls, cells: Mapping[str, "Scenario"], text: str) -> "Request":
        """Returns the request for label -> scenario, each a row of its own."""
        resolved = {label: scenario.resolved() for label, scenario in cells.items()}
        uses = tuple(Use(cell_hash(values), label) for label, values in resolved.items())
        return cls(text, {use.cell: resolved[use.label] for use in uses}, uses)

    @property
    def resolved(self) -> Mapping[str, object]:
        """The content of resolved.json."""
        return {
            "study": self.study,
            "codes": list(self.codes),
            "cells": dict(self.cells),
            "uses": [asdict(use) for use in self.uses],
        }

    @property
    def file(self) -> str:
        """The file of the text."""
        return "scenario.toml" if self.study is None else "study.toml"


class LabelledCell(NamedTuple):
    """A use of a cell: the row's label, the resolved scenario, and the cell itself."""

    label: str
    scenario: Mapping[str, Any]
    cell: Cell


class RunFolder:
    """A folder of cells, with the request (resolved.json and the text) and the environment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, request: Request) -> "RunFolder":
        """Makes the folder, whole or not at all, or opens it if it holds the same request.

        A folder of the same study is opened whatever its cells are: a study may change.

        Raises:
            ScenarioError: path cannot be written, or holds something else.
            RunFolderError: another process made the folder at this moment.
        """
        # An empty folder, such as `mktemp -d` makes, is as good as none.
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        if path.exists():
            _check_same(path, request)
            _note_environment(path / "env.json")
            return cls(path)
        # Everything is written next to the folder and renamed: a crash leaves no half of it.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            temporary.mkdir(parents=True)
            cls(temporary).ask(request)
            write_json(temporary / "env.json", environment())
            temporary.rename(path)
        except OSError as reason:
            shutil.rmtree(temporary, ignore_errors=True)
            if reason.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was first
                raise RunFolderError(f"{path} is in use by another run") from None
            raise ScenarioError(f"cannot write the run folder {path}: {reason.strerror}") from None
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Opens an existing run folder. Raises ScenarioError if path is none."""
        if not cls.is_at(path):
            raise ScenarioError(f"{path} is not a run folder: it has no resolved.json")
        return cls(path)

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether path is a run folder."""
        return (path / "resolved.json").is_file()

    def ask(self, request: Request) -> None:
        """Writes a request; cells that it does not name stay on the disk."""
        write_atomic(self.path / request.file, request.text.encode())
        resolved = dict(request.resolved)
        resolved["cells"] = {
            name: relative(cell, self.path.parent) for name, cell in request.cells.items()
        }
        write_json(self.path / "resolved.json", resolved)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the folder for this process while it writes.

        Raises:
            ScenarioError: the folder is read-only.
            RunFolderError: another process holds it, or the disk is full.
        """
        try:
            with locked(self.path):
                yield
        except BrokenPipeError:  # our output was closed, the folder is well
            raise
        except PermissionError as reason:
            raise ScenarioError(
                f"cannot write the run folder {self.path}: {reason.strerror}"
            ) from None
        except OSError as reason:
            raise RunFolderError(
                f"cannot write the run folder {self.path}: {reason.strerror}"
            ) from reason

    def named(self, name: str) -> Cell:
        """Returns the cell of this name, whether it exists or not."""
        return Cell(self.path / "cells" / name)

    def cell(self, scenario: "Scenario") -> Cell:
        """Returns the cell of a single run of a scenario."""
        return self.named(cell_hash(scenario.resolved()))

    def request(self) -> Request:
        """Returns what the folder was asked to hold. Raises RunFolderError."""
        values = read_json(self.path / "resolved.json")
        try:
            uses = tuple(Use(**use) for use in values["uses"])
            cells = {
                name: absolute(cell, self.path.parent) for name, cell in values["cells"].items()
            }
            request = Request("", cells, uses, values["study"], tuple(values["codes"]))
            text = (self.path / request.file).read_text(encoding="utf-8")
        except (KeyError, TypeError, OSError, UnicodeDecodeError):
            raise RunFolderError(
                f"{self.path} is damaged, or was made by another version of securefl"
            ) from None
        return replace(request, text=text)

    def cells(self) -> list[LabelledCell]:
        """Returns every use of a cell, in the order of the request."""
        request = self.request()
        return [
            LabelledCell(use.label, request.cells[use.cell], self.named(use.cell))
            for use in request.uses
        ]


def _check_same(path: Path, request: Request) -> None:
    """Refuses a folder that holds something else than a request. Raises ScenarioError."""
    if not RunFolder.is_at(path):
        raise ScenarioError(
            f"{path} holds something that is not a run folder; choose another --out"
        )
    values = read_json(path / "resolved.json")
    study = values.get("study")
    # A cell's name is a hash of what it runs, so equal uses mean equal scenarios.
    uses = json.loads(json.dumps([asdict(use) for use in request.uses]))
    same_uses = request.study is not None or values.get("uses") == uses
    if study != request.study or not same_uses:
        content = f"the study {study!r}"
        if study is None:
            content = f"a run of another scenario{_changed(values, request)}"
        raise ScenarioError(f"{path} holds {content}; choose another --out")


def _changed(values: Mapping[str, Any], request: Request) -> str:
    """Returns which of a user's own files differ, where nothing else does; "" elsewhere."""
    stored, asked = values.get("cells"), request.cells
    if not isinstance(stored, dict) or len(stored) != 1 or len(asked) != 1:
        return ""
    ((before,), (now,)) = (tuple(stored.values()), tuple(asked.values()))
    if _without_own_files(before) != _without_own_files(now):
        return ""
    if before["data"].get("digest") != now["data"].get("digest"):
        return ": the records were changed since"
    codes = (before.get("code") or {}, now.get("code") or {})
    files = [name for name in codes[1] if codes[0].get(name) != codes[1][name]]
    return f": {', '.join(files)} was changed since" if files else ""


def _without_own_files(scenario: Mapping[str, Any]) -> dict[str, Any]:
    own = json.loads(json.dumps(scenario))
    own.update(folder=None, code=None, practice=None)
    own["data"] = {**own["data"], "digest": None, "path": None}
    return dict(own)


def _note_environment(path: Path) -> None:
    """Adds the present environment to env.json where a run is resumed under another one."""
    first = read_json(path)
    others: list[object] = first.pop("resumed_under", [])
    now = environment()
    if now != first and now not in others:
        write_json(path, {**first, "resumed_under": [*others, now]})
