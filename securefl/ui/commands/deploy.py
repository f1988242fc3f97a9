"""securefl deploy: a scenario between processes that share nothing but messages."""

from enum import StrEnum
from typing import Annotated

import typer

from securefl.ui.commands.options import NewFolder, Overrides, ScenarioFile, Shown

app = typer.Typer(help="Run a scenario between real processes.", no_args_is_help=True)


class LinkName(StrEnum):
    """The ways in which envelopes travel."""

    DIRECT = "direct"


Link = Annotated[
    LinkName, typer.Option("--link", help="How messages travel: direct is TLS, sites connect out.")
]
Seconds = Annotated[
    float,
    typer.Option("--deadline", min=1.0, help="Seconds until a stage ends without silent sites."),
]
Kept = Annotated[
    bool,
    typer.Option("--keep-keys", help="Keep keys and the sites' copies of their records."),
]


@app.callback()
def _group() -> None:
    """Run a scenario between real processes."""


@app.command()
def rehearse(
    scenario: ScenarioFile,
    out: NewFolder,
    link: Link = LinkName.DIRECT,
    deadline: Seconds = 600.0,
    keep_keys: Kept = False,
    overrides: Overrides = None,
    display: Shown = None,
) -> None:
    """Play a scenario between processes over TLS, and compare the model with `securefl run`."""
    from securefl.ui.deploy import rehearse_scenario
    from securefl.ui.display import make_display

    changes = tuple(overrides or ())
    shown = make_display(display)
    rehearse_scenario(scenario, out, changes, shown, seconds=deadline, keeps_keys=keep_keys)
