"""What a run gave: its metrics, its rounds and its model."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securefl import vector
from securefl.errors import SecureflError
from securefl.federation.record import RoundRecord
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.metrics import RunMetrics
from securefl.scenario.assemble.trainers import build_model
from securefl.scenario.scenario import Scenario

if TYPE_CHECKING:  # a table has torch imported already, but no reader of types needs it
    from torch import nn


class Result(Mapping[str, Any]):
    """The final metrics of a run as a mapping, and what else its folder holds.

        result = securefl.run(scenario, Path("runs/mine"))
        result["accuracy"], len(result.rounds)
        labels = result.model()(features).argmax(dim=1)

    Attributes:
        metrics: the final metrics, with their types.
        scenario: what was run.
        folder: the run folder, for `securefl report`, `audit` and `compare`.
    """

    def __init__(
        self, metrics: RunMetrics, *, scenario: Scenario, folder: Path, cell: Cell
    ) -> None:
        self.metrics = metrics
        self.scenario = scenario
        self.folder = folder
        self._cell = cell

    def __getitem__(self, name: str) -> Any:
        """Returns one metric."""
        return dict(self.metrics)[name]

    def __iter__(self) -> Iterator[str]:
        """Iterates over the names of the metrics."""
        return iter(self.metrics)

    def __len__(self) -> int:
        """Returns the number of metrics."""
        return len(self.metrics)

    def __repr__(self) -> str:
        """Returns the metrics that are single numbers or words, and the folder."""
        values = {
            name: value
            for name, value in self.items()
            if isinstance(value, int | float | str) and value != ""
        }
        return f"Result({values}, folder={str(self.folder)!r})"

    @cached_property
    def rounds(self) -> list[RoundRecord]:
        """The records of the rounds, in order."""
        return self._cell.rounds()

    def model(self) -> "nn.Module":
        """Returns the trained network in evaluation mode, a new one at each call.

        Raises:
            RunFolderError: the checkpoint is damaged.
        """
        model = build_model(self.scenario, self.scenario.facts.task)
        vector.load_vector(model, load_checkpoint(self._cell.checkpoint).state.weights)
        return model.eval()

    def frame(self) -> Any:
        """Returns the rounds as a pandas.DataFrame, one row a round.

        Raises:
            SecureflError: pandas is not installed.
        """
        return data_frame([asdict(record) for record in self.rounds])


def data_frame(rows: list[dict[str, Any]]) -> Any:
    """Returns rows as a pandas.DataFrame. Raises SecureflError where pandas is not installed."""
    try:
        # It takes half a second to import, and nothing else here needs it.
        import pandas as pd
    except ImportError:
        raise SecureflError("a frame needs pandas, which is not here: pip install pandas") from None
    return pd.DataFrame(rows)
