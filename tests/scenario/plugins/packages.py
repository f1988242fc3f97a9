"""Installed packages without pip: a folder on Python's path with the files that pip would write."""

import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.paths import ROOT

EXAMPLE = ROOT / "examples/plugin"
MODULE = "securefl_midrange"


def write_metadata(
    site: Path, name: str, version: str, points: Mapping[str, Mapping[str, str]]
) -> None:
    """Writes the .dist-info of a package with entry points."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, names in points.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in names.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))


def install_example(
    site: Path, monkeypatch: pytest.MonkeyPatch, *, version: str | None = None
) -> None:
    """Puts examples/plugin on the path, in place of an earlier version."""
    forget_example(monkeypatch)
    shutil.rmtree(site, ignore_errors=True)
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    write_metadata(site, project["name"], version or project["version"], project["entry-points"])
    shutil.copytree(EXAMPLE / MODULE, site / MODULE)
    monkeypatch.syspath_prepend(site)


def forget_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the next import read the package's files."""
    for name in [name for name in sys.modules if name.split(".")[0] == MODULE]:
        monkeypatch.delitem(sys.modules, name)
