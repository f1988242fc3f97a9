"""Turns finished study folders into committed files: docs/results/<study>.csv and .md, and figures.

Run by `make bench` and `make bench-images`. Every table is made from the committed CSV, so that it
can be checked without a run: `--tables-only` makes the tables again from there. Studies in
studies/tuning have a page as well, with the learning rates that they chose for each seed, and so
have those in studies/goals, which measure what a goal asks for and take long.
"""

import argparse
import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from securefl.errors import RunFolderError, SecureflError
from securefl.runs.folder import RunFolder
from securefl.runs.names import cell_hash
from securefl.studies.expand import long_rows
from securefl.studies.find import find_study
from securefl.studies.scores import Scores, read_scores
from securefl.studies.study import Study, load_study
from securefl.studies.tables import study_tables
from securefl.studies.tuning import chosen_table
from securefl.ui.heatmap import heat_map

_STUDIES = Path(__file__).parent / "studies"
_COLUMNS = (
    "scenario",
    "label",
    "part",
    "seed",
    "code",
    "state",
    "noise",
    "site",
    "metric",
    "value",
)


def condensed(study: Study, text: str, scenarios: Mapping[str, str]) -> str:
    """Returns the rows of a results.csv that the tables need, values to six digits.

    Args:
        study: the study that was run.
        text: results.csv.
        scenarios: cell -> hash of its scenario, which ties the numbers to the scenario that ran.

    Raises:
        RunFolderError: a cell did not end well, or several versions of the code made the cells.
    """
    # One version of the code per study: numbers of two versions do not
    # belong in one table.
    out = io.StringIO()
    codes = set()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    records = list(csv.DictReader(io.StringIO(text)))
    begun = {row["label"] for row in records if row["state"] != "new"}
    not_run = long_rows(study) - begun
    for row in records:
        # A row that takes hours may stay "not run"; a part of its seeds may not be published.
        if row["label"] in not_run:
            continue
        codes.add(row["code"])
        if row["state"] != "done":
            raise RunFolderError(
                f"{row['label']!r} is {row['state']}: finish the study before it is published"
            )
        if len(codes) > 1:
            raise RunFolderError(
                f"versions {' and '.join(sorted(codes))} made these cells: publish one version only"
            )
        if _is_needed(study, row):
            value = f"{float(row['value']):.6g}" if row["value"] else ""
            writer.writerow({**row, "value": value, "scenario": scenarios[row["cell"]]})
    return out.getvalue()


def _is_needed(study: Study, row: Mapping[str, str]) -> bool:
    """Returns whether tables read a row."""
    if row["site"]:
        return False
    # An empty epsilon is a run without a claim. Averages over parts are weighted by records.
    if row["metric"] == "epsilon" and row["value"]:
        return True
    if row["metric"] == "records" and row["part"]:
        return True
    return row["metric"] in study.metrics


def study_file(name: str) -> Path:
    """Returns the file of a shipped study, or of one that comes with the repository alone.

    Raises:
        ScenarioError: there is no such study.
    """
    for folder in ("tuning", "goals"):
        path = _STUDIES / folder / f"{name}.toml"
        if path.exists():
            return path
    return find_study(name)


def tables_of(name: str, results: Path) -> str:
    """Returns the tables of a study, from its committed CSV."""
    study, scores = _read(name, results)
    tables = study_tables(study, scores)
    return f"{tables}\n{chosen_table(study, scores)}" if _is_tuning(name) else tables


def figure_of(name: str, results: Path) -> str:
    """Returns the heat map of a study, from its committed CSV."""
    return heat_map(*_read(name, results))


def _read(name: str, results: Path) -> tuple[Study, Scores]:
    """Returns a study and its committed numbers."""
    study, _ = load_study(study_file(name))
    return study, read_scores(results / f"{name}.csv")


def _is_tuning(name: str) -> bool:
    return study_file(name).parent.name == "tuning"


def document(name: str, tables: str) -> str:
    """Returns the page docs/results/<study>.md, with the commands that make it."""
    title, _, rest = tables.partition("\n")
    path = study_file(name)
    own = path.is_relative_to(_STUDIES)
    study = f"benchmarks/studies/{path.relative_to(_STUDIES).as_posix()}" if own else name
    run = f"securefl bench {study} --out runs/{name}"
    publish = "python -m benchmarks.publish"
    return (
        f"{title}\n\nMade by `{run}` and `{publish} runs/{name}`; "
        f"the numbers: [{name}.csv]({name}.csv), "
        f"the tables from them alone: `{publish} --tables-only {name}`.\n{rest}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Publishes finished study folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folders", nargs="+", type=Path, help="run folders of shipped studies, or their names"
    )
    parser.add_argument(
        "--tables-only", action="store_true", help="take the numbers from the committed CSV"
    )
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    chosen = parser.parse_args(arguments)
    try:
        for folder in chosen.folders:
            if not chosen.tables_only:
                write_numbers(folder, chosen.results)
            write_tables(folder.name, chosen.results)
    except SecureflError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def write_numbers(folder: Path, results: Path) -> None:
    """Writes one study's CSV from its run folder."""
    study, _ = load_study(study_file(folder.name))
    cells = RunFolder.open(folder).request().cells
    scenarios = {cell: cell_hash(scenario) for cell, scenario in cells.items()}
    text = condensed(study, (folder / "results.csv").read_text(encoding="utf-8"), scenarios)
    (results / f"{folder.name}.csv").write_text(text, encoding="utf-8")


def write_tables(name: str, results: Path) -> None:
    """Writes one study's page and figure from its CSV."""
    study, _ = _read(name, results)
    tables = tables_of(name, results)
    (results / f"{name}.md").write_text(document(name, tables), encoding="utf-8")
    if study.table.heat_map:
        figures = results.parent / "figures"
        figures.mkdir(exist_ok=True)
        (figures / f"{name}.svg").write_text(figure_of(name, results), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
