"""Commands about many runs: bench, compare."""

from pathlib import Path
from typing import Annotated

import typer

from securefl.runs.engines import EngineName
from securefl.ui.commands.completion import complete_study
from securefl.ui.commands.options import Out, Overrides, Shown, Trust
from securefl.ui.styles import usual_style

StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="Study in TOML, or the name of a shipped one.",
        autocompletion=complete_study,
    ),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, max=1024, help="Cells at once; default: the CPUs.")
]
EngineChoice = Annotated[
    EngineName, typer.Option("--engine", help="Run cells on this machine, or on a Ray cluster.")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="The Ray cluster's head, or auto; default: a cluster of this machine alone.",
    ),
]
MaxCells = Annotated[
    int | None, typer.Option("--max-cells", min=1, help="Run so many cells at most, then stop.")
]
Fail = Annotated[
    bool, typer.Option("--fail-fast/--keep-going", help="Whether the first failed cell ends it.")
]
Limit = Annotated[
    float | None, typer.Option("--cell-limit", min=1e-3, help="Seconds a cell may take.")
]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept-code", metavar="HASH", help="Use ended cells of a version."),
]
Dry = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the cells, their time and disk space; run nothing."),
]
Long = Annotated[bool, typer.Option("--long", help="Also run the rows that take hours.")]
Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="Default: those of the records.")
]
Sites = Annotated[bool, typer.Option("--sites", help="Also on each site's own test records.")]


def bench(
    study: StudyName,
    out: Out = None,
    dry_run: Dry = False,
    jobs: Jobs = None,
    max_cells: MaxCells = None,
    fail_fast: Fail = False,
    cell_limit: Limit = None,
    accept_code: Accept = None,
    engine: EngineChoice = EngineName.LOCAL,
    address: Address = None,
    long: Long = False,
    overrides: Overrides = None,
    trust: Trust = None,
    display: Shown = None,
) -> None:
    """Run a study: many scenarios, several seeds; the same command again runs what is missing."""
    from securefl.ui import bench as command

    options = command.Options(
        jobs=jobs,
        max_cells=max_cells,
        fail_fast=fail_fast,
        limit=cell_limit,
        accepted=tuple(accept_code or ()),
        overrides=tuple(overrides or ()),
        engine=engine,
        address=address,
        long=long,
    )
    act = command.dry_run if dry_run else command.bench
    act(study, out, options, usual_style(display))


def compare(
    first: Annotated[Path, typer.Argument(help="Run folder.")],
    second: Annotated[Path, typer.Argument(help="Run folder that is compared with the first.")],
    metric: Metrics = None,
    sites: Sites = False,
    display: Shown = None,
) -> None:
    """Show how the results of two run folders differ, and which differences are beyond noise."""
    from securefl.ui import compare as command

    metrics = tuple(metric or command.METRICS)
    command.compare(first, second, metrics, usual_style(display), sites=sites)
