"""Lines of an audit: what each attack measured and its verdict, as values, table cells and JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from securefl.audit.reading import number, share, text

if TYPE_CHECKING:  # torch, which readers of stored findings need not wait for
    import attacks
    from securefl.privacy.accounting.profile import Profile

FALSE_POSITIVE_RATES = (0.01, 0.001)
HEAD = (
    "verdict",
    "attack",
    "AUC",
    "TPR at 1 % FPR / claimed",
    "TPR at .1 % FPR / claimed",
    "epsilon >=",
)
_FINE_RATE_COLUMN = 4  # left out where no attack could be measured at that rate
_NO_AUC = "-"


class Verdict(Enum):
    """What a measurement says about a claim."""

    HOLDS = "holds"
    UNCLAIMED = "no claim"
    UNDECIDED = "cannot tell"
    VIOLATED = "violated"


MEANINGS = {
    Verdict.HOLDS: "holds: noise, clipping, batches and steps were all measured, and none failed",
    Verdict.UNCLAIMED: "no claim: nothing was promised",
    Verdict.UNDECIDED: (
        "cannot tell: nothing is refuted, and the measurement leaves room for a fault"
    ),
    Verdict.VIOLATED: (
        "violated: a true claim would give this in fewer than one audit in a thousand"
    ),
}


class Share(NamedTuple):
    """A share of the members, with the ends of its 95 % interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Point:
    """The true-positive rate of an attack at one false-positive rate.

    Attributes:
        rate: of false positives.
        share: true positives; None where too few records allow no threshold.
        allowed: the most that the claim allows at this rate; None without a claim.
    """

    rate: float
    share: Share | None
    allowed: float | None

    @property
    def cell(self) -> str:
        """Rate with its interval and, behind the stroke, the most that the claim allows."""
        allowed = "" if self.allowed is None else f" / {self.allowed:.3f}"
        if self.share is None:
            return f"too few records{allowed}"
        value, lower, upper = self.share
        return f"{value:.3f} [{lower:.3f}, {upper:.3f}]{allowed}"

    def to_json(self) -> dict[str, object]:
        """The point as it is stored."""
        share = self.share
        return {
            "false_positive_rate": self.rate,
            "true_positive_rate": None if share is None else share.value,
            "interval": None if share is None else [share.lower, share.upper],
            "allowed": self.allowed,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The point that `to_json` stored. Raises KeyError, TypeError or ValueError for others."""
        rate = share(stored["false_positive_rate"])
        if rate is None:
            raise TypeError("no false-positive rate")
        return cls(rate, _stored_share(stored), share(stored["allowed"]))


def _stored_share(stored: Mapping[str, Any]) -> Share | None:
    """The true-positive rate of a stored point with its interval; None where there is none."""
    value = share(stored["true_positive_rate"])
    if value is None:
        return None
    lower, upper = (share(end) for end in stored["interval"])
    if lower is None or upper is None:
        raise TypeError("half an interval")
    return Share(value, lower, upper)


@dataclass(frozen=True)
class Line:
    """What one attack of one adversary measured, and its verdict.

    A value that was not measured is None.

    Attributes:
        attack: its name, or that of a property of the mechanism.
        verdict: of this line by itself.
        why: the reason for the verdict.
        auc: area under the ROC curve; guessing has .5.
        auc_error: its standard error.
        points: true positives at `FALSE_POSITIVE_RATES`.
        epsilon: lower bound, at the confidence `bounds.LINE_CONFIDENCE`.
        curve: true and false positives at every threshold; not stored.
        profile: of the claim, which bounds that curve; not stored.
    """

    attack: str
    verdict: Verdict
    why: str
    auc: float | None = None
    auc_error: float | None = None
    points: tuple[Point, ...] = ()
    epsilon: float | None = None
    curve: "attacks.Roc | None" = None
    profile: "Profile | None" = None

    @property
    def is_finding(self) -> bool:
        """Whether the AUC is above that of guessing by more than two standard errors."""
        if self.auc is None or self.auc_error is None:
            return False
        return self.auc - 0.5 > 2 * self.auc_error

    @property
    def headline(self) -> str:
        """The finding in a few words."""
        return (
            f"membership by {self.attack}: "
            f"AUC {self.auc:.3f} ± {self.auc_error:.3f}, by guessing .5"
        )

    @property
    def cells(self) -> tuple[str, ...]:
        """The line under the columns of `HEAD`."""
        area = _NO_AUC if self.auc is None else f"{self.auc:.3f}"
        error = "" if self.auc_error is None else f" ± {self.auc_error:.3f}"
        cells = {point.rate: point.cell for point in self.points}
        return (
            self.verdict.value,
            self.attack,
            area + error,
            *(cells.get(rate, "") for rate in FALSE_POSITIVE_RATES),
            "" if self.epsilon is None else f"{self.epsilon:.3g}",
        )

    def to_json(self) -> dict[str, object]:
        """The line as it is stored: without its curve, which would tell of single records."""
        return {
            "attack": self.attack,
            "auc": self.auc,
            "auc_error": self.auc_error,
            "points": [point.to_json() for point in self.points],
            "epsilon": self.epsilon,
            "verdict": self.verdict.value,
            "why": self.why,
            "told": list(self.cells),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The line that `to_json` stored. Raises KeyError, TypeError or ValueError for others."""
        return cls(
            text(stored["attack"]),
            Verdict(stored["verdict"]),
            text(stored["why"]),
            share(stored["auc"]),
            number(stored.get("auc_error")),  # older audits stored none
            tuple(Point.from_json(point) for point in stored["points"]),
            number(stored["epsilon"]),
        )


def table(lines: Sequence[Line]) -> list[list[str]]:
    """Returns the cells of a table, its head first, without columns that measured nothing."""
    columns = list(range(len(HEAD)))
    # So fine a rate needs a thousand non-members, which few scenarios have.
    if not any(line.points and line.points[-1].share for line in lines):
        columns.remove(_FINE_RATE_COLUMN)
    rows = [HEAD, *(line.cells for line in lines)]
    return [[row[column] for column in columns] for row in rows]


def table_lines(lines: Sequence[Line]) -> Iterator[str]:
    """Yields the lines as a table, then the reasons for their verdicts, each once."""
    rows = table(lines)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(
            f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)
        ).rstrip()
    attacks_of: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        attacks_of.setdefault((line.verdict.value, line.why), []).append(line.attack)
    for (verdict, why), names in attacks_of.items():
        yield f"{verdict} ({', '.join(names)}): {why}"
