"""The model that a run ends with under evaluate.keep = "best": the best one that was evaluated.

    best = BestModel(cell.best, shapes)
    best.offer(3, state.weights, score(record.accuracy, record.rmse))   # the model after 3 rounds
    state = best.chosen(state)                                          # at the end of the run

A simulation and a deployment follow the same rule, and choose the same model by the same figures.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Size, Tensor

from securefl.federation.values import State
from securefl.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from securefl.runs.metrics import RunMetrics

SCORE = "score"


def score(accuracy: float | None, rmse: float | None) -> float | None:
    """Returns what the best model has most of; None for a model that was not measured."""
    return accuracy if rmse is None else -rmse


class BestModel:
    """Keeps the best model that was offered, in a file that a crash leaves whole.

    Guarantees:
        - Of equal models the earliest stays, so that a model may be offered twice.
        - A model without a score never stays.

    Args:
        path: of the file; read if it exists.
        shapes: the model's parameters, in the order of the vector.

    Raises:
        RunFolderError: the file is damaged.
    """

    def __init__(self, path: Path, shapes: Mapping[str, Size]) -> None:
        self._path = path
        self._shapes = shapes
        self._score: float | None = None
        if path.exists():
            self._score = load_checkpoint(path).record[SCORE]

    def offer(
        self,
        model: int,
        weights: Tensor,
        score: float | None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Keeps a model that is better than all before it.

        Args:
            model: rounds that led to it.
            weights: (d,).
            score: higher is better.
            facts: about the model, kept with it.
        """
        if score is None or (self._score is not None and score <= self._score):
            return
        record = {**(facts or {}), SCORE: score}
        save_checkpoint(self._path, Checkpoint(State(weights, round=model), record), self._shapes)
        self._score = score

    def kept(self) -> Checkpoint | None:
        """Returns the best model, with its facts; None where no model had a score."""
        return None if self._score is None else load_checkpoint(self._path)

    def chosen(self, last: State) -> State:
        """Returns the last state of a run, with the weights of the best model if there is one."""
        kept = self.kept()
        return last if kept is None else replace(last, weights=kept.state.weights)

    def facts(self) -> RunMetrics:
        """Returns what metrics.json says about the choice; nothing where there was none."""
        kept = self.kept()
        return {} if kept is None else {"kept_round": kept.state.round - 1}
