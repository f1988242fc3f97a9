"""Arguments and options that several commands share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from securefl.errors import ScenarioError
from securefl.ui.styles import Style

ScenarioFile = Annotated[Path, typer.Argument(help="Scenario in TOML.")]
RunPath = Annotated[Path, typer.Argument(help="Run folder.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override one value."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Run folder, by default under runs/; made, or resumed if it holds the run."
    ),
]


FIGURE_SUFFIXES = (".svg", ".png", ".pdf")


@contextmanager
def drawn(plot: Path, *, option: str = "--plot") -> Iterator[None]:
    """Turns a file that cannot hold a figure into a refusal of the option. Raises ScenarioError."""
    if plot.suffix not in FIGURE_SUFFIXES:
        raise ScenarioError(f"{option} takes a file that ends in .svg, .png or .pdf, got {plot}")
    try:
        yield
    except OSError as reason:
        raise ScenarioError(f"cannot write {plot}: {reason.strerror}") from None


def _trust(context: typer.Context, folders: list[Path] | None) -> list[Path] | None:
    if folders and not context.resilient_parsing:
        from securefl.scenario.plugins.trust import trust

        for folder in folders:
            trust(folder)
    return folders


Trust = Annotated[
    list[Path] | None,
    typer.Option(
        "--trust",
        metavar="FOLDER",
        callback=_trust,
        help="Let scenarios run the Python files of this folder, from now on.",
    ),
]
Shown = Annotated[
    Style | None, typer.Option("--display", help="Default: rich on a terminal, plain elsewhere.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
NewFolder = Annotated[Path, typer.Option("--out", help="Folder to make.")]
Programs = Annotated[
    Path | None,
    typer.Option(
        "--flower", metavar="BIN", help="The bin folder of Flower's environment, to use its link."
    ),
]
Passphrase = Annotated[
    bool,
    typer.Option(
        "--passphrase",
        help="Protect the new keys; SECUREFL_PASSPHRASE, or asked for on the terminal.",
    ),
]


def style_of(as_json: bool) -> Style | None:
    """Returns the style of --json; None leaves the choice to the terminal."""
    return Style.JSON if as_json else None


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"securefl {version('securefl')}")
        raise typer.Exit


def print_version(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Federated learning with privacy, secure aggregation and attacks, measured side by side."""
