"""The command that audits: named mistakes in a run, and what an adversary learns."""

from pathlib import Path
from typing import Annotated

import typer

from securefl.errors import ScenarioError, SecureflError
from securefl.ui.commands.completion import complete_adversary
from securefl.ui.commands.options import Overrides, Shown, Trust

Audited = Annotated[Path, typer.Argument(help="Run folder; with --adversary also a scenario.")]
Adversary = Annotated[
    str | None,
    typer.Option(
        "--adversary",
        help="Measure what it learns: a name that `securefl ls threats` gives, or all of them.",
        autocompletion=complete_adversary,
    ),
]
Colluders = Annotated[
    int, typer.Option("--colluders", help="Clients on the adversary's side, where it has any.")
]
Target = Annotated[int, typer.Option("--target", help="The client that is attacked.")]
Shadows = Annotated[int, typer.Option("--shadows", help="Rehearsals to compare with; 0 for none.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides the coins of the audit.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Shadows trained at once.")]
Exposure = Annotated[
    bool,
    typer.Option(
        help="Ask updates for the records, labels, a property and the source behind them."
    ),
]
Pictures = Annotated[
    bool,
    typer.Option(
        "--pictures", help="Keep reconstructed images, next to the TRAINING RECORDS they show."
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option("--out", help="Folder of shadows and verdicts; by default under audits/."),
]


def audit(
    path: Audited,
    adversary: Adversary = None,
    colluders: Colluders = 1,
    target: Target = 0,
    shadows: Shadows = 16,
    seed: Seed = 0,
    jobs: Jobs = 2,
    exposure: Exposure = True,
    pictures: Pictures = False,
    overrides: Overrides = None,
    trust: Trust = None,
    out: Folder = None,
    display: Shown = None,
) -> None:
    """Measure what an adversary learns; without one, look for named mistakes in a run folder."""
    from securefl.audit.lint import examine
    from securefl.ui.audit import show_leakage, show_mistakes
    from securefl.ui.display import make_display

    shown = make_display(display)
    if adversary is None:
        _refuse_what_needs_an_adversary(path, pictures=pictures, exposure=exposure)
    is_violated = False
    if path.is_dir():
        if overrides:
            raise ScenarioError("--set changes a scenario, not a run that has ended")
        is_violated = show_mistakes(examine(path), shown)
    if adversary is not None:
        from securefl.audit.request import AuditRequest

        request = AuditRequest(
            path,
            tuple(overrides or ()),
            adversary,
            colluders,
            target,
            shadows,
            seed,
            jobs,
            out,
            exposure,
            pictures,
        )
        is_violated |= show_leakage(request, shown)
    if is_violated:
        where = "a claim in this folder" if path.is_dir() else "the claim"
        raise SecureflError(f"{where} does not hold")


def _refuse_what_needs_an_adversary(path: Path, *, pictures: bool, exposure: bool) -> None:
    """Raises ScenarioError for options and paths that only an audit with --adversary takes."""
    if not path.is_dir():
        what = "is no run folder" if path.exists() else "is not there"
        raise ScenarioError(
            f"{path} {what}: give a run folder, or audit a scenario with --adversary, "
            "one of `securefl ls threats`"
        )
    if pictures or not exposure:
        raise ScenarioError(
            "--pictures and --no-exposure need --adversary, one of `securefl ls threats`"
        )
