"""The numbers of a page's rows, as CSV."""

from pathlib import Path

from securefl.ui.report import write_report
from tests.ui.report.folders import Made, made
from tests.ui.report.reading import read, rows_of


def test_a_mean_over_some_of_the_seeds_is_none(tmp_path: Path) -> None:
    cells = [Made("a", 0, metrics={"auc": None}), Made("a", 1, metrics={"auc": 0.9})]
    folder = made(tmp_path / "run", [*cells, Made("b", 0)])
    first, second = rows_of(
        read(write_report(folder).read_text(encoding="utf-8")).downloads["rows.csv"]
    )
    assert (first["auc"], first["standard error of auc"]) == ("", "")
    assert float(first["accuracy"]) == (0.75 + 0.752) / 2
    # One seed has no error.
    assert (second["auc"], second["standard error of auc"]) == ("0.85", "")
