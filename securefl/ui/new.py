"""Writes a plug-in to start from: one file of code, its test and a scenario that uses it."""

import keyword
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from securefl.errors import ScenarioError
from securefl.scenario.plugins.snapshot import check_name
from securefl.ui.names import PLUGINS

STARTERS = Path(__file__).parent / "starters"
PLACEHOLDER = "NAME"


class Starter(NamedTuple):
    """The files of a new plug-in, which are written together."""

    code: Path
    test: Path
    scenario: Path

    @property
    def next_commands(self) -> tuple[str, ...]:
        """What to try next."""
        trust = f"--trust {self.code.parent}"
        return (
            f"python -m pytest {self.test}",
            f"securefl validate {self.scenario} {trust}",
            f"securefl run {self.scenario} {trust}",
        )


def write_plugin(kind: str, name: str, folder: Path) -> Starter:
    """Writes a working example.

    Args:
        kind: one of `PLUGINS`.
        name: of the Python module.
        folder: where the files are written; made where it is missing.

    Raises:
        ScenarioError: the kind or the name cannot be used, or a file exists; nothing is written.
    """
    if kind not in PLUGINS:
        raise ScenarioError(f"new: there is no {kind!r}; known: {', '.join(PLUGINS)}")
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise ScenarioError(
            f"new: {name!r} is no name of a Python module: use letters, digits and _, such as "
            f"my_{kind}"
        )
    files = Starter(folder / f"{name}.py", folder / f"test_{name}.py", folder / f"{name}.toml")
    check_name(name, files.code)
    for file in files:
        if os.path.lexists(file):
            raise ScenarioError(f"new: {file} exists; choose another name or another --to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in zip(files, _texts(kind, name), strict=True):
            with file.open("x", encoding="utf-8") as opened:
                opened.write(text)
    except OSError as reason:
        raise ScenarioError(f"new: cannot write to {folder}: {reason.strerror}") from None
    return files


def _texts(kind: str, name: str) -> Iterator[str]:
    for starter in (f"{kind}.py.txt", f"{kind}_test.py.txt", f"{kind}.toml.txt"):
        text = (STARTERS / starter).read_text(encoding="utf-8")
        yield text.replace(PLACEHOLDER, name)
