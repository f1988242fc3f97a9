"""From finished study folders to what is committed: docs/results/<study>.csv and .md, figures, the README's numbers.

Run by `make bench` and `make bench-images`. Everything printed is made from the committed CSV, so that anybody can
check it without running.
"""

import argparse
import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.bench import find_study
from benchmarks.heatmap import heat_map
from benchmarks.scores import read_scores
from benchmarks.study import Study, load_study
from benchmarks.tables import study_tables
from securefl.cell_names import cell_hash
from securefl.errors import RunFolderError, SecureflError
from securefl.runs import RunFolder

BEGIN, END = "<!-- {}:begin -->", "<!-- {}:end -->"
_KEPT = ("scenario", "label", "part", "seed", "code", "state", "noise", "site", "metric", "value")


def condensed(study: Study, text: str, scenarios: Mapping[str, str]) -> str:
    """The lines of a results.csv that the tables need, values to six digits.

    Args:
        study: whose results they are.
        text: results.csv.
        scenarios: cell -> hash of its scenario, so that the numbers stay tied to what was run.

    Raises:
        RunFolderError: a cell has not ended well, or several versions of the code made them.
    """
    out, codes = io.StringIO(), set()
    writer = csv.DictWriter(out, _KEPT, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in csv.DictReader(io.StringIO(text)):
        codes.add(row["code"])
        if row["state"] != "done":
            raise RunFolderError(f"{row['label']!r} is {row['state']}: finish the study before it is published")
        if len(codes) > 1:
            raise RunFolderError(f"versions {' and '.join(sorted(codes))} made these cells: publish one version only")
        if _tells(study, row):
            value = f"{float(row['value']):.6g}" if row["value"] else ""
            writer.writerow({**row, "value": value, "scenario": scenarios[row["cell"]]})
    return out.getvalue()


def _tells(study: Study, row: Mapping[str, str]) -> bool:
    """Whether tables read a line: metrics of the study, epsilons that are there, records where parts are averaged."""
    if row["site"]:
        return False
    needed = (row["metric"] == "epsilon" and row["value"]) or (row["metric"] == "records" and row["part"])
    return bool(needed) or row["metric"] in study.metrics


def tables_of(name: str, results: Path) -> str:
    """The tables of a shipped study, from its committed CSV."""
    study, _ = load_study(find_study(name))
    return study_tables(study, read_scores(results / f"{name}.csv"))


def figure_of(name: str, results: Path) -> str:
    """The heat map of a shipped study, from its committed CSV."""
    study, _ = load_study(find_study(name))
    return heat_map(study, read_scores(results / f"{name}.csv"))


def document(name: str, tables: str) -> str:
    """The page docs/results/<study>.md."""
    title, _, rest = tables.partition("\n")
    return f"{title}\n\nMade by `securefl bench {name}`; the numbers: [{name}.csv]({name}.csv).\n{rest}"


def with_numbers(readme: str, name: str, tables: str) -> str:
    """The README with the study's block written anew, if it has one. Raises RunFolderError where one end is missing."""
    begin, end = BEGIN.format(name), END.format(name)
    if begin not in readme and end not in readme:
        return readme
    if begin not in readme or end not in readme:
        raise RunFolderError(f"the README has no block between {begin} and {end}")
    before, _, rest = readme.partition(begin)
    _, _, after = rest.partition(end)
    body = "\n".join(f"##{line}" if line.startswith("#") else line for line in tables.strip().splitlines())
    return f"{before}{begin}\n\n{body}\n\n{end}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish finished study folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="run folders of shipped studies")
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    chosen = parser.parse_args(arguments)
    try:
        for folder in chosen.folders:
            publish(folder, chosen.results, chosen.readme)
    except SecureflError as reason:
        sys.stderr.write(f"error: {reason}\n")
        return reason.exit_code
    return 0


def publish(folder: Path, results: Path, readme: Path) -> None:
    """Write one study's CSV, page and README block."""
    name = folder.name
    study, _ = load_study(find_study(name))
    cells = RunFolder.open(folder).request().cells
    scenarios = {cell: cell_hash(scenario) for cell, scenario in cells.items()}
    (results / f"{name}.csv").write_text(
        condensed(study, (folder / "results.csv").read_text(encoding="utf-8"), scenarios), encoding="utf-8"
    )
    tables = tables_of(name, results)
    (results / f"{name}.md").write_text(document(name, tables), encoding="utf-8")
    if study.table.heat_map:
        figures = results.parent / "figures"
        figures.mkdir(exist_ok=True)
        (figures / f"{name}.svg").write_text(figure_of(name, results), encoding="utf-8")
    readme.write_text(with_numbers(readme.read_text(encoding="utf-8"), name, tables), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
