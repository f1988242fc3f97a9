"""The command line: demo, init, validate, run, report, audit, ls, doctor, privacy."""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from securefl.errors import Interrupted, ScenarioError, SecureflError
from securefl.ui import privacy
from securefl.ui.styles import Style

app = typer.Typer(
    help="Federated learning with differential privacy, secure aggregation and attacks, measured side by side.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

app.add_typer(privacy.app, name="privacy")

ScenarioFile = Annotated[Path, typer.Argument(help="Scenario in TOML.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override one value.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Run folder, by default under runs/; made, or resumed if it holds the run."
    ),
]
Shown = Annotated[
    Style | None, typer.Option("--display", help="Default: rich on a terminal, plain elsewhere.")
]
RunPath = Annotated[Path, typer.Argument(help="Run folder.")]


def guarded(command: Callable[[], object]) -> None:
    """Run command; errors become one sentence and the exit code they carry."""
    signal.signal(signal.SIGINT, _interrupt)
    try:
        command()
    except SecureflError as error:
        print(f"error: {error}", file=sys.stderr)
        if _asked_for_json(sys.argv[1:]):
            print(
                json.dumps({"event": "error", "error": str(error), "exit": error.exit_code}),
                flush=True,
            )
        sys.exit(error.exit_code)
    except BrokenPipeError:  # whoever read our output has gone; what is on disk is whole
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Interrupted:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def _asked_for_json(arguments: list[str]) -> bool:
    """Whether `--display json` was given, in either spelling."""
    return "--display=json" in arguments or ("--display", "json") in itertools.pairwise(arguments)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"securefl {version('securefl')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Federated learning with differential privacy, secure aggregation and attacks, measured side by side."""


@app.command()
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


@app.command()
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


@app.command()
def validate(scenario: ScenarioFile, overrides: Overrides = None, display: Shown = None) -> None:
    """Check a scenario without running it, and say what it will do."""
    from securefl.privacy.chain import seeded_mark
    from securefl.privacy.lint.case import Case
    from securefl.privacy.lint.lint import lint
    from securefl.runs.origin import origin_of
    from securefl.scenario.scenario import load_scenario
    from securefl.scenario.summary import summary
    from securefl.ui.display import make_display

    checked = load_scenario(scenario, overrides=tuple(overrides or ()))
    origin, resolved = origin_of(checked), checked.resolved()
    seeded = () if origin is None else origin.seeded
    findings = lint(Case(resolved, seeded_before=seeded))
    found = [f"{finding.name}: {finding.told}" for finding in findings]
    told = [
        summary(checked, seeded),
        *(f"lint: {finding.weight} {finding.name}: {finding.told}" for finding in findings),
    ]
    if origin is not None and origin.spent and checked.privacy is not None:
        spent = origin.epsilon(checked.privacy.delta)
        told.append(
            f"goes on from {checked.init_from}, which spent epsilon {spent:.4g} of the {checked.privacy.epsilon:g}"
            + seeded_mark("system", seeded)
        )
    facts = {"valid": True, "scenario": resolved, "lint": found, "seeded_before": list(seeded)}
    make_display(display).line("\n".join(told), **facts)


@app.command()
def run(
    scenario: ScenarioFile, out: Out = None, overrides: Overrides = None, display: Shown = None
) -> None:
    """Run a scenario; the same command again resumes it, or shows what it gave."""
    from securefl.audit.lint import examine
    from securefl.runs import api
    from securefl.runs.names import cell_hash
    from securefl.runs.table import Row
    from securefl.scenario.scenario import load_scenario
    from securefl.ui.display import make_display

    shown = make_display(display)
    checked = load_scenario(scenario, overrides=tuple(overrides or ()))
    folder = out or Path("runs") / f"{scenario.stem}-{cell_hash(checked.resolved())[:8]}"
    shown.start(scenario.stem, checked.rounds)
    try:
        given = "".join(f"\n# --set {override}" for override in overrides or ())
        text = scenario.read_text(encoding="utf-8") + given
        metrics = api.run(checked, folder, text=text, on_round=shown.round, on_bytes=shown.download)
    finally:
        shown.stop()
    shown.table(f"{scenario.stem}, {metrics['rounds']} rounds", [Row(scenario.stem, [metrics])])
    if checked.data.test_on == "validation":
        shown.line(
            "judged on VALIDATION records (data.test_on), which are for choosing, not for results"
        )
    for client, reason in metrics.get("left_out", {}).items():
        shown.line(f"client {client} took no part in the session: {reason}")
    if metrics["abandoned"]:
        shown.line(f"{metrics['abandoned']} of {metrics['rounds']} rounds were abandoned")
    (verdict,) = examine(folder)
    found = [f"{finding.name}: {finding.told}" for finding in verdict.findings]
    for finding in verdict.findings:
        shown.line(f"lint: {finding.weight} {finding.name}: {finding.told}")
    shown.line(f"run folder {folder}", folder=str(folder), lint=found)


@app.command()
def report(folder: RunPath) -> None:
    """Write the report page of a run folder."""
    from securefl.ui.report import write_report

    print(f"wrote {write_report(folder)}")


@app.command()
def audit(
    path: Annotated[Path, typer.Argument(help="Run folder; with --adversary also a scenario.")],
    adversary: Annotated[
        str | None,
        typer.Option(
            "--adversary", help="Measure what it learns: a name that `securefl ls threats` gives."
        ),
    ] = None,
    colluders: Annotated[
        int, typer.Option("--colluders", help="Clients on the adversary's side, where it has any.")
    ] = 1,
    target: Annotated[int, typer.Option("--target", help="The client that is looked at.")] = 0,
    shadows: Annotated[
        int, typer.Option("--shadows", help="Rehearsals to compare with; 0 for none.")
    ] = 16,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides the coins of the audit.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Shadows trained at once.")] = 2,
    exposure: Annotated[
        bool,
        typer.Option(
            help="Ask updates for the records, labels, a property and the source behind them."
        ),
    ] = True,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures", help="Keep reconstructed images, beside the TRAINING RECORDS they are of."
        ),
    ] = False,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of shadows and verdicts; by default under audits/."),
    ] = None,
    display: Shown = None,
) -> None:
    """Measure what an adversary learns beside what is claimed; without one, look for named mistakes in a run folder."""
    from securefl.audit.lint import examine
    from securefl.ui.audit import show_leakage, show_mistakes
    from securefl.ui.display import make_display

    shown = make_display(display)
    if adversary is None and not path.is_dir():
        what = "is no run folder" if path.exists() else "is not there"
        raise ScenarioError(
            f"{path} {what}: give a run folder, or audit a scenario with --adversary, one of `securefl ls threats`"
        )
    if adversary is None and (pictures or not exposure):
        raise ScenarioError(
            "--pictures and --no-exposure need --adversary, one of `securefl ls threats`"
        )
    grave = False
    if path.is_dir():
        if overrides:
            raise ScenarioError("--set changes a scenario, not a run that has ended")
        grave = show_mistakes(examine(path), shown)
    if adversary is not None:
        from securefl.audit.findings import Asked

        asked = Asked(
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
        grave |= show_leakage(asked, shown)
    if grave:
        raise SecureflError(
            "a claim in this folder does not stand" if path.is_dir() else "the claim does not stand"
        )


@app.command()
def ls(
    what: Annotated[
        str | None,
        typer.Argument(
            help="rules, prefilters, attacks, data, models, steps, channels, threats or runs."
        ),
    ] = None,
    folder: Annotated[Path, typer.Argument(help="Where to look for runs.")] = Path("runs"),
) -> None:
    """List what a scenario can name, or the runs in a folder."""
    from securefl.ui.listing import listing

    for line in listing(what, folder):
        print(line)


@app.command()
def schema() -> None:
    """Print the JSON schema of scenarios, with which editors complete and check TOML."""
    from securefl.scenario.declaration import Declaration

    print(json.dumps(Declaration.model_json_schema(), indent=2))


@app.command()
def doctor() -> None:
    """Check that this installation works and can be trusted with a claim."""
    from securefl.ui.doctor import examine

    healthy = True
    for name, ok, finding in examine():
        healthy &= ok
        print(f"{'ok  ' if ok else 'BAD '} {name}: {finding}")
    if not healthy:
        raise SecureflError("this installation is not healthy")


if __name__ == "__main__":
    guarded(app)
