"""Whether the records of --validation are others than those that train.

An unpaid gate needs records that everybody may have, and training records are none, whatever a
table says. Whole files are compared, and digests of all records: a comparison record by record
would itself tell who is among the training records.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from securefl.errors import ScenarioError
from securefl.runs.refining.plan import validation_scenario
from securefl.runs.refining.series import Series
from securefl.scenario.own_data import is_elsewhere, open_source
from securefl.scenario.scenario import Scenario

Resolved = Mapping[str, Any]


class _Place(NamedTuple):
    """Where records lie: their files, or all files of a folder."""

    path: Path
    files: tuple[Path, ...]
    is_folder: bool


def check_apart(series: Series, scenario: Scenario, version: int, table: Mapping[str, Any]) -> None:
    """Refuses validation records that train the new version, or trained an earlier one.

    Args:
        series: the versions so far.
        scenario: of the new version.
        version: its number.
        table: the table [data] of the validation records, with absolute paths.

    Raises:
        ScenarioError: they are the same files, or hold the same.
    """
    judging = validation_scenario(scenario, table)
    trained: dict[int, Resolved] = {version: scenario.resolved()}
    for number in series.versions:
        if number < version:
            trained[number] = series.cell(number).scenario
    digests = _digests(judging)
    place = _place(judging.resolved())
    for number, resolved in trained.items():
        if resolved["data"].get("digest") in digests or _is_same(place, _place(resolved)):
            raise ScenarioError(
                f"--validation: its records are the ones that train version {number}, wherever "
                "they lie and whatever is declared of them; name others"
            )


def _digests(judging: Scenario) -> set[str]:
    """Returns the digests that the records would have as private and as public ones."""
    if judging.facts.data_set.published or is_elsewhere(judging.data):
        return set()
    opened = open_source(judging.data, Path(judging.home))
    return {opened.digest(public=public) for public in (False, True)}


def _place(resolved: Resolved) -> _Place | None:
    """Returns where records lie; None where they are published, or a function returns them."""
    given = resolved["data"].get("path")
    if given is None or resolved.get("folder") is None:
        return None
    path = Path(resolved["folder"]) / given
    if "*" in path.name:
        return _Place(path, tuple(_found(sorted(path.parent.glob(path.name)))), False)
    if path.is_dir():
        return _Place(path, tuple(_found(sorted(path.rglob("*")))), True)
    return _Place(path, tuple(_found([path])), False)


def _found(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_file():
            yield path


def _is_same(one: _Place | None, other: _Place | None) -> bool:
    """Whether two places share a file, or hold the same bytes.

    Of two folders all files count together: a folder with one image would ask whether it trains.
    """
    if one is None or other is None:
        return False
    # A file that was replaced or taken away since is still known by its place.
    if one.path.resolve() == other.path.resolve() or _identities(one) & _identities(other):
        return True
    if one.is_folder or other.is_folder:
        return _have_same_content(one.files, other.files)
    return any(
        _have_same_content((mine,), (theirs,)) for mine in one.files for theirs in other.files
    )


def _identities(place: _Place) -> set[tuple[int, int]]:
    """Returns device and number of each file, which all its names and links share."""
    return {(status.st_dev, status.st_ino) for status in (file.stat() for file in place.files)}


def _have_same_content(some: tuple[Path, ...], others: tuple[Path, ...]) -> bool:
    """Whether two groups of files have the same bytes, in whatever order and by whatever names."""
    # Sizes first: few files have to be read.
    if not some or _sizes(some) != _sizes(others):
        return False
    return sorted(map(_content, some)) == sorted(map(_content, others))


def _sizes(files: tuple[Path, ...]) -> list[int]:
    return sorted(file.stat().st_size for file in files)


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
