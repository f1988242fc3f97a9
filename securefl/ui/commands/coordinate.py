"""securefl coordinate: the coordinator's side of a deployment."""

from pathlib import Path
from typing import Annotated

import typer

from securefl.ui.commands.options import (
    Json,
    NewFolder,
    Overrides,
    Passphrase,
    Programs,
    ScenarioFile,
    style_of,
)

app = typer.Typer(help="Coordinate a federation of real sites.", no_args_is_help=True)

Fed = Annotated[Path, typer.Argument(metavar="FED", help="Folder of the coordinator.")]
Address = Annotated[
    str, typer.Option("--address", metavar="HOST:PORT", help="What sites connect to.")
]
Documents = Annotated[
    list[Path], typer.Argument(help="request.json of every site, or approval.json of some.")
]
Days = Annotated[float, typer.Option(min=0.01, max=400.0, help="Days that the charter is valid.")]
Deadline = Annotated[
    float, typer.Option(min=1.0, max=86400.0, help="Seconds until a stage ends without a site.")
]
Listen = Annotated[
    str | None,
    typer.Option(
        "--listen", metavar="HOST", help="Address of this machine; by default that of --address."
    ),
]
Now = Annotated[bool, typer.Option("--now", help="Abandon the round.")]


@app.callback()
def _group() -> None:
    """Coordinate a federation of real sites."""


@app.command()
def init(
    scenario: ScenarioFile,
    address: Address,
    out: NewFolder,
    passphrase: Passphrase = False,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Make the coordinator's folder: keys, certificates and invitation.json for the sites."""
    from securefl.ui import coordinate
    from securefl.ui.display import make_display
    from securefl.ui.passphrases import new_passphrase

    display = make_display(style_of(as_json))
    changes = tuple(overrides or ())
    coordinate.init(scenario, address, out, changes, new_passphrase(passphrase), display)


@app.command()
def admit(
    fed: Fed,
    documents: Documents,
    days: Days = 90.0,
    deadline: Deadline = 600.0,
    as_json: Json = False,
) -> None:
    """Write charter.json for the sites' requests; then take their approvals of it."""
    from securefl.ui.coordinate import admit_files
    from securefl.ui.display import make_display

    admit_files(fed, documents, make_display(style_of(as_json)), days=days, deadline=deadline)


@app.command()
def check(fed: Fed, as_json: Json = False) -> None:
    """Say whether the coordinator may start: approvals, certificates, clock, code."""
    from securefl.ui import coordinate
    from securefl.ui.display import make_display

    coordinate.check(fed, make_display(style_of(as_json)))


@app.command()
def start(fed: Fed, listen: Listen = None, flower: Programs = None, as_json: Json = False) -> None:
    """Coordinate the run; after a stop or a crash, the same command goes on."""
    from securefl.ui import coordinate
    from securefl.ui.display import make_display

    coordinate.start(fed, listen, make_display(style_of(as_json)), flower=flower)


@app.command()
def status(fed: Fed, as_json: Json = False) -> None:
    """Show how far the run has come, from files alone."""
    from securefl.ui import coordinate
    from securefl.ui.display import make_display

    coordinate.status(fed, make_display(style_of(as_json)))


@app.command()
def stop(fed: Fed, now: Now = False, as_json: Json = False) -> None:
    """End the coordinator after the round."""
    from securefl.ui import coordinate
    from securefl.ui.display import make_display

    coordinate.stop(fed, now, make_display(style_of(as_json)))


@app.command("next")
def refine(
    fed: Fed,
    scenario: ScenarioFile,
    out: NewFolder,
    days: Days = 90.0,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Make the folder of a new run that refines the last model, with the same sites and ledgers."""
    from securefl.ui.coordinate import refine_last
    from securefl.ui.display import make_display

    display = make_display(style_of(as_json))
    refine_last(fed, scenario, out, tuple(overrides or ()), display, days=days)
