"""Commands about one scenario or run: demo, init, validate, run, report."""

from pathlib import Path
from typing import Annotated

import typer

from securefl.errors import ScenarioError
from securefl.ui.commands.options import Out, Overrides, RunPath, ScenarioFile, Shown, Trust

Workers = Annotated[
    int,
    typer.Option("--workers", min=1, max=1024, help="Processes that train clients at once."),
]


Profiled = Annotated[
    bool,
    typer.Option("--profile", help="Show what the rounds cost: seconds and bytes by stage."),
]


def demo(out: Out = None, display: Shown = None) -> None:
    """Four hospitals end to end, offline, in under a minute."""
    from securefl.ui.demo import run_demo
    from securefl.ui.display import make_display
    from securefl.ui.report import write_report

    shown = make_display(display)
    folder = out or Path("securefl-demo")
    run_demo(folder, shown)
    page = write_report(folder)
    shown.line(f"run folder {folder}, report {page}", folder=str(folder), report=str(page))


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("scenario.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented scenario to start from."""
    from securefl.scenario.template import SCENARIO

    if path.exists() and not force:
        raise ScenarioError(f"{path} exists; choose another name, or --force to replace it")
    try:
        path.write_text(SCENARIO, encoding="utf-8")
    except OSError as reason:
        raise ScenarioError(f"cannot write {path}: {reason.strerror}") from None
    print(f"wrote {path}; try: securefl validate {path}")


def validate(
    scenario: ScenarioFile,
    overrides: Overrides = None,
    trust: Trust = None,
    display: Shown = None,
) -> None:
    """Check a scenario without running it, and say what it will do."""
    from securefl.ui.display import make_display
    from securefl.ui.validate import explain

    text, facts = explain(scenario, tuple(overrides or ()))
    make_display(display).line(text, **facts._asdict())


def run(
    scenario: ScenarioFile,
    out: Out = None,
    workers: Workers = 1,
    profile: Profiled = False,
    overrides: Overrides = None,
    trust: Trust = None,
    display: Shown = None,
) -> None:
    """Run a scenario; the same command again resumes it, or shows what it gave."""
    from securefl.ui.display import make_display
    from securefl.ui.run import run_scenario

    shown = make_display(display)
    changes = tuple(overrides or ())
    run_scenario(scenario, out, changes, shown, workers=workers, with_profile=profile)


def report(folder: RunPath) -> None:
    """Write the report page of a run folder."""
    from securefl.ui.report import write_report

    print(f"wrote {write_report(folder)}")
