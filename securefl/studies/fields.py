"""The text in one field of a study's tables: a score, a claim or a difference."""

from collections import Counter
from collections.abc import Mapping

from securefl.runs.cell import CellState
from securefl.runs.metrics import METRICS_WITHIN_SITES
from securefl.runs.table import (
    NO_CLAIM,
    NOT_MEASURED,
    OF_OTHER_RECORDS,
    decimals,
    mean_and_error,
    number_of,
    with_error,
)
from securefl.studies.questions import Differences
from securefl.studies.scores import Scores
from securefl.studies.statistics import Comparison

COUNTS = ("records", "rounds", "bytes_up")  # metrics that are printed without decimals

NOT_RUN = "not run"  # a row that takes hours, and that nobody asked for


def spread(scores: Scores, row: str, metric: str) -> str:
    """Returns mean and standard error with the cells that are missing, or why there is none."""
    states = Counter(scores.states.get(row, ()))
    values = scores.of(row, metric).values()
    measured = [value for value in values if value is not None]
    if not values:
        if failed := states[CellState.FAILED]:
            return f"failed ({failed})"
        if metric in METRICS_WITHIN_SITES and scores.of(row, "auc"):
            return OF_OTHER_RECORDS  # no site has test records of its own
        return NOT_RUN if row in scores.long else "missing"
    # A mean over some of the seeds would be compared with means over all of them.
    if len(measured) < len(values):
        return NOT_MEASURED
    mean, error = mean_and_error(measured)
    digits = decimals(metric, mean)
    number = f"{mean:.0f}" if metric in COUNTS else with_error(mean, error, digits=digits)
    remarks = _remarks(states, len(measured))
    if not remarks:
        return number
    words = ", ".join(remarks)
    return f"{number} ({words})"


def _remarks(states: Mapping[str, int], measured: int) -> list[str]:
    """Cells of a row that did not end well, and how many have ended while some are missing."""
    remarks = []
    for state in (CellState.FAILED, CellState.OUT_OF_BUDGET):
        count = states.get(state, 0)
        if count:
            remarks.append(f"{count} {state}")
    ended = {CellState.DONE, CellState.FAILED, CellState.OUT_OF_BUDGET}
    still_to_come = set(states) - ended
    # Then the mean is over fewer seeds than the study has.
    if still_to_come:
        remarks.append(f"n={measured}")
    return remarks


def claim_of(scores: Scores, row: str) -> str:
    """Returns the largest epsilon of the seeds; empty while no cell has ended."""
    epsilons = scores.of(row, "epsilon").values()
    claims = [value for value in epsilons if value is not None]
    if claims:
        mark = " (seeded)" if row in scores.seeded else ""
        return f"{max(claims):.2f}{mark}"
    # Without a claim there is no epsilon, but there are other numbers once a cell has ended.
    has_ended = scores.of(row, "records") or scores.of(row, "accuracy")
    return NO_CLAIM if has_ended else ""


def difference(compared: Differences, row: str | None) -> str:
    """Returns a difference with its interval; a star where it is beyond noise."""
    comparison = None if row is None else compared.comparisons.get(row)
    if comparison is None:
        return ""
    number = _with_interval(compared.metric, comparison)
    count = "" if comparison.n == compared.seeds else f" (n={comparison.n})"
    star = " *" if row in compared.marked else ""
    return f"{number}{count}{star}"


def _with_interval(metric: str, comparison: Comparison) -> str:
    """A mean difference, with its interval where there is one."""
    mean, low, high = comparison.mean, comparison.low, comparison.high
    if low is None or high is None:
        return f"{number_of(mean, decimals(metric, mean), sign='+')} (one seed)"
    digits = decimals(metric, max(abs(low), abs(high)))
    middle, lower, upper = (number_of(value, digits, sign="+") for value in (mean, low, high))
    return f"{middle} [{lower}, {upper}]"
