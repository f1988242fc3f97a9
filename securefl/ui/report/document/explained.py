"""Verdicts, each in one sentence for a reader who is no statistician."""

import math
from collections.abc import Iterable

from securefl.audit.exposure.result import Exposure
from securefl.audit.lines import Line, Verdict
from securefl.audit.repertoire import TRAINING, known
from securefl.audit.scope import Budget

CLAIM = {
    Verdict.HOLDS: (
        "The claim holds as far as an audit can tell: the noise, the clipping, the batches and the "
        "steps of the training were all measured, and each is as promised."
    ),
    Verdict.UNCLAIMED: (
        "No protection was promised, so that there is no claim to judge: everything that was "
        "measured below is open to this adversary."
    ),
    Verdict.UNDECIDED: (
        "Nothing contradicts the claim, and nothing confirms it: these measurements would not "
        "notice every fault."
    ),
    Verdict.VIOLATED: (
        "The claim is wrong: if it were true, fewer than one audit in a thousand would measure "
        "what this one did."
    ),
}
MAX_EXPONENT = 700.0  # of a float
_MEASURED = {
    Verdict.HOLDS: "this is as promised",
    Verdict.UNCLAIMED: "nothing was promised against it",
    Verdict.UNDECIDED: "this does not contradict the claim, and does not confirm it",
    Verdict.VIOLATED: "this is more than the claim allows, so that the claim is wrong",
}
_CHECKED = {
    Verdict.HOLDS: "This part of the protection was measured and is as promised.",
    Verdict.UNCLAIMED: "Nothing was promised, so that there is nothing to check.",
    Verdict.UNDECIDED: "This part of the protection could not be confirmed, and was not refuted.",
    Verdict.VIOLATED: "This part of the protection is not as promised, so that the claim is wrong.",
}


def promise(budget: Budget) -> str:
    """Returns what a claim promises, in one sentence.

    Delta is no bound on the chance that the factor is exceeded, so that it is given as it is.
    """
    factor = math.exp(min(budget.epsilon, MAX_EXPONENT))
    return (
        "With one record or without it, the probability of anything that can be seen differs by a "
        f"factor of {factor:.3g} at most, and by {budget.delta:g} on top."
    )


def bound(lines: Iterable[Line]) -> str:
    """Returns the most that any attack may find, in one sentence; "" without a claim."""
    points = (point for line in lines for point in line.points if point.allowed is not None)
    for point in points:
        return (
            f"An attack that wrongly accuses {_percent(point.rate)} of the records that took no "
            f"part may find {_percent(point.allowed or 0.0)} at most of those that did."
        )
    return ""


def is_measured(line: Line) -> bool:
    """Whether an attack or a check came to a result, whatever it was."""
    decided = line.verdict in (Verdict.HOLDS, Verdict.VIOLATED)
    return decided or line.auc is not None


def line_sentence(line: Line) -> str:
    """Returns the verdict of an attack or a check, explained in one sentence."""
    attack = known(line.attack)
    if line.auc is not None:
        return f"{_pairs(line, line.auc)}; {_MEASURED[line.verdict]}."
    if line.verdict in (Verdict.HOLDS, Verdict.VIOLATED):
        return _CHECKED[line.verdict]
    if attack is not None and attack.about == TRAINING:
        return _CHECKED[line.verdict]
    return "It could not be run, so that it says nothing about the claim."


def exposure_sentence(exposure: Exposure) -> str:
    """Returns what an attack on updates came to, in one sentence."""
    if exposure.measured is None or exposure.guessing is None:
        return "It could not be run, so that it says nothing."
    if exposure.is_finding:
        return "It learns more from the updates than guessing would give, beyond its error."
    return "It learns nothing from the updates beyond what guessing gives."


def _percent(part: float) -> str:
    return f"{100 * part:.3g} %"


def _pairs(line: Line, area: float) -> str:
    """The AUC in words: the chance to name the right one of two records."""
    attack = known(line.attack)
    two = "one record that was trained on and one that was not"
    if attack is not None and attack.about == TRAINING:
        two = "one artificial record that was put in and one that was left out"
    share = f"{100 * area:.1f} % of cases, where guessing gives 50 %"
    pairs = f"Shown {two}, it names the right one in {share}"
    # A refuted claim rests on another figure, and older audits stored no error.
    if line.verdict is Verdict.VIOLATED or line.auc_error is None:
        return pairs
    if line.is_finding:
        return f"{pairs}, which is more than luck explains"
    return f"{pairs}, which luck alone could give"
