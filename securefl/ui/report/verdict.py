"""The verdict of a page: what came out, what is claimed and what failed, in three sentences."""

from collections.abc import Sequence
from typing import NamedTuple, cast

from securefl.errors import ScenarioError
from securefl.files import parse_toml
from securefl.runs.folder import Request
from securefl.runs.metrics import METRICS_OF_TARGETS, has_targets
from securefl.runs.table import (
    MeanAndError,
    decimals,
    mean_and_error,
    title_of,
    with_error,
)
from securefl.ui.report.looks import Group, Look
from securefl.ui.report.sharing import named
from securefl.ui.report.states import trouble

SMALLEST_IS_BEST = ("mae", "rmse")
CHOSEN = ("accuracy", "balanced_accuracy", "auc", *METRICS_OF_TARGETS)


class Score(NamedTuple):
    """The score of a row: its mean over seeds, and how many there are."""

    group: Group
    score: MeanAndError
    n: int


def verdict(request: Request, groups: Sequence[Group], mistakes: Sequence[str]) -> list[str]:
    """Returns the verdict on a folder of runs, in at most three sentences.

    Args:
        request: of the folder; a study names the metric that it is about.
        groups: its rows.
        mistakes: of privacy claims, by name, that the lint found.
    """
    looks = list({look.use.cell: look for group in groups for look in group.looks}.values())
    sentences = [trouble(looks), _outcome(request, groups), _claim(groups, mistakes)]
    return [sentence for sentence in sentences if sentence]


def _outcome(request: Request, groups: Sequence[Group]) -> str:
    """What the best row reaches, compared with a constant answer."""
    metric = _metric(request, groups)
    scores = [score for group in groups if (score := _score(group, metric)) is not None]
    if not scores:
        return "There is no result yet." if groups else ""
    best_of = min if metric in SMALLEST_IS_BEST else max
    best = best_of(scores, key=lambda score: score.score.mean)
    reached = with_error(*best.score, digits=decimals(metric, best.score.mean))
    over = f" over {best.n} seeds" if best.n > 1 else ", from one seed"
    title = title_of(metric)
    where = _judges(best.group)
    baseline = _baseline(best, metric)
    if len(groups) == 1:
        return f"{title[0].upper()}{title[1:]} is {reached}{over}{where}{baseline}."
    extreme = "lowest" if best_of is min else "highest"
    return (
        f"The {extreme} {title} of {len(scores)} rows is {reached}{over}, of "
        f"{named(best.group.label)}{where}{baseline}."
    )


def _metric(request: Request, groups: Sequence[Group]) -> str:
    """The metric that a study names first; else the usual one of the records."""
    targets = any(has_targets(run) for group in groups for run in group.runs)
    usual = "rmse" if targets else "accuracy"
    if request.study is None:
        return usual
    try:
        metrics = parse_toml(request.text, "the study").get("metrics")
    except ScenarioError:
        return usual
    first = metrics[0] if isinstance(metrics, list) and metrics else usual
    return first if first in CHOSEN else usual


def _score(group: Group, metric: str) -> Score | None:
    """The score of a row; None where a seed is missing or was not measured."""
    runs = group.runs
    values = [cast(float | None, run.get(metric)) for run in runs]
    measured = [value for value in values if value is not None]
    if not measured or len(measured) < len(group.looks):
        return None
    return Score(group, mean_and_error(measured), len(measured))


def _judges(group: Group) -> str:
    """Which records judged, where these are not the test records."""
    parts = {look.scenario["data"].get("test_on") for look in group.looks}
    return ", on VALIDATION records" if "validation" in parts else ""


def _baseline(best: Score, metric: str) -> str:
    """What a constant answer reaches, where the metric has such a baseline."""
    shares = [share for run in best.group.runs if (share := run.get("majority")) is not None]
    if metric != "accuracy" or len(shares) < best.n:
        return ""
    majority = mean_and_error(shares).mean
    if best.score.mean <= majority:
        return f", no better than to answer always with the largest class ({majority:.3f})"
    return f"; to answer always with the largest class gives {majority:.3f}"


def _claim(groups: Sequence[Group], mistakes: Sequence[str]) -> str:
    """What is claimed, and what speaks against it."""
    if not groups:
        return ""
    claiming = [group for group in groups if group.claims]
    if not claiming:
        return (
            "No differential privacy is claimed: nothing bounds what the model, or whatever else "
            "leaves a client, reveals about a record."
        )
    who = "The run claims"
    if len(groups) > 1:
        verb = "claims" if len(claiming) == 1 else "claim"
        who = f"{len(claiming)} of {len(groups)} rows {verb}"
    looks = [look for group in claiming for look in group.looks if look.claims]
    text = f"{who} differential privacy{_epsilons(looks)}{_against(looks)}"
    if mistakes:
        return f"{text}; but the lint finds that the claim is wrong ({', '.join(mistakes)})."
    if any(_is_seeded(look) for look in looks):
        return f"{text}; its noise comes from a seed, and whoever has the seed can remove it."
    return f"{text}."


def _epsilons(looks: Sequence[Look]) -> str:
    """The epsilons that were spent, for one unit; epsilons of different units are never mixed."""
    # Only now: the catalog behind it imports torch, for which pages without a claim need not wait.
    from securefl.scenario.claim_words import UNITS

    units = {str(look.scenario["privacy"].get("unit") or "example") for look in looks}
    if len(units) > 1:
        return " for different units, which the table names"
    (unit,) = units
    spent = [
        epsilon
        for look in looks
        if look.metrics is not None and (epsilon := look.metrics.get("epsilon")) is not None
    ]
    for_whom = f"for {UNITS.get(unit, unit)}"
    if not spent:
        asked = max(float(look.scenario["privacy"]["epsilon"]) for look in looks)
        return f" with a budget of epsilon {asked:g} {for_whom}"
    low, high = f"{min(spent):.2f}", f"{max(spent):.2f}"
    reach = low if low == high else f"{low} to {high}"
    return f" with epsilon {reach} {for_whom}"


def _against(looks: Sequence[Look]) -> str:
    """Whom the claims do not hold against, where the server sees what is not yet noised."""
    places = {look.scenario["privacy"].get("place") or "local" for look in looks}
    if places == {"central"}:
        return ", not against whoever opens the sums"
    return ""


def _is_seeded(look: Look) -> bool:
    noise = None if look.metrics is None else look.metrics.get("noise")
    return (noise or look.scenario["privacy"].get("noise")) == "seeded"
