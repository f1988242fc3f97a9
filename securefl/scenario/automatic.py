"""The model behind `model = "auto"`, and the grid behind `pooling = "auto"`.

Noise hides more the more numbers it is added to, and less the more records are summed under it. So
the rule goes by what is public of both: training records of all clients, times epsilon. It never
looks at a record, and costs no privacy.
"""

import math
from typing import Any

from securefl.data.task import Task
from securefl.scenario import catalog
from securefl.scenario.chosen import Chosen
from securefl.scenario.entries import ModelEntry
from securefl.scenario.tables import Model

AUTO = "auto"
OF_IMAGES, OF_NUMBERS = "scattering", "logistic"
# Records x epsilon from which a grid of so many places a side serves best, ascending.
POOLING_FROM = ((0.0, 1), (300.0, 3), (4500.0, 7))


def evidence_of(records: int, epsilon: float) -> float:
    """Returns records x epsilon, which the rule goes by; infinite where nothing is claimed."""
    return math.inf if math.isinf(epsilon) else records * epsilon


def pooling_for(evidence: float) -> int:
    """Returns the side of the grid for so many records x epsilon."""
    return max(pooling for least, pooling in POOLING_FROM if least <= evidence)


def settled(model: Model, entry: ModelEntry | None, task: Task, evidence: float) -> Chosen[Any]:
    """Returns the model that a scenario names or leaves to the rule, with its hyper-parameters.

    Args:
        model: the table, which leaves something to the rule.
        entry: of the model that it names; None for `auto`.
        task: of the records.
        evidence: records x epsilon.
    """
    name, parameters = model.name, dict(model.parameters)
    if entry is None:
        name = OF_IMAGES if task.image else OF_NUMBERS
        entry = catalog.MODELS[name]
        if entry.grids is not None:
            parameters = {"pooling": AUTO, **parameters}
    if entry.grids is not None and parameters.get("pooling") == AUTO:
        wanted = pooling_for(evidence)
        grids = entry.grids(task, scales=parameters.get("scales"))
        # Small images have no places for fine grids. Where none fits, the model says why.
        parameters["pooling"] = max((grid for grid in grids if grid <= wanted), default=1)
    return Chosen(name, entry, parameters)


def leaves_something(model: Model) -> bool:
    """Whether a table leaves the model or its grid to the rule."""
    return model.name == AUTO or model.parameters.get("pooling") == AUTO
