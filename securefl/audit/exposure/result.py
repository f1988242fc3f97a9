"""Exposures: what attacks on updates measured, next to guessing, as values, cells and JSON."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from securefl.audit.reading import number, text

if TYPE_CHECKING:  # torch, which readers of stored findings need not wait for
    from torch import Tensor

NO_EVIDENCE = (
    "what an attack does not find here is no evidence for an epsilon: another attack may find it"
)
MIN_GAIN_DB = 3.0  # over guessing, before a reconstruction counts as a finding
HEAD = ("what updates show", "measured", "by guessing", "finding")


@dataclass(frozen=True)
class Pictures:
    """Records and what an attack took for them.

    Attributes:
        truth: (n, *shape), the records as the model reads them.
        found: (n, *shape), for each record the nearest reconstruction.
    """

    truth: "Tensor"
    found: "Tensor"


@dataclass(frozen=True)
class Exposure:
    """What one attack found of the records, labels, property or source of updates.

    Attributes:
        attack: its name.
        why: what was measured, or what was missing.
        unit: "dB" for a median PSNR, "share" for an accuracy.
        measured: the attack's score; None where it was not measured.
        guessing: the same score for an attacker who saw no update.
        pictures: records and their reconstructions, where they are images; not stored.
        error: standard error of the difference between the two scores; None for a single trial.
    """

    attack: str
    why: str
    unit: str = ""
    measured: float | None = None
    guessing: float | None = None
    pictures: Pictures | None = None
    error: float | None = None

    @property
    def is_finding(self) -> bool:
        """Whether the attack beats guessing by two standard errors, and by 3 dB for records."""
        if self.measured is None or self.guessing is None:
            return False
        margin = MIN_GAIN_DB if self.unit == "dB" else 0.0
        return self.measured - self.guessing > max(margin, 2 * (self.error or 0.0))

    @property
    def headline(self) -> str:
        """The finding in a few words, such as "source: 33%, by guessing 10%"."""
        attack, measured, guessing, _ = self.cells
        return f"{attack}: {measured}, by guessing {guessing}"

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The exposure under the columns of `HEAD`."""
        if self.measured is None or self.guessing is None:
            return self.attack, "not measured", "", ""
        mark = "yes" if self.is_finding else "no"
        return self.attack, self._score(self.measured), self._score(self.guessing), mark

    def _score(self, value: float) -> str:
        return f"{value:.1f} dB" if self.unit == "dB" else f"{value:.0%}"

    def to_json(self) -> dict[str, object]:
        """The exposure as it is stored: without pictures."""
        _, measured, guessing, _ = self.cells
        return {
            "attack": self.attack,
            "unit": self.unit,
            "measured": self.measured,
            "guessing": self.guessing,
            "why": self.why,
            "error": self.error,
            "finding": self.is_finding,
            "told": [measured, guessing],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The exposure that `to_json` stored.

        Raises:
            KeyError, TypeError, ValueError: this is something else.
        """
        return cls(
            text(stored["attack"]),
            text(stored["why"]),
            text(stored["unit"]),
            number(stored["measured"]),
            number(stored["guessing"]),
            # Older audits stored no error: without one, nothing they measured counts as a finding.
            error=number(stored["error"]) if "error" in stored else math.inf,
        )


def exposure_lines(exposures: Sequence[Exposure]) -> Iterator[str]:
    """Yields a table of what was measured next to guessing, then what each row measured."""
    rows = [HEAD, *(exposure.cells for exposure in exposures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        padded = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()
    for exposure in exposures:
        yield f"{exposure.attack}: {exposure.why}"
    yield NO_EVIDENCE


def error_of_share(trials: int) -> float:
    """Returns the largest standard error that a share of independent trials can have."""
    return 0.5 / math.sqrt(trials)
