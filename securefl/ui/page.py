"""Writes docs/cli.md, every command and its options: `python -m securefl.ui.page > docs/cli.md`."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import typer

from securefl.ui.cli import app

_BEGIN = """\
# Every command

`securefl COMMAND --help` prints the same. [runs.md](runs.md) and [deploy.md](deploy.md) explain the
exit codes.

Made by `python -m securefl.ui.page` from the command line.
"""


def page() -> str:
    """Returns the page, in Markdown."""
    program = typer.main.get_command(app)
    context = typer.Context(program, info_name="securefl")
    return "\n".join([_BEGIN, *_sections(program, context)]) + "\n"


def _sections(group: Any, context: Any) -> Iterator[str]:
    """A section for each command, in the order of `--help`; commands of a group follow it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inside = typer.Context(command, parent=context, info_name=name)
        yield f"## {inside.command_path}\n\n{_cell(command.help)}\n"
        if hasattr(command, "list_commands"):
            yield from _sections(command, inside)
            continue
        yield f"`{inside.command_path} {' '.join(command.collect_usage_pieces(inside))}`\n"
        records = [parameter.get_help_record(inside) for parameter in command.params]
        yield "| argument or option | what it does |\n|---|---|"
        for record in records:
            if record is not None:
                yield f"| `{_cell(record[0])}` | {_cell(record[1])} |"
        yield ""


def _cell(text: str) -> str:
    """Text on one line. A bar would end the cell, and Markdown's writers differ on escaped ones."""
    return re.sub(r"\s+", " ", text).strip().replace("|", "/")


if __name__ == "__main__":
    sys.stdout.write(page())
