"""What `securefl refine`, `rollback`, `drift` and `card` do."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from securefl.files import disk_errors, locked, write_atomic, write_json
from securefl.runs.refining.plan import Asked
from securefl.runs.refining.refine import Outcome, abandon, refine
from securefl.runs.refining.series import REFUSED, VERSIONS, Series
from securefl.ui.cards.card import card_of
from securefl.ui.cards.page import page
from securefl.ui.display import Display
from securefl.ui.run import ShownRun

DRIFT = ("auc", "accuracy", "rmse")
UNSEEN = (
    "records that do not fit what is declared are dropped without a word, and what they cost is "
    "spent: `securefl data check` of the new records tells you of them beforehand"
)
OUTSIDE = (
    "these figures were computed without noise on the sites' test records: epsilon does not cover "
    "them, so keep them where those records may be seen"
)


def refine_model(folder: Path, asked: Asked, display: Display, *, workers: int) -> bool:
    """Trains the next version, and shows whether it was released. Returns that."""
    series = Series(folder)
    shown = ShownRun("refine", display, workers)
    if series.claims_dp:
        display.line(UNSEEN)
    outcome = refine(series, asked, shown.play)
    card = write_card(series, outcome.version)
    is_released = outcome.decision.kind != REFUSED
    for line in _told(series, outcome):
        display.line(line)
    display.line(
        f"version {series.released} is in force; model card {card}",
        version=outcome.version,
        decision=outcome.decision.kind,
        in_force=series.released,
        card=str(card),
    )
    return is_released


def _told(series: Series, outcome: Outcome) -> Iterator[str]:
    """Yields the outcome in sentences."""
    version, facts = outcome.version, outcome.decision.facts
    if outcome.again:
        yield (
            f"version {version} has these records and options already; for another one on the same "
            "records add --set seed=NUMBER"
        )
    gate = facts.get("gate")
    verdict = outcome.decision.kind
    if gate is None:
        yield f"version {version} {verdict}{'' if facts.get('reason') else ': there was no gate'}"
        return
    compared = ", ".join(
        f"{name.replace('_', ' ')} {'not measured' if value is None else f'{value:.4f}'}"
        for name, value in facts.items()
        if name in ("value", "previous", "noisy_value", "noisy_difference")
    )
    yield f"version {version} {verdict} by the gate {gate}: {compared}"


def give_up(folder: Path, display: Display) -> None:
    """Gives up the version that is under way."""
    series = Series(folder)
    version = abandon(series)
    spent = "it had spent nothing"
    if series.decision(version) is not None:
        spent = "what it spent stays spent"
    display.line(f"version {version} was given up; {spent}", version=version)


def roll_back(folder: Path, to: int | None, display: Display) -> None:
    """Releases an earlier version once more."""
    series = Series(folder)
    with disk_errors(folder):
        (folder / VERSIONS).mkdir(exist_ok=True)
        with locked(folder / VERSIONS):
            decision = series.roll_back(to)
    display.line(
        f"version {decision.version} is in force again; nothing that later versions spent comes "
        f"back. Its model: {series.cell(decision.version).cell.checkpoint}",
        in_force=decision.version,
        before=decision.facts["before"],
    )


def write_card(series: Series, version: int) -> Path:
    """Writes a version's card as JSON and as a page. Returns the page's path."""
    card = card_of(series, version)
    folder = series.path if version == 1 else series.folder(version)
    with disk_errors(folder):
        write_json(folder / "card.json", card)
        write_atomic(folder / "card.md", page(card).encode())
    return folder / "card.md"


def show_card(folder: Path, version: int | None, display: Display) -> None:
    """Writes and shows the card of a version; of the one in force by default."""
    series = Series(folder)
    number = series.released if version is None else version
    path = write_card(series, number)
    display.line(f"wrote {path}", card=str(path), version=number)


Row = dict[str, Any]


def drift_of(series: Series) -> list[Row]:
    """Returns site -> figures of each version that ended, each on its own test records."""
    rows = []
    for version in series.versions:
        metrics = series.cell(version).cell.metrics() if series.run_of(version).exists() else None
        if metrics is None:
            continue
        sites: dict[str, Mapping[str, Any]] = {"all": metrics, **metrics.get("sites", {})}
        figures = {
            site: {name: values.get(name) for name in DRIFT} for site, values in sites.items()
        }
        rows.append({"version": version, "claim": metrics.get("epsilon"), "sites": figures})
    return rows


def show_drift(folder: Path, plot: Path | None, display: Display) -> None:
    """Shows the quality at each site over all versions, and draws it."""
    series = Series(folder)
    rows = drift_of(series)
    names = list(dict.fromkeys(site for row in rows for site in row["sites"]))
    metric = _metric_of(rows)
    width = max(map(len, ["site", *names]))
    heads = [f"{'v' + str(row['version']):>8}" for row in rows]
    lines = [
        f"{metric} of each version on its own test records",
        f"{'site':{width}}{''.join(heads)}",
    ]
    for name in names:
        values = [row["sites"].get(name, {}).get(metric) for row in rows]
        cells = [f"{'-' if value is None else f'{value:.3f}':>8}" for value in values]
        lines.append(f"{name:{width}}{''.join(cells)}")
    display.line("\n".join(lines), metric=metric, versions=rows, in_force=series.released)
    if any(row["claim"] is not None for row in rows):
        display.line(OUTSIDE)
    if plot is not None:
        from securefl.ui.figures import draw_drift

        curves = {name: _curve(rows, name, metric) for name in names}
        draw_drift(plot, curves, metric)
        display.line(f"wrote {plot}", figure=str(plot))


def _metric_of(rows: list[Row]) -> str:
    """Returns the first metric of `DRIFT` that was measured anywhere."""
    for metric in DRIFT:
        if any(row["sites"]["all"].get(metric) is not None for row in rows):
            return metric
    return DRIFT[1]


def _curve(rows: list[Row], site: str, metric: str) -> tuple[list[int], list[float]]:
    points = [(row["version"], row["sites"].get(site, {}).get(metric)) for row in rows]
    measured = [(version, value) for version, value in points if value is not None]
    return [version for version, _ in measured], [value for _, value in measured]
