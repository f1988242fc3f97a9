"""securefl keys: private keys of a deployment."""

from pathlib import Path
from typing import Annotated

import typer

from securefl.ui.commands.options import Json, Passphrase, style_of

app = typer.Typer(help="Make private keys.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")]


@app.callback()
def _group() -> None:
    """Make private keys."""


@app.command()
def new(folder: Folder, passphrase: Passphrase = False, as_json: Json = False) -> None:
    """Make an Ed25519 key, which signs, and a P-384 key, which authenticates connections."""
    from securefl.ui.display import make_display
    from securefl.ui.joining import new_keys
    from securefl.ui.passphrases import new_passphrase

    new_keys(folder, new_passphrase(passphrase), make_display(style_of(as_json)))
