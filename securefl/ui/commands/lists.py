"""Commands that describe the toolkit: ls, schema, doctor."""

import json
from pathlib import Path
from typing import Annotated

import typer

from securefl.errors import SecureflError
from securefl.ui.commands.completion import complete_list


def ls(
    what: Annotated[
        str | None,
        typer.Argument(
            help="rules, prefilters, attacks, data, models, steps, channels, threats or runs.",
            autocompletion=complete_list,
        ),
    ] = None,
    which: Annotated[
        str | None,
        typer.Argument(help="Where to look for runs ('runs' by default), or a model to describe."),
    ] = None,
) -> None:
    """List what a scenario can name, or the runs in a folder; describe a model."""
    from securefl.ui.listing import listing, wrapped
    from securefl.ui.models import model_lines

    if what == "models" and which is not None:
        lines = model_lines(which)
    else:
        lines = listing(what, Path(which or "runs"))
    for line in lines:
        print(wrapped(line))


def schema() -> None:
    """Print the JSON schema of scenarios, with which editors complete and check TOML."""
    from securefl.scenario.declaration import Declaration

    print(json.dumps(Declaration.model_json_schema(), indent=2))


def doctor() -> None:
    """Check that this installation works and can be trusted with a claim."""
    from securefl.ui.doctor import examine

    healthy = True
    for name, ok, finding in examine():
        healthy &= ok
        print(f"{'ok  ' if ok else 'BAD '} {name}: {finding}")
    if not healthy:
        raise SecureflError("this installation is not healthy")
