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
Preview = Annotated[
    Path | None,
    typer.Option("--preview", help="Draw up to 16 records of DICOM files into an .svg file."),
]
Looked = Annotated[
    bool, typer.Option("--i-looked", help="You saw that no text in the pixels names somebody.")
]
Files = Annotated[
    bool, typer.Option("--files", help="List DICOM files by number; their paths may hold names.")
]
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
    preview: Preview = None,
    looked: Looked = False,
    files: Files = False,
    unlike: Effect = False,
    overrides: Overrides = None,
    trust: Trust = None,
    display: Shown = None,
) -> None:
    """Count records by site and class, and say whether every site can take part."""
    from securefl.data.dicom.progress import watched
    from securefl.ui.data import check_file, check_scenario
    from securefl.ui.display import make_display
    from securefl.ui.progress import files_step

    given = tuple(overrides or ())
    if looked and preview is None:
        raise ScenarioError("--i-looked has no effect without --preview; remove it")
    if files:
        _list_files(path, given, others=(schema, plot, preview, display))
        return
    if path.suffix == ".toml" and schema is not None:
        raise ScenarioError("--schema has no effect with a scenario, which names its own")
    shown = make_display(display)
    try:
        with watched(lambda done, total: shown.progress(files_step(done, total))):
            if path.suffix == ".toml":
                found = check_scenario(path, given)
            else:
                found = check_file(path, schema, given)
    finally:
        shown.finished()
    lines, facts = [*found.lines()], found.facts
    if unlike:
        _add_site_effect(path, given, lines, facts)
    if plot is not None:
        from securefl.ui.figures import draw_records

        sites = found.found.sites
        counts = [count.classes or (count.records,) for count in found.found.train]
        with drawn(plot):
            draw_records(plot, sites, found.classes or ("records",), counts)
        lines.append(f"wrote {plot}")
    if preview is not None:
        from securefl.ui.data import preview as draw

        count = draw(path, given, preview, looked=looked)
        lines.append(f"wrote {preview} with {count} records; it shows patients")
    shown.line("\n".join(lines), **facts)
    if found.faults:
        raise typer.Exit(1)


def _list_files(path: Path, overrides: tuple[str, ...], *, others: tuple[object, ...]) -> None:
    """Prints the files of a scenario with DICOM records, on the terminal and nowhere else."""
    from securefl.ui.data import dicom_source
    from securefl.ui.dicom import listing

    if any(option is not None for option in others):
        raise ScenarioError("--files only lists: remove --schema, --plot, --preview and --display")
    for line in listing(dicom_source(path, overrides)):
        print(line)


def _add_site_effect(
    path: Path, overrides: tuple[str, ...], lines: list[str], facts: dict[str, object]
) -> None:
    """Measures how well the records tell their site, and adds it to what is shown."""
    from securefl.ui.unlike import effect_facts, effect_lines, effects

    if path.suffix != ".toml":
        raise ScenarioError("--site-effect compares the sites of a scenario; give its .toml")
    measured = effects(path, overrides)
    lines += effect_lines(measured)
    facts["site_effect"] = effect_facts(measured)


@app.command()
def landmarks(path: Images, overrides: Overrides = None, trust: Trust = None) -> None:
    """Draft landmarks for data.harmonise from PUBLIC images; of others they are a release."""
    from securefl.ui.unlike import drafted

    print(drafted(path, tuple(overrides or ())))
    print("# These numbers come from the images: from images that are not public, they are a")
    print("# release about them, which no ledger counts.")
