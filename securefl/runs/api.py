"""Run scenarios from Python: the same folders and results as the command line's."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from securefl.data.download import OnBytes, quiet
from securefl.federation.record import RoundRecord
from securefl.runs.cache import user_cache
from securefl.runs.folder import Request, RunFolder
from securefl.runs.metrics import RunMetrics
from securefl.runs.origin import origin_of
from securefl.runs.play import OnRound, run_cell
from securefl.runs.results import write_results
from securefl.scenario.assemble.data import fetch_data
from securefl.scenario.scenario import Scenario


def run(
    scenario: Scenario,
    out: Path,
    *,
    text: str = "",
    on_round: OnRound | None = None,
    on_bytes: OnBytes = quiet,
) -> RunMetrics:
    """The final metrics of scenario, run in the folder `out`; a run that was interrupted goes on.

    Args:
        scenario: from `load_scenario` or `parse_scenario`.
        out: run folder; made if absent, resumed if it holds the same scenario.
        text: the scenario as given, kept beside the results.
        on_round: called with each round's record.
        on_bytes: told how a download of its data goes, where one is needed: file, bytes so far, bytes in all.

    Raises:
        ScenarioError: `out` cannot be written or holds something else.
        BudgetExceeded: the privacy budget ended the run; the last good model is kept.
        SecureflError: the run failed.
    """
    if not out.exists():
        fetch_data(
            scenario, on_bytes
        )  # where either fails, no folder stands in the way of another scenario
        origin_of(scenario)
    folder = RunFolder.create(out, Request.of({"run": scenario}, text))

    def note(label: str, record: RoundRecord) -> None:
        if on_round is not None:
            on_round(record)

    return run_cells(folder, {"run": scenario}, on_round=note, on_bytes=on_bytes)["run"]


def run_cells(
    folder: RunFolder,
    cells: Mapping[str, Scenario],
    *,
    on_round: Callable[[str, RoundRecord], None],
    on_bytes: OnBytes = quiet,
) -> dict[str, RunMetrics]:
    """Label -> final metrics, cell after cell in one thread; the results are written whatever happens."""
    torch.set_num_threads(1)  # two torch threads in one process collapse when anything else runs
    done, remember = {}, user_cache().remember
    with folder.held():
        try:
            for label, scenario in cells.items():
                noted = partial(on_round, label)
                done[label] = run_cell(
                    folder.cell(scenario),
                    scenario,
                    on_round=noted,
                    on_bytes=on_bytes,
                    remember=remember,
                )
        finally:
            write_results(folder)
    return done
