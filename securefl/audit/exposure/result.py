"""What one attack on updates measured, next to guessing, and how it is told."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

NO_EVIDENCE = (
    "what an attack does not find here is no evidence for an epsilon: another attack may find it"
)
MIN_GAIN_DB = 3.0  # a reconstruction that is no better than this over a guess is no finding


@dataclass(frozen=True)
class Pictures:
    """Records (n, *shape) as the model reads them, and for each the nearest of what an attack took for them."""

    truth: Tensor
    found: Tensor


@dataclass(frozen=True)
class Exposure:
    """What one attack found of the records, labels, property or source of updates.

    Attributes:
        attack: its name.
        why: what was measured, or what was missing.
        unit: "dB" for a median PSNR, "share" for an accuracy.
        measured: the attack's score; None where it was not measured.
        guessing: the same score for an attacker who saw no update.
        pictures: records and their reconstructions, where they are images.
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
        """Whether the attack is better than guessing by more than two standard errors, and by 3 dB for records."""
        if self.measured is None or self.guessing is None:
            return False
        margin = MIN_GAIN_DB if self.unit == "dB" else 0.0
        return self.measured - self.guessing > max(margin, 2 * (self.error or 0.0))


def told_exposures(found: Sequence[Exposure]) -> list[str]:
    """A table of what was found beside guessing, then what each line says."""
    rows = [
        ("what updates show", "measured", "by guessing", "finding"),
        *((*_row(one), _marked(one)) for one in found),
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(4)]
    table = [
        "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [*table, *(f"{one.attack}: {one.why}" for one in found), NO_EVIDENCE]


def exposure_facts(found: Exposure) -> dict[str, object]:
    """For JSON; without pictures."""
    return {
        "attack": found.attack,
        "unit": found.unit,
        "measured": found.measured,
        "guessing": found.guessing,
        "why": found.why,
        "error": found.error,
        "finding": found.is_finding,
        "told": list(_row(found)[1:]),
    }


def headline(found: Exposure) -> str:
    """One finding in a few words, such as "source: 33 %, by guessing 10 %"."""
    attack, measured, guessing = _row(found)
    return f"{attack}: {measured}, by guessing {guessing}"


def _marked(found: Exposure) -> str:
    if found.measured is None:
        return ""
    return "yes" if found.is_finding else "no"


def _row(found: Exposure) -> tuple[str, str, str]:
    if found.measured is None or found.guessing is None:
        return found.attack, "not measured", ""
    if found.unit == "dB":
        return found.attack, f"{found.measured:.1f} dB", f"{found.guessing:.1f} dB"
    return found.attack, f"{found.measured:.0%}", f"{found.guessing:.0%}"


def error_of_share(trials: int) -> float:
    """The largest standard error that a share of so many independent trials can have."""
    return 0.5 / math.sqrt(trials)
