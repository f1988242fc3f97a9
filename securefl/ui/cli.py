"""The command line: which commands there are."""

import typer

from securefl.ui.commands import (
    audits,
    coordinate,
    data,
    deploy,
    keys,
    labels,
    lists,
    plugins,
    privacy,
    runs,
    site,
    studies,
    versions,
)
from securefl.ui.commands.options import print_version

app = typer.Typer(
    help="Federated learning with differential privacy, secure aggregation and attacks, "
    "measured side by side.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    callback=print_version,
)

# In the order in which `securefl --help` lists them: as a new user needs them.
COMMANDS = (
    runs.demo,
    runs.init,
    runs.validate,
    runs.run,
    runs.report,
    versions.refine,
    versions.rollback,
    versions.drift,
    versions.card,
    audits.audit,
    studies.bench,
    studies.compare,
    plugins.new,
    lists.ls,
    lists.schema,
    lists.doctor,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(coordinate.app, name="coordinate")
app.add_typer(data.app, name="data")
app.add_typer(deploy.app, name="deploy")
app.add_typer(keys.app, name="keys")
app.add_typer(labels.app, name="labels")
app.add_typer(privacy.app, name="privacy")
app.add_typer(site.app, name="site")
