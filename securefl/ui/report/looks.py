"""What a folder's cells are and have come to, each file read once."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from securefl.errors import RunFolderError
from securefl.runs.cell import CellState, Status
from securefl.runs.folder import Request, RunFolder, Use
from securefl.runs.lineage import with_marks
from securefl.runs.metrics import METRICS_OF_CLASSES, METRICS_OF_TARGETS, RunMetrics
from securefl.ui.report.sharing import shareable

MEASURED = (*METRICS_OF_CLASSES, *METRICS_OF_TARGETS)


class Look(NamedTuple):
    """A use of a cell, and how far the cell has come.

    Attributes:
        use: names the row, the seed and the part.
        scenario: the values in force.
        status: of the cell.
        metrics: of a cell that has ended; None for others.
        not_finite: the metrics that are NaN or infinite, which count as not measured.
    """

    use: Use
    scenario: Mapping[str, Any]
    status: Status
    metrics: RunMetrics | None
    not_finite: Sequence[str]

    @property
    def claims(self) -> bool:
        """Whether a finite epsilon is claimed."""
        privacy = self.scenario.get("privacy")
        return privacy is not None and not math.isinf(float(privacy["epsilon"]))


class Group(NamedTuple):
    """A row of the page, or a part of one: its label, and its cells, one a seed."""

    label: str
    looks: Sequence[Look]

    @property
    def name(self) -> str:
        """The label as others may see it: levels of a study may be paths."""
        return shareable(self.label)

    @property
    def runs(self) -> list[RunMetrics]:
        """The metrics of the cells that have ended."""
        return [look.metrics for look in self.looks if look.metrics is not None]

    @property
    def states(self) -> Counter[str]:
        """State -> how many cells are in it."""
        return Counter(look.status.state.value for look in self.looks)

    @property
    def claims(self) -> bool:
        """Whether one of the cells claims a finite epsilon."""
        return any(look.claims for look in self.looks)

    @property
    def first(self) -> Mapping[str, Any]:
        """The values in force in the first cell; the others differ in their seeds."""
        return self.looks[0].scenario


def looks_at(folder: RunFolder, request: Request) -> list[Look]:
    """Returns every use of a cell, in the order of the request.

    Raises:
        RunFolderError: a file of a cell is damaged, or a cell lies outside the folder.
    """
    known: dict[str, Look] = {}
    looks = []
    for use in request.uses:
        if use.cell not in known:
            known[use.cell] = _look(folder, use, request.cells[use.cell])
        looks.append(known[use.cell]._replace(use=use))
    return looks


def groups_of(looks: Sequence[Look]) -> list[Group]:
    """Returns the cells by row, and by part where a row has several."""
    by_label: dict[str, list[Look]] = {}
    for look in looks:
        use = look.use
        label = f"{use.label}, {use.part}" if use.part else use.label
        by_label.setdefault(label, []).append(look)
    return [Group(label, members) for label, members in by_label.items()]


def _look(folder: RunFolder, use: Use, scenario: Mapping[str, Any]) -> Look:
    cell = folder.named(use.cell)
    # A name is a hash. Anything else could lead out of the folder, and so could a link.
    if not use.cell.isalnum() or cell.folder.is_symlink():
        raise RunFolderError(f"{folder.path} is damaged: a cell lies outside of it")
    status = cell.status()
    # A cell that failed after an earlier end has metrics on disk, which count no more.
    metrics = cell.metrics() if status.state.ended else None
    if metrics is None:
        return Look(use, scenario, status, None, ())
    metrics = with_marks(metrics, scenario, cell)
    not_finite = [name for name in MEASURED if _is_not_finite(metrics.get(name))]
    usable = {name: None if name in not_finite else value for name, value in metrics.items()}
    return Look(use, scenario, status, cast(RunMetrics, usable), not_finite)


def _is_not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def has_begun(look: Look) -> bool:
    """Returns whether a cell was ever started."""
    return look.status.state is not CellState.NEW
