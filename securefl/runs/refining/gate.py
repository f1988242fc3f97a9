"""The gate before a release: one comparison, such as "auc >= previous - .01"."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from securefl.errors import ScenarioError

# Of which a larger value is better, in [0, 1].
SHARES = ("accuracy", "balanced_accuracy", "auc")
# Of which a smaller value is better.
ERRORS = ("mae", "rmse")
# Larger is better, and the best is 1.
DETERMINATION = ("r2",)
MAX_DIGITS = 9  # of a number, on each side of the point

# Of the larger number, or of 1: closer numbers are equal. The sum of .1 and .7 is not .8 in binary
# fractions, and rounding must not decide about a release.
TOLERANCE = 1e-12

# Whether a difference to the bound, in tolerances, passes.
_COMPARE: Mapping[str, Callable[[float], bool]] = {
    ">=": lambda difference: difference >= -1,
    ">": lambda difference: difference > 1,
    "<=": lambda difference: difference <= 1,
    "<": lambda difference: difference < -1,
}
_NUMBER = rf"\d{{1,{MAX_DIGITS}}}(?:\.\d{{0,{MAX_DIGITS}}})?|\.\d{{1,{MAX_DIGITS}}}"
_GATE = re.compile(
    rf"(?P<metric>[a-z0-9_]+) *(?P<sign>>=|<=|>|<) *"
    rf"(?:(?P<previous>previous)(?: *(?P<side>[+-]) *(?P<margin>{_NUMBER}))?|(?P<bound>{_NUMBER}))",
    re.ASCII,
)


@dataclass(frozen=True)
class Gate:
    """A condition on a model's quality.

    Attributes:
        text: as it was given.
        metric: its name.
        sign: one of >=, >, <= and <.
        relative: whether the bound is counted from the quality of the version released before.
        number: the bound, or what is added to that quality.
    """

    text: str
    metric: str
    sign: str
    relative: bool
    number: float

    @property
    def for_targets(self) -> bool:
        """Whether the metric is one of real targets, not of classes."""
        return self.metric not in SHARES

    def passes(self, value: float | None, previous: float | None) -> bool:
        """Returns whether a version may be released; never where a value was not measured.

        Numbers within `TOLERANCE` of each other count as equal.

        Args:
            value: of the new version.
            previous: of the released one, on the same records.
        """
        if value is None or (self.relative and previous is None):
            return False
        bound = self.number + (previous or 0.0) * self.relative
        tolerance = TOLERANCE * max(1.0, abs(value), abs(bound))
        return _COMPARE[self.sign]((value - bound) / tolerance)


def parse_gate(text: str) -> Gate:
    """Returns the gate of a text.

    Grammar: METRIC SIGN BOUND. BOUND is a decimal number, or "previous", or "previous" + or - a
    decimal number. Nothing is evaluated.

    Raises:
        ScenarioError: the text is none, or a worse model would pass where a better one fails.
    """
    match = _GATE.fullmatch(text.strip())
    if match is None:
        raise ScenarioError(
            f"--gate takes a comparison such as 'auc >= previous - 0.01', got {text!r}"
        )
    metric, sign = match["metric"], match["sign"]
    if metric not in (*SHARES, *ERRORS, *DETERMINATION):
        names = ", ".join((*SHARES, *ERRORS, *DETERMINATION))
        raise ScenarioError(f"--gate: there is no metric {metric!r}; known are {names}")
    if sign.startswith("<") is not (metric in ERRORS):
        wanted = "<=" if metric in ERRORS else ">="
        raise ScenarioError(
            f"--gate: {metric} {sign} would release a worse model and refuse a better one; "
            f"use {wanted}"
        )
    number = float(match["margin"] or match["bound"] or 0.0)
    if metric in SHARES and number > 1:
        raise ScenarioError(f"--gate: {metric} is from 0 to 1, got {number:g}")
    is_relative = match["previous"] is not None
    return Gate(
        text.strip(), metric, sign, is_relative, -number if match["side"] == "-" else number
    )
