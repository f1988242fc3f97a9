"""Commands that describe the toolkit: ls, schema, doctor."""

import json
from pathlib import Path
from typing import Annotated

import typer

from securefl.errors import ScenarioError, SecureflError
from securefl.ui.commands.completion import complete_list
from securefl.ui.commands.options import drawn


def ls(
    what: Annotated[
        str | None,
        typer.Argument(
            help="rules, prefilters, attacks, data, models, steps, channels, threats or runs.",
            autocompletion=complete_list,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(
            help="With data or models: one to describe. With runs: the folder, runs by default."
        ),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(
            "--preview",
            metavar="FILE.svg",
            help="Draw sixteen images of a public data set, or three planes of a volume.",
        ),
    ] = None,
) -> None:
    """List what a scenario can name, or the runs in a folder; describe a data set or a model."""
    from securefl.ui.listing import listing, wrapped

    if name is not None and what not in ("data", "models", "runs"):
        raise ScenarioError(f"ls: {what!r} takes no name; remove {name!r}")
    if preview is not None and (what != "data" or name is None):
        raise ScenarioError("--preview draws one data set: securefl ls data NAME --preview FILE")
    if what == "data" and name is not None:
        _data_set(name, preview)
        return
    if what == "models" and name is not None:
        from securefl.ui.models import model_lines

        lines = model_lines(name)
    else:
        lines = listing(what, Path(name or "runs"))
    for line in lines:
        print(wrapped(line))


def _data_set(name: str, preview: Path | None) -> None:
    """Shows one data set, and draws its images where that was asked for."""
    from securefl.ui.data_set import data_set, first_images
    from securefl.ui.listing import wrapped

    lines = list(data_set(name))
    if preview is not None:
        with drawn(preview, option="--preview"):
            pictures = first_images(name)
            from securefl.ui.figures import draw_images

            draw_images(preview, pictures)
        lines.append(f"wrote {preview}")
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
