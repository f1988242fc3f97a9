"""What a coordinator gives out once: numbers of envelopes, sessions and rounds.

    numbers = Numbers.begun(folder / "numbers.json", allowed=charter.numbers)
    first = numbers.give(3, parts)  # on disk before it returns

A coordinator that was killed goes on behind them: no site sees a number twice, and no round is
trained twice.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from securefl.errors import NoResult, RunFolderError
from securefl.files import disk_errors, read_json, write_json
from securefl.runs.deployed.envelope import Kind, Part

NUMBERS = "numbers.json"


@dataclass(frozen=True)
class Given:
    """What was given out.

    Attributes:
        charter: SHA-256 of the charter that it was given out under, in hexadecimal.
        envelope: the latest number of an envelope.
        session: number of the session in progress, from 0 on, through all charters; -1 before the
            first.
        begun: rounds that were begun, again in each session.
        latest: the latest round that was begun in this session; -1 before the first.
        trained: the latest round that some site was asked to train in; -1 before the first.
    """

    charter: str = ""
    envelope: int = 0
    session: int = -1
    begun: int = 0
    latest: int = -1
    trained: int = -1


class Numbers:
    """Gives out each number once.

    Args:
        given: so far.
        path: where it is kept; None keeps it in memory, for tests.
        allowed: rounds that may be begun under the charter.
    """

    def __init__(self, given: Given, path: Path | None, *, allowed: int) -> None:
        self.given = given
        self._path = path
        self._allowed = allowed

    @classmethod
    def in_memory(cls) -> "Numbers":
        """Returns numbers that end with the process."""
        return cls(Given(session=0), None, allowed=1 << 31)

    @classmethod
    def begun(cls, path: Path, *, charter: bytes, allowed: int) -> "Numbers":
        """Begins a session: that of a process, which has lost the secrets of earlier ones.

        Raises:
            RunFolderError: the file is damaged, or the disk refuses.
        """
        given = read_numbers(path)
        name = charter.hex()
        if given.charter != name:
            given = replace(given, charter=name, begun=0)
        numbers = cls(given, path, allowed=allowed)
        numbers._note(replace(given, session=given.session + 1, latest=-1))
        return numbers

    def give(self, count: int, parts: Iterable[Part]) -> int:
        """Returns the first of `count` numbers for the envelopes that hold these parts.

        Raises:
            NoResult: the charter allows no further round.
            RunFolderError: the disk refuses, and nothing was given out.
        """
        given = self.given
        for part in parts:
            if part.kind is Kind.REQUEST and part.round > given.latest:
                given = replace(given, latest=part.round, begun=given.begun + 1)
            if part.kind is Kind.MODEL:
                given = replace(given, trained=max(given.trained, part.round))
        self._check(given.begun)
        self._note(replace(given, envelope=given.envelope + count))
        return given.envelope + 1

    def _check(self, begun: int) -> None:
        if begun > self._allowed:
            raise NoResult(
                f"the charter allows {self._allowed} numbers of rounds, and all are used: admit "
                "the sites to a new epoch"
            )

    def _note(self, given: Given) -> None:
        if self._path is not None:
            with disk_errors(self._path.parent):
                write_json(self._path, asdict(given), indent=None)
        self.given = given


def read_numbers(path: Path) -> Given:
    """Returns what a file says was given out. Raises RunFolderError: it is damaged."""
    if not path.exists():
        return Given()
    values = read_json(path)
    expected = {name: type(value) for name, value in asdict(Given()).items()}
    if {name: type(value) for name, value in values.items()} != expected:
        raise RunFolderError(f"{path} is damaged: {json.dumps(values)[:100]}")
    return Given(**values)
