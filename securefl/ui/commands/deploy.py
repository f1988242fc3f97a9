"""securefl deploy: a scenario between processes that share nothing but messages."""

from enum import StrEnum
from typing import Annotated

import typer

from securefl.ui.commands.options import NewFolder, Overrides, Programs, ScenarioFile, Shown

app = typer.Typer(help="Run a scenario between real processes.", no_args_is_help=True)


class LinkName(StrEnum):
    """The ways in which envelopes travel."""

    DIRECT = "direct"
    FLOWER = "flower"


Link = Annotated[
    LinkName,
    typer.Option("--link", help="How messages travel: direct is TLS, sites connect out."),
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
    flower: Programs = None,
    deadline: Seconds = 600.0,
    keep_keys: Kept = False,
    overrides: Overrides = None,
    display: Shown = None,
) -> None:
    """Play a scenario between processes over TLS, and compare the model with `securefl run`."""
    from securefl.errors import ScenarioError
    from securefl.ui.deploy import rehearse_scenario
    from securefl.ui.display import make_display

    if (link is LinkName.FLOWER) != (flower is not None):
        raise ScenarioError(
            "--link flower needs --flower, the bin folder of an environment with flwr==1.42.0, "
            "and no other link does"
        )
    rehearse_scenario(
        scenario,
        out,
        tuple(overrides or ()),
        make_display(display),
        seconds=deadline,
        keeps_keys=keep_keys,
        flower=flower,
    )
