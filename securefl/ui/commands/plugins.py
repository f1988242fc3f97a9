"""The command that starts a plug-in: new."""

from pathlib import Path
from typing import Annotated

import typer

from securefl.ui.commands.completion import complete_plugin


def new(
    kind: Annotated[
        str, typer.Argument(help="rule, attack, model or data.", autocompletion=complete_plugin)
    ],
    name: Annotated[str, typer.Argument(help="Name of the Python file.")],
    folder: Annotated[Path, typer.Option("--to", help="Where to write.")] = Path(),
) -> None:
    """Write a rule, an attack, a model or data of your own to start from."""
    from securefl.ui.new import write_plugin

    files = write_plugin(kind, name, folder)
    print(f"wrote {', '.join(map(str, files))}; try:")
    for command in files.next_commands:
        print(f"    {command}")
