"""Runs scenarios from Python, with the same folders and results as the command line."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from securefl.data.download import OnBytes, quiet
from securefl.errors import ScenarioError
from securefl.federation.memory import kept_memory
from securefl.federation.profile import Profile
from securefl.federation.record import RoundRecord
from securefl.learning.device import device_called
from securefl.learning.plan import OnStep, unseen
from securefl.runs.cache import user_cache
from securefl.runs.folder import Request, RunFolder
from securefl.runs.form import note_form
from securefl.runs.given import Given, asked
from securefl.runs.metrics import RunMetrics
from securefl.runs.origin import origin_of
from securefl.runs.play import OnRound, run_cell
from securefl.runs.result import Result
from securefl.runs.results import write_results
from securefl.runs.threads import one_thread
from securefl.scenario.assemble.data import check_own_records, fetch_data
from securefl.scenario.assemble.trainers import build_model
from securefl.scenario.budget import require_lasting
from securefl.scenario.plugins.objects import of_other_process
from securefl.scenario.scenario import Scenario


def run(
    scenario: Given,
    out: Path | str,
    *,
    data: object = None,
    model: object = None,
    rule: object = None,
    attack: object = None,
    text: str | None = None,
    on_round: OnRound | None = None,
    on_bytes: OnBytes = quiet,
    on_step: OnStep = unseen,
    workers: int = 1,
    profile: Profile | None = None,
) -> Result:
    """Runs a scenario in the folder `out`, or resumes it there, and returns its result.

    Objects are taken instead of names, in this process only: workers of a study or an audit find
    code by references such as "python:FILE.py:function". Where an object stands the scenario names
    nothing else, except for the default; further keys of its table are the object's parameters:

        run({"model": {"width": 32}, "attack": {"clients": [0]}}, "out", model=Net, attack=flip)

    Args:
        scenario: from `load_scenario` or `parse_scenario`, or a TOML file, TOML text or a dict.
            Text that ends in ".toml" is a path.
        out: run folder; made if absent, resumed if it holds the same scenario.
        data: sites with their records: what a function that `data.name` refers to would return.
        model: builds a network: a function or a class, called with the task and its parameters.
        rule: aggregates rows (n, d) to one (d,): a function or a RuleEntry.
        attack: makes the rows of corrupt clients: a function or an AttackEntry. The scenario's
            table [attack] names the clients.
        text: the scenario as given, kept next to the results; by default what `scenario` holds.
        on_round: called with each round's record.
        on_bytes: called with the progress of a download: file, bytes so far, bytes in all.
        on_step: called after every local step of a client: client, step from 1, steps of a round;
            a few times a second where workers train.
        workers: processes that train clients, from 1. Results do not depend on it, bit for bit.
        profile: gets what the rounds cost by stages; timings.csv does, too.

    Raises:
        ScenarioError: `workers` is below 1, or above 1 with a GPU; `out` cannot be written or
            holds something else.
        BudgetExceeded: the privacy budget cannot last for all rounds, and no folder was made; or
            it ended a run, whose last good model is kept.
        SecureflError: the run failed.
    """
    if workers < 1:
        raise ScenarioError(f"workers must be >= 1, got {workers}")
    objects = {"data": data, "model": model, "rule": rule, "attack": attack}
    checked, written = asked(scenario, objects)
    if workers > 1 and checked.device == "cuda":
        raise ScenarioError(
            f"engine.device = 'cuda' trains in one process, got workers = {workers}: leave it out"
        )
    path = Path(out)
    if path.exists():
        _refuse_foreign_objects(path)
    else:
        _check_start(checked, on_bytes)
    folder = RunFolder.create(path, Request.of({"run": checked}, written if text is None else text))
    with folder.held():
        note_form(path, checked)

    def note(label: str, record: RoundRecord) -> None:
        if on_round is not None:
            on_round(record)

    metrics = run_cells(
        folder,
        {"run": checked},
        on_round=note,
        on_bytes=on_bytes,
        on_step=on_step,
        workers=workers,
        profile=profile,
    )["run"]
    return Result(metrics, scenario=checked, folder=path, cell=folder.cell(checked))


def _check_start(scenario: Scenario, on_bytes: OnBytes) -> None:
    """Refuses what cannot start, before there is a folder that would block its place."""
    device_called(scenario.device)
    fetch_data(scenario, on_bytes)
    check_own_records(scenario)
    origin = origin_of(scenario)
    require_lasting(scenario, None if origin is None else origin.spent)
    scenario.facts.trainer.check(build_model(scenario, scenario.facts.task))


def _refuse_foreign_objects(path: Path) -> None:
    """Refuses a folder whose run had an object that no other process can know again."""
    if not RunFolder.is_at(path):
        return
    for _, scenario, _ in RunFolder(path).cells():
        name = of_other_process(scenario)
        if name is not None:
            raise ScenarioError(
                f"{path} was run in another process with {name}, whose code cannot be compared: "
                "choose another folder, or name the code as python:FILE.py:function"
            )


def run_cells(
    folder: RunFolder,
    cells: Mapping[str, Scenario],
    *,
    on_round: Callable[[str, RoundRecord], None],
    on_bytes: OnBytes = quiet,
    on_step: OnStep = unseen,
    workers: int = 1,
    profile: Profile | None = None,
) -> dict[str, RunMetrics]:
    """Runs cell after cell and returns label -> final metrics.

    This process plays the rounds; with several workers, other processes train the clients. The
    results are written in any case, also when a cell fails.
    """
    one_thread()
    metrics = {}
    with kept_memory(), folder.held():
        try:
            for label, scenario in cells.items():
                metrics[label] = run_cell(
                    folder.cell(scenario),
                    scenario,
                    on_round=partial(on_round, label),
                    on_bytes=on_bytes,
                    on_step=on_step,
                    remember=user_cache().remember,
                    workers=workers,
                    profile=profile,
                )
        finally:
            write_results(folder)
    return metrics
