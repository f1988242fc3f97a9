"""Shadows: rehearsals that an adversary trains itself, in a run folder of their own."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from torch import Tensor

from securefl.audit.inquiry import Inquiry, shadow_scenarios
from securefl.audit.request import AuditRequest
from securefl.errors import RunFailed
from securefl.runs.cell import CellState
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.environment import code_hash
from securefl.runs.folder import Request, RunFolder, Use
from securefl.runs.names import cell_hash
from securefl.runs.pool import Finished, Job, Progressed, play

Say = Callable[[str], None]
SECONDS_BETWEEN_REPORTS = 5.0
MAX_SHADOW_SECONDS = 3600.0


def train_shadows(
    inquiry: Inquiry, folder: Path, request: AuditRequest, say: Say
) -> dict[int, Tensor]:
    """Trains the shadows that are missing; those that ended earlier are only read.

    They depend on the scenario, the target and the seed, and on no adversary: one set serves
    every party that is audited.

    Args:
        inquiry: of any adversary.
        folder: keeps the shadows.
        request: how many, and how many at once.
        say: is given progress in words.

    Returns:
        Seed -> final weights (d,) of that rehearsal.

    Raises:
        RunFailed: a shadow did not end.
    """
    # The code is part of a cell's name: shadows of other code are never taken for these.
    code = code_hash()
    scenarios = shadow_scenarios(inquiry, request.shadows)
    resolved = {seed: scenario.resolved() for seed, scenario in scenarios.items()}
    cells = {seed: cell_hash(values, code=code) for seed, values in resolved.items()}
    asked = Request(
        request.command + "\n",
        {cells[seed]: values for seed, values in resolved.items()},
        tuple(Use(cell, "shadow", seed=seed, code=code) for seed, cell in cells.items()),
        f"shadows of client {inquiry.target} of scenario {cell_hash(inquiry.scenario.resolved())}",
        (code,),
    )
    # An existing folder with the same study is opened, so that shadows are trained once.
    run = RunFolder.create(folder, asked)
    with run.held():
        run.ask(asked)
        states = {cell: run.named(cell).status().state for cell in cells.values()}
        missing = [cell for cell, state in states.items() if state is not CellState.DONE]
        say(f"{len(cells)} shadows, {len(missing)} of them to train")
        jobs = [Job(run.named(cell), asked.cells[cell], code) for cell in missing]
        _train(jobs, workers=min(request.jobs, len(jobs)), rounds=inquiry.scenario.rounds, say=say)
    return _weights(run, cells)


def _train(jobs: list[Job], *, workers: int, rounds: int, say: Say) -> None:
    """Waits for all jobs. Raises RunFailed with the first that does not end as it should."""
    reported = time.monotonic()
    with closing(play(jobs, workers=workers, limit=MAX_SHADOW_SECONDS)) as events:
        for event in events:
            now = time.monotonic()
            if isinstance(event, Progressed) and now - reported > SECONDS_BETWEEN_REPORTS:
                reported = now
                say(f"a shadow is at round {event.round} of {rounds}")
            if not isinstance(event, Finished):
                continue
            if event.state is not CellState.DONE:
                raise RunFailed(f"a shadow is {event.state}: {event.reason}")
            say(f"a shadow has ended, after {event.seconds:.0f} s")


def _weights(run: RunFolder, cells: Mapping[int, str]) -> dict[int, Tensor]:
    return {
        seed: load_checkpoint(run.named(cell).checkpoint).state.weights
        for seed, cell in cells.items()
    }
