"""Run folders: what was asked, where it ran, and one folder a cell with everything that came out."""

import errno
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securefl.errors import RunFolderError, ScenarioError
from securefl.files import locked, read_json, write_atomic, write_json
from securefl.runs.cell import Cell
from securefl.runs.environment import environment
from securefl.runs.names import cell_hash

if TYPE_CHECKING:  # torch: seconds that who only reads a folder need not wait
    from securefl.scenario.scenario import Scenario


@dataclass(frozen=True)
class Use:
    """A cell at one place of a table: the row's label, its level on each axis, the seed, and which part of the row."""

    cell: str
    label: str
    levels: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    seed: int | None = None
    code: str = ""


@dataclass(frozen=True)
class Request:
    """What a run folder is asked to hold: the text as given, resolved scenarios by cell, and where each is used."""

    text: str
    cells: Mapping[str, Mapping[str, Any]]
    uses: tuple[Use, ...]
    study: str | None = None
    codes: tuple[
        str, ...
    ] = ()  # versions of the code that cells of a study were made by, earlier ones included

    @classmethod
    def of(cls, cells: Mapping[str, "Scenario"], text: str) -> "Request":
        """Label -> scenario, each a row of its own."""
        resolved = {label: scenario.resolved() for label, scenario in cells.items()}
        uses = tuple(Use(cell_hash(values), label) for label, values in resolved.items())
        return cls(text, {use.cell: resolved[use.label] for use in uses}, uses)

    @property
    def resolved(self) -> dict[str, Any]:
        """What resolved.json holds."""
        uses = [asdict(use) for use in self.uses]
        return {
            "study": self.study,
            "codes": list(self.codes),
            "cells": dict(self.cells),
            "uses": uses,
        }

    @property
    def file(self) -> str:
        """Where the text stands in the folder."""
        return "scenario.toml" if self.study is None else "study.toml"


class RunFolder:
    """A folder of cells with what was asked (scenario.toml or study.toml, resolved.json) and where it ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, request: Request) -> "RunFolder":
        """Make the folder whole, or open it if it holds the same cells, or another state of the same study.

        Raises:
            ScenarioError: path cannot be written, or holds something else.
        """
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        if path.exists():
            held = read_json(path / "resolved.json") if (path / "resolved.json").exists() else None
            if held is None or not _same(held, request):
                what = "something that is not a run folder" if held is None else _what(held)
                raise ScenarioError(f"{path} holds {what}; choose another --out")
            _note_environment(path / "env.json")
            return cls(path)
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
        """An existing run folder. Raises ScenarioError if path is none."""
        if not cls.is_at(path):
            raise ScenarioError(f"{path} is not a run folder: it has no resolved.json")
        return cls(path)

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether path is a run folder."""
        return (path / "resolved.json").is_file()

    def ask(self, request: Request) -> None:
        """Write what is asked for; cells that no longer are stay on the disk."""
        write_atomic(self.path / request.file, request.text.encode())
        write_json(self.path / "resolved.json", request.resolved)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder while writing.

        Raises:
            ScenarioError: it is read-only.
            RunFolderError: another process holds it, or the disk takes no more.
        """
        try:
            with locked(self.path):
                yield
        except PermissionError as reason:
            raise ScenarioError(
                f"cannot write the run folder {self.path}: {reason.strerror}"
            ) from None
        except BrokenPipeError:  # of whoever read our output, not of the folder
            raise
        except OSError as reason:
            raise RunFolderError(
                f"cannot write the run folder {self.path}: {reason.strerror}"
            ) from reason

    def named(self, name: str) -> Cell:
        """The cell of this name."""
        return Cell(self.path / "cells" / name)

    def cell(self, scenario: "Scenario") -> Cell:
        """The cell of a single run of scenario."""
        return self.named(cell_hash(scenario.resolved()))

    def request(self) -> Request:
        """What the folder was asked to hold. Raises RunFolderError."""
        held = read_json(self.path / "resolved.json")
        try:
            uses = tuple(Use(**use) for use in held["uses"])
            request = Request("", held["cells"], uses, held["study"], tuple(held["codes"]))
            text = (self.path / request.file).read_text(encoding="utf-8")
        except (KeyError, TypeError, OSError, UnicodeDecodeError):
            raise RunFolderError(
                f"{self.path} is damaged, or was made by another version of securefl"
            ) from None
        return replace(request, text=text)

    def cells(self) -> list[tuple[str, Mapping[str, Any], Cell]]:
        """Label, resolved scenario and cell of every use, in the order they were asked for."""
        request = self.request()
        return [(use.label, request.cells[use.cell], self.named(use.cell)) for use in request.uses]


def _same(held: Mapping[str, Any], request: Request) -> bool:
    """Whether a resolved.json is of the same study, or of the same cells; their names stand for all that is in them."""
    uses = json.loads(json.dumps(request.resolved["uses"]))
    return held.get("study") == request.study and (
        request.study is not None or held.get("uses") == uses
    )


def _what(held: Mapping[str, Any]) -> str:
    """What a foreign resolved.json belongs to."""
    return (
        "a run of another scenario" if held.get("study") is None else f"the study {held['study']!r}"
    )


def _note_environment(path: Path) -> None:
    """Add the present environment to env.json where a run goes on under another one."""
    first = read_json(path)
    others: list[object] = first.get("resumed_under", [])
    now = environment()
    if (
        now != {name: value for name, value in first.items() if name != "resumed_under"}
        and now not in others
    ):
        write_json(path, {**first, "resumed_under": [*others, now]})
