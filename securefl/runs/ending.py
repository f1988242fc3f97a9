"""The end of a run: its model, metrics and status, so that a crash in between loses nothing."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Size

from securefl.federation.values import State
from securefl.runs.cell import Cell, CellState
from securefl.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from securefl.runs.metrics import RunMetrics


def end_run(
    cell: Cell,
    state: State,
    shapes: Mapping[str, Size],
    *,
    outcome: CellState,
    metrics: RunMetrics | None,
    reason: str = "",
) -> None:
    """Ends a cell with the model of a state.

    Args:
        cell: that ends.
        state: with the model that the run ends with.
        shapes: of its parameters.
        outcome: how it ends.
        metrics: of the model; None without any.
        reason: why, where it ends early.
    """
    if outcome is CellState.DONE:
        # All rounds are played: after a crash in between only the end is made once more.
        cell.keep_model(state, shapes)
        cell.finish(outcome, metrics=metrics, reason=reason)
    else:
        # The other way round: without the server's state, rounds that are left would be played
        # as if the run began, and under seeded noise released once more.
        cell.finish(outcome, metrics=metrics, reason=reason)
    leave_the_model(cell)


def leave_the_model(cell: Cell) -> None:
    """Leaves the model alone of a run that has ended, where a crash came before that.

    The server's state goes, the best model takes the last one's place, and so does what a process
    left that died while it wrote a checkpoint.
    """
    if cell.checkpoint.exists():
        kept = load_checkpoint(cell.checkpoint)
        weights = kept.state.weights
        if cell.best.exists():
            weights = load_checkpoint(cell.best).state.weights
        if kept.shapes is not None and (kept.state.step_state or cell.best.exists()):
            model = replace(kept.state, weights=weights, step_state={})
            save_checkpoint(cell.checkpoint, Checkpoint(model, kept.record), kept.shapes)
    cell.best.unlink(missing_ok=True)
    for left in cell.folder.glob(f".{cell.checkpoint.name}.*"):
        left.unlink(missing_ok=True)
