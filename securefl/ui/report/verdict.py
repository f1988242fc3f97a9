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

MAX_DATA_SETS = 3  # that a sentence names
SMALLEST_IS_BEST = ("mae", "rmse")
CHOSEN = ("accuracy", "balanced_accuracy", "auc", *METRICS_OF_TARGETS)


class Score(NamedTuple):
    """The score of a row.

    Attributes:
        group: the row.
        score: mean and standard error over its seeds.
        n: how many seeds there are.
        several: whether the folder has other rows.
    """

    group: Group
    score: MeanAndError
    n: int
    several: bool


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
    """What the best row reaches, compared with a constant answer; for each data set apart."""
    if not groups:
        return ""
    metric = _metric(request, groups)
    several = len(groups) > 1
    scores = _comparable([score for group in groups if (score := _score(group, metric, several))])
    if not scores:
        is_measured = any(group.runs for group in groups)
        return (
            f"No row has its {title_of(metric)} with every seed."
            if is_measured
            else "There is no result."
        )
    title = title_of(metric)
    best = {name: _best(ones, metric) for name, ones in scores.items()}
    parts = [_reached(one, metric) for one in best.values()]
    if len(groups) == 1:
        return f"{title[0].upper()}{title[1:]} is {parts[0]}."
    extreme = "lowest" if metric in SMALLEST_IS_BEST else "highest"
    if len(best) == 1:
        (compared,) = scores.values()
        count = f" of {len(compared)} rows" if len(compared) > 1 else ""
        (first,) = best.values()
        return f"The {extreme} {title}{count} is {parts[0]}{_close(first, compared)}."
    by_data = [f"{named(name)} {part}" for name, part in zip(best, parts, strict=True)]
    shown = by_data[:MAX_DATA_SETS]
    left = len(by_data) - len(shown)
    others = f"; {left} other data set{'s' if left > 1 else ''} in the table" if left else ""
    return f"The {extreme} {title} is on {'; on '.join(shown)}{others}."


def _comparable(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """The scores by data set, of the rows that all its test records judge."""
    by_data: dict[str, list[Score]] = {}
    for score in scores:
        by_data.setdefault(str(score.group.first["data"]["name"]), []).append(score)
    whole = {}
    for name, members in by_data.items():
        # A site's own records may be easier: its row does not compete with those of all records.
        most = max(_records(score) for score in members)
        whole[name] = [score for score in members if _records(score) == most]
    return whole


def _records(score: Score) -> int:
    return max(run.get("records", 0) for run in score.group.runs)


def _best(scores: Sequence[Score], metric: str) -> Score:
    best_of = min if metric in SMALLEST_IS_BEST else max
    return best_of(scores, key=lambda score: score.score.mean)


def _close(best: Score, scores: Sequence[Score]) -> str:
    """How many rows are so close to the best one that chance may have decided."""
    error = best.score.error
    if error is None:
        return ""
    distances = [abs(score.score.mean - best.score.mean) for score in scores]
    close = sum(distance <= error for distance in distances) - 1
    if not close:
        return ""
    verb = "row is" if close == 1 else "rows are"
    return f"; {close} other {verb} within its standard error"


def _reached(best: Score, metric: str) -> str:
    """The score of a row, with its error, its name where there are several, and its baseline."""
    reached = with_error(*best.score, digits=decimals(metric, best.score.mean))
    over = f" over {best.n} seeds" if best.n > 1 else " from one seed"
    whose = f", by {named(best.group.label)}" if best.several else ""
    return f"{reached}{over}{whose}{_judges(best.group)}{_baseline(best, metric)}"


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


def _score(group: Group, metric: str, several: bool) -> Score | None:
    """The score of a row; None where a seed is missing or was not measured."""
    runs = group.runs
    values = [cast(float | None, run.get(metric)) for run in runs]
    measured = [value for value in values if value is not None]
    if not measured or len(measured) < len(group.looks):
        return None
    return Score(group, mean_and_error(measured), len(measured), several)


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
