"""The figures of the studies medical-privacy and number-of-hospitals, from their committed numbers.

Run:  python -m benchmarks.experiments.medical_figures
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from securefl.privacy.remember import fresh
from securefl.runs.table import mean_and_error
from securefl.studies.expand import expand
from securefl.studies.find import find_study
from securefl.studies.scores import read_scores
from securefl.studies.study import load_study
from securefl.ui.figures import Bar, draw_bars

RESULTS = Path("docs/results")
FIGURES = Path("docs/figures")
METRIC = "auc"
ALONE = "one hospital"
Panels = dict[str, dict[str, list[Bar]]]


def panels_of(
    name: str, results: Path, number_of: Callable[[Mapping[str, str]], float | None]
) -> Panels:
    """Returns data -> place, or the label of a baseline -> its bars, in the study's order.

    Args:
        name: of the study.
        results: folder of its CSV.
        number_of: levels of a row -> its number on the axis; None for a level that has none.
    """
    study, _ = load_study(find_study(name))
    scores = read_scores(results / f"{name}.csv")
    panels: Panels = {}
    for row, levels in {cell.row: cell.levels for cell in expand(study, remember=fresh)}.items():
        values = [value for value in scores.of(row, METRIC).values() if value is not None]
        mean, error = mean_and_error(values)
        label = levels.get("place", row.partition(" (")[0])
        bar = (number_of(levels) or 0.0, mean, error or 0.0)
        panels.setdefault(levels["data"], {}).setdefault(label, []).append(bar)
    return panels


def with_one_hospital(panels: Panels) -> Panels:
    """Returns panels in which every place begins with the hospital that is alone."""
    places: Panels = {}
    for title, rows in panels.items():
        ((_, mean, error),) = rows[ALONE]
        others = {label: bars for label, bars in rows.items() if label != ALONE}
        places[title] = {label: [(1.0, mean, error), *bars] for label, bars in others.items()}
    return places


def main() -> int:
    """Draws both figures."""
    FIGURES.mkdir(exist_ok=True)
    privacy = panels_of(
        "medical-privacy",
        RESULTS,
        lambda levels: float(levels["privacy.epsilon"]) if "privacy.epsilon" in levels else None,
    )
    draw_bars(FIGURES / "noise-places.svg", privacy, across="epsilon", upwards="AUC")
    hospitals = panels_of(
        "number-of-hospitals",
        RESULTS,
        lambda levels: float(levels["hospitals"]) if "hospitals" in levels else None,
    )
    draw_bars(
        FIGURES / "noise-hospitals.svg",
        with_one_hospital(hospitals),
        across="hospitals",
        upwards="AUC",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
