"""Real targets: their declared ranges and loss -> the task."""

from collections.abc import Sequence

from securefl.data.own.layout import Layout
from securefl.data.task import Task
from securefl.errors import ScenarioError

LOSSES = ("mse", "huber")


def declared_regression(
    layout: Layout,
    *,
    ranges: Sequence[Sequence[float]] | None,
    loss: str | None,
    num_classes: int | None,
    labels: int,
    name: str,
) -> Task | None:
    """Returns the task of records with real targets; None where no ranges are declared.

    Args:
        layout: of a record.
        ranges: [lowest, highest] value of each target. Labels outside count as the nearer end.
        loss: "mse", the usual one, or "huber".
        num_classes: declared number of classes, which real targets do not have.
        labels: of a record.
        name: of the source, for a refusal.

    Raises:
        ScenarioError: the declared keys do not fit together, or not to the records.
    """
    if ranges is None:
        if loss is not None:
            raise ScenarioError("data.loss has no effect without data.ranges; remove it")
        return None
    if num_classes is not None:
        raise ScenarioError("data.num_classes has no effect with data.ranges; remove one of them")
    if loss is not None and loss not in LOSSES:
        raise ScenarioError(f"data.loss is 'mse' or 'huber', got {loss!r}")
    if len(ranges) != labels:
        raise ScenarioError(
            f"data.ranges declares {len(ranges)} targets, and the records of {name} have {labels} "
            "labels each"
        )
    targets = []
    for pair in ranges:
        if len(pair) != 2:
            raise ScenarioError(f"data.ranges takes [low, high] for each target, got {list(pair)}")
        targets.append((float(pair[0]), float(pair[1])))
    try:
        return Task(
            layout.features, image=layout.image, targets=tuple(targets), huber=loss == "huber"
        )
    except ValueError as reason:
        raise ScenarioError(f"data.ranges: {reason}") from None
