"""securefl data: what people's own records hold, before any run."""

from pathlib import Path
from typing import Annotated

import typer

from securefl.errors import ScenarioError
from securefl.ui.commands.options import Overrides, Shown, Trust, drawn

app = typer.Typer(
    help="Look at your own records: draft a schema, check them.", no_args_is_help=True
)

Table = Annotated[Path, typer.Argument(help="Table, .csv or .parquet.")]
Draft = Annotated[Path | None, typer.Option("--out", help="File to write; printed by default.")]
Checked = Annotated[
    Path,
    typer.Argument(metavar="FILE|SCENARIO", help="Scenario, .npz file, folder of images or table."),
]
SchemaFile = Annotated[Path | None, typer.Option("--schema", help="Schema of a table.")]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", help="Draw records of each site and class (.svg, .png or .pdf)."),
]
Effect = Annotated[
    bool,
    typer.Option("--site-effect", help="Measure how well records give away their site."),
]
Images = Annotated[
    Path, typer.Argument(metavar="FILE|SCENARIO", help="Scenario or .npz file of public images.")
]


@app.command()
def describe(file: Table, out: Draft = None) -> None:
    """Draft the schema of a table; what it reads from records is not public."""
    from securefl.data.own.describe import describe as draft_of

    if out is not None and out.exists():
        raise ScenarioError(f"{out} exists; choose another name for the schema")
    draft = draft_of(file)
    if out is None:
        print(draft, end="")
        return
    try:
        out.write_text(draft, encoding="utf-8")
    except OSError as reason:
        raise ScenarioError(f"cannot write {out}: {reason.strerror}") from None
    print(f"wrote {out}; its ranges, levels and sites come from the records and are not public")


@app.command()
def check(
    path: Checked,
    schema: SchemaFile = None,
    plot: Plot = None,
    unlike: Effect = False,
    overrides: Overrides = None,
    trust: Trust = None,
    display: Shown = None,
) -> None:
    """Count records by site and class, and say whether every site can take part."""
    from securefl.ui.data import check_file, check_scenario
    from securefl.ui.display import make_display

    given = tuple(overrides or ())
    if path.suffix == ".toml":
        if schema is not None:
            raise ScenarioError("--schema has no effect with a scenario, which names its own")
        found = check_scenario(path, given)
    else:
        found = check_file(path, schema, given)
    lines, facts = [*found.lines()], found.facts
    if unlike:
        from securefl.ui.unlike import effect_facts, effect_lines, effects

        if path.suffix != ".toml":
            raise ScenarioError("--site-effect compares the sites of a scenario; give its .toml")
        measured = effects(path, given)
        lines += effect_lines(measured)
        facts["site_effect"] = effect_facts(measured)
    if plot is not None:
        from securefl.ui.figures import draw_records

        sites = found.found.sites
        counts = [count.classes or (count.records,) for count in found.found.train]
        with drawn(plot):
            draw_records(plot, sites, found.classes or ("records",), counts)
        lines.append(f"wrote {plot}")
    make_display(display).line("\n".join(lines), **facts)
    if found.faults:
        raise typer.Exit(1)


@app.command()
def landmarks(path: Images, overrides: Overrides = None, trust: Trust = None) -> None:
    """Draft landmarks for data.harmonise from PUBLIC images; of others they are a release."""
    from securefl.ui.unlike import drafted

    print(drafted(path, tuple(overrides or ())))
    print("# These numbers come from the images: from images that are not public, they are a")
    print("# release about them, which no ledger counts.")
