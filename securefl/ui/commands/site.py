"""securefl site: a site's side of a deployment."""

from pathlib import Path
from typing import Annotated

import typer

from securefl.ui.commands.options import Json, NewFolder, Passphrase, Programs, style_of

app = typer.Typer(help="Take part in a federation as a site.", no_args_is_help=True)

InvitationFile = Annotated[Path, typer.Argument(help="invitation.json of the coordinator.")]
Site = Annotated[Path, typer.Argument(metavar="SITE", help="Folder of the site.")]
CharterFile = Annotated[Path, typer.Argument(metavar="CHARTER", help="charter.json.")]
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


@app.command()
def approve(folder: Site, charter: CharterFile, as_json: Json = False) -> None:
    """Check a charter against policy and records, show its cost, and sign approval.json."""
    from securefl.ui import site
    from securefl.ui.display import make_display

    site.approve(folder, charter, make_display(style_of(as_json)))


@app.command()
def check(folder: Site, as_json: Json = False) -> None:
    """Say whether the agent may start: records, policy, budget, clock, disk, certificates."""
    from securefl.ui import site
    from securefl.ui.display import make_display

    site.check(folder, make_display(style_of(as_json)))


@app.command()
def start(folder: Site, flower: Programs = None, as_json: Json = False) -> None:
    """Run the site's agent until the run is over; after a stop or a crash, run it again."""
    from securefl.ui import site
    from securefl.ui.display import make_display

    site.start(folder, make_display(style_of(as_json)), flower=flower)


@app.command()
def status(folder: Site, as_json: Json = False) -> None:
    """Show how far the site has come, from files alone."""
    from securefl.ui import site
    from securefl.ui.display import make_display

    site.status(folder, make_display(style_of(as_json)))


@app.command()
def stop(folder: Site, as_json: Json = False) -> None:
    """End the site's agent."""
    from securefl.ui import site
    from securefl.ui.display import make_display

    site.stop(folder, make_display(style_of(as_json)))


@app.command()
def log(folder: Site, as_json: Json = False) -> None:
    """Verify the audit log, and print it."""
    from securefl.ui import site
    from securefl.ui.display import make_display

    site.log(folder, make_display(style_of(as_json)))
