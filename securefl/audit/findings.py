"""Findings: the typed record of what one adversary learned, on disk and in words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from securefl.audit.exposure.result import Exposure, exposure_lines
from securefl.audit.lines import MEANINGS, Line, Verdict, table_lines
from securefl.audit.reading import text, texts, whole
from securefl.audit.scope import Scope
from securefl.errors import RunFolderError
from securefl.files import is_special, read_json, write_json

NOTHING = "nothing beyond guessing by these attacks"
VERSION = 2  # of the file; 1 had no scope, and did not say its version
MAX_BYTES = 16_000_000  # of the file: a hundred times as much as any audit writes
OLDER_VERSION = "an older version wrote this audit and did not compare its scores with guessing"


@dataclass(frozen=True)
class Findings:
    """What one adversary learned of one client, next to what was claimed.

    Attributes:
        file: holds the findings as JSON; figures lie next to it.
        command: gives the same findings again.
        claim: of the target, in words.
        verdict: on that claim.
        lines: attacks on membership and checks of the mechanism, each with a verdict of its own.
        exposures: what updates reveal of the records behind them, next to guessing.
        notes: what the findings rest on, and what they do not say.
        scope: what was looked at; None in files of version 1.
    """

    file: Path
    command: str
    claim: str
    verdict: Verdict
    lines: tuple[Line, ...]
    exposures: tuple[Exposure, ...]
    notes: tuple[str, ...]
    scope: Scope | None = None

    @property
    def folder(self) -> Path:
        """Where the findings were written."""
        return self.file.parent

    @property
    def curves(self) -> Path:
        """The figure of the ROC curves."""
        return self.file.with_suffix(".svg")

    @property
    def pictures(self) -> Path:
        """The figure of reconstructed images, next to the TRAINING RECORDS behind them."""
        return self.file.with_name(f"{self.file.stem}-pictures.svg")

    @property
    def headlines(self) -> list[str]:
        """What the adversary learned beyond guessing, the most telling first; or `NOTHING`."""
        exposures = [exposure.headline for exposure in self.exposures if exposure.is_finding]
        members = [line.headline for line in self.lines if line.is_finding]
        return [*exposures, *members] or [NOTHING]

    def write(self) -> None:
        """Writes the findings; no score of a single record is among them.

        Figures of an earlier audit by the same name are removed, so that none is shown next to
        numbers that it does not belong to.
        """
        # First the figures: a crash in between leaves numbers without figures, never wrong ones.
        for figure in (self.curves, self.pictures):
            figure.unlink(missing_ok=True)
        write_json(self.file, self.to_json())

    def to_json(self) -> dict[str, object]:
        """The findings as they are stored."""
        return {
            "version": VERSION,
            "command": self.command,
            "claim": self.claim,
            "verdict": self.verdict.value,
            "lines": [line.to_json() for line in self.lines],
            "exposures": [exposure.to_json() for exposure in self.exposures],
            "findings": self.headlines,
            "notes": list(self.notes),
            "scope": None if self.scope is None else self.scope.to_json(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], *, file: Path) -> Self:
        """The findings that `to_json` stored, without curves and pictures.

        Raises:
            KeyError, TypeError, ValueError: this is not what an audit writes.
        """
        notes = texts(stored["notes"])
        scope = stored.get("scope")
        if "findings" not in stored:
            notes += (OLDER_VERSION,)
        return cls(
            file,
            text(stored["command"]),
            text(stored["claim"]),
            Verdict(stored["verdict"]),
            tuple(Line.from_json(line) for line in stored["lines"]),
            tuple(Exposure.from_json(exposure) for exposure in stored["exposures"]),
            notes,
            None if scope is None else Scope.from_json(scope),
        )

    @classmethod
    def read(cls, file: Path) -> Self:
        """The findings in a file.

        Raises:
            RunFolderError: it holds something else, or a later version wrote it.
        """
        if is_special(file) or (file.is_file() and file.stat().st_size > MAX_BYTES):
            raise RunFolderError(f"{file} is no file that an audit writes")
        stored = read_json(file)
        try:
            if whole(stored.get("version", 1)) > VERSION:
                raise RunFolderError(
                    f"{file} was written by a later version of securefl; install that version"
                )
            return cls.from_json(stored, file=file)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise RunFolderError(f"{file} is damaged: it is not what an audit writes") from None


def report_lines(findings: Findings) -> Iterator[str]:
    """Yields the findings in words: headlines first, the verdict on the claim last."""
    for headline in findings.headlines:
        yield f"finding: {headline}"
    yield from findings.notes
    yield f"claim: {findings.claim}"
    yield from table_lines(findings.lines)
    if findings.exposures:
        yield from exposure_lines(findings.exposures)
    yield f"verdict: {MEANINGS[findings.verdict]}; written to {findings.folder}"
