"""Commands about the versions of a model: refine, rollback, drift, card."""

from pathlib import Path
from typing import Annotated

import typer

from securefl.errors import ScenarioError
from securefl.ui.commands.options import Overrides, Shown, Trust, drawn
from securefl.ui.commands.runs import Workers

First = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of the first version.")]
NewData = Annotated[
    Path | None,
    typer.Option("--data", metavar="NEW", help="New records: their path, or TOML with [data]."),
]
GateText = Annotated[
    str | None,
    typer.Option("--gate", metavar="CONDITION", help='Such as "auc >= previous - 0.01".'),
]
Validation = Annotated[
    Path | None,
    typer.Option("--validation", metavar="PUBLIC", help="TOML with [data] of public records."),
]
GateNoise = Annotated[
    float | None,
    typer.Option("--gate-noise", help="Noise multiplier of a gate that is paid for."),
]
GateRecords = Annotated[
    int | None,
    typer.Option("--gate-records", min=1, help="Declared number of records that such a gate uses."),
]
Abandon = Annotated[bool, typer.Option("--abandon", help="Give up the version that is under way.")]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", help="Draw the figures over versions (.svg, .png or .pdf)."),
]


def refine(
    folder: First,
    data: NewData = None,
    gate: GateText = None,
    validation: Validation = None,
    gate_noise: GateNoise = None,
    gate_records: GateRecords = None,
    abandon: Abandon = False,
    workers: Workers = 1,
    overrides: Overrides = None,
    trust: Trust = None,
    display: Shown = None,
) -> None:
    """Train the next version of a model on new records; a gate decides about its release."""
    from securefl.runs.refining.gate import parse_gate
    from securefl.runs.refining.plan import Asked, new_records
    from securefl.ui.display import make_display
    from securefl.ui.refine import give_up, refine_model

    if abandon:
        if data is not None or gate is not None:
            raise ScenarioError("--abandon goes without --data and --gate")
        give_up(folder, make_display(display))
        return
    if data is None:
        raise ScenarioError("--data names the new records: a path, or a TOML file with [data]")
    if validation is not None and validation.suffix != ".toml":
        raise ScenarioError("--validation takes a TOML file with a table [data]")
    asked = Asked(
        new_records(data),
        tuple(overrides or ()),
        None if gate is None else parse_gate(gate),
        None if validation is None else new_records(validation),
        gate_noise,
        gate_records,
    )
    if not refine_model(folder, asked, make_display(display), workers=workers):
        raise typer.Exit(1)


def rollback(
    folder: First,
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="By default, the one released before.")
    ] = None,
    display: Shown = None,
) -> None:
    """Put an earlier released version in force again; spent epsilon stays spent."""
    from securefl.ui.display import make_display
    from securefl.ui.refine import roll_back

    roll_back(folder, to, make_display(display))


def drift(folder: First, plot: Plot = None, display: Shown = None) -> None:
    """Show the quality at each site over the versions of a model."""
    from securefl.ui.display import make_display
    from securefl.ui.refine import show_drift

    if plot is None:
        show_drift(folder, None, make_display(display))
        return
    with drawn(plot):
        show_drift(folder, plot, make_display(display))


def card(
    folder: First,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="By default, the one in force.")
    ] = None,
    display: Shown = None,
) -> None:
    """Write the model card of a run, or of a later version."""
    from securefl.ui.display import make_display
    from securefl.ui.refine import show_card

    show_card(folder, version, make_display(display))
