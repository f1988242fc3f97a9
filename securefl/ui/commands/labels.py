"""securefl labels: the words of each site and their common words, before any run."""

from pathlib import Path
from typing import Annotated

import typer

from securefl.ui.commands.options import Overrides, Shown

app = typer.Typer(help="Look at a crosswalk of labels and levels.", no_args_is_help=True)

Map = Annotated[Path, typer.Argument(metavar="MAP", help="Crosswalk in TOML.")]
Against = Annotated[
    Path | None,
    typer.Argument(metavar="[SCENARIO]", help="Scenario whose records to look up in it."),
]
Records = Annotated[
    Path | None, typer.Option("--records", help="One site's own file, instead of the scenario's.")
]
SiteName = Annotated[str | None, typer.Option("--site", help="Whose file --records is.")]


@app.callback()
def _group() -> None:
    """Look at a crosswalk of labels and levels."""


@app.command()
def check(
    path: Map,
    scenario: Against = None,
    records: Records = None,
    site: SiteName = None,
    overrides: Overrides = None,
    display: Shown = None,
) -> None:
    """Print a crosswalk, and which words of the records have no entry."""
    from securefl.ui.display import make_display
    from securefl.ui.labels import check_labels

    found = check_labels(path, scenario, tuple(overrides or ()), records=records, site=site)
    make_display(display).line("\n".join(found.lines()), **found.facts)
    if found.unknown:
        raise typer.Exit(1)
