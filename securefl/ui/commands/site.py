"""securefl site: a site's side of a deployment."""

from pathlib import Path
from typing import Annotated

import typer

from securefl.ui.commands.options import Json, NewFolder, Passphrase, style_of

app = typer.Typer(help="Take part in a federation as a site.", no_args_is_help=True)

InvitationFile = Annotated[Path, typer.Argument(help="invitation.json of the coordinator.")]
SiteName = Annotated[str, typer.Option("--name", help="Name of the site, such as zurich.")]


@app.callback()
def _group() -> None:
    """Take part in a federation as a site."""


@app.command()
def join(
    invitation: InvitationFile,
    name: SiteName,
    out: NewFolder,
    passphrase: Passphrase = False,
    as_json: Json = False,
) -> None:
    """Make the site's folder: keys, site.toml, policy.toml, and request.json to send back."""
    from securefl.ui.display import make_display
    from securefl.ui.joining import join_federation
    from securefl.ui.passphrases import new_passphrase

    secret = new_passphrase(passphrase)
    join_federation(invitation, name, out, secret, make_display(style_of(as_json)))
