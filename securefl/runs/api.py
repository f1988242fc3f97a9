"""Runs scenarios from Python, with the same folders and results as the command line."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from securefl.data.download import OnBytes, quiet
from securefl.federation.record import RoundRecord
from securefl.learning.plan import OnStep, unseen
from securefl.runs.cache import user_cache
from securefl.runs.folder import Request, RunFolder
from securefl.runs.metrics import RunMetrics
from securefl.runs.origin import origin_of
from securefl.runs.play import OnRound, run_cell
from securefl.runs.results import write_results
from securefl.runs.threads import one_thread
from securefl.scenario.assemble.data import check_own_records, fetch_data
from securefl.scenario.assemble.trainers import build_model
from securefl.scenario.budget import require_lasting
from securefl.scenario.scenario import Scenario


def run(
    scenario: Scenario,
    out: Path,
    *,
    text: str = "",
    on_round: OnRound | None = None,
    on_bytes: OnBytes = quiet,
    on_step: OnStep = unseen,
) -> RunMetrics:
    """Runs a scenario in the folder `out`, or resumes it there, and returns its final metrics.

    Args:
        scenario: from `load_scenario` or `parse_scenario`.
        out: run folder; made if absent, resumed if it holds the same scenario.
        text: the scenario as given, kept next to the results.
        on_round: called with each round's record.
        on_bytes: called with the progress of a download: file, bytes so far, bytes in all.
        on_step: called after every local step of a client: client, step from 1, steps of a round.

    Raises:
        ScenarioError: `out` cannot be written or holds something else.
        BudgetExceeded: the privacy budget cannot last for all rounds, and no folder was made; or
            it ended a run, whose last good model is kept.
        SecureflError: the run failed.
    """
    if not out.exists():
        # Before the folder is made: a scenario that cannot start must not block its place.
        fetch_data(scenario, on_bytes)
        check_own_records(scenario)
        origin = origin_of(scenario)
        require_lasting(scenario, None if origin is None else origin.spent)
        scenario.facts.trainer.check(build_model(scenario, scenario.facts.task))
    folder = RunFolder.create(out, Request.of({"run": scenario}, text))

    def note(label: str, record: RoundRecord) -> None:
        if on_round is not None:
            on_round(record)

    return run_cells(folder, {"run": scenario}, on_round=note, on_bytes=on_bytes, on_step=on_step)[
        "run"
    ]


def run_cells(
    folder: RunFolder,
    cells: Mapping[str, Scenario],
    *,
    on_round: Callable[[str, RoundRecord], None],
    on_bytes: OnBytes = quiet,
    on_step: OnStep = unseen,
) -> dict[str, RunMetrics]:
    """Runs cell after cell in this process and returns label -> final metrics.

    The results are written in any case, also when a cell fails.
    """
    one_thread()
    metrics = {}
    with folder.held():
        try:
            for label, scenario in cells.items():
                metrics[label] = run_cell(
                    folder.cell(scenario),
                    scenario,
                    on_round=partial(on_round, label),
                    on_bytes=on_bytes,
                    on_step=on_step,
                    remember=user_cache().remember,
                )
        finally:
            write_results(folder)
    return metrics
