"""Why a cell failed, in its status."""

import traceback
from contextlib import suppress
from types import TracebackType

from securefl.errors import BudgetExceeded, SecureflError
from securefl.runs.cell import Cell, CellState
from securefl.scenario.scenario import Scenario


class FailureKept:
    """Writes why a cell failed into its status; an interruption or a spent budget is no failure."""

    def __init__(self, cell: Cell, scenario: Scenario) -> None:
        self._cell = cell
        self._scenario = scenario

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, BudgetExceeded):
            return
        reason = str(error)
        if not isinstance(error, SecureflError):  # a bug: its place matters more than its sentence
            reason = "".join(traceback.format_exception(error))
            # Its words may quote a record, and the folder of a run is for others to read.
            if self._scenario.claims_dp:
                places = "".join(traceback.format_tb(error.__traceback__))
                reason = f"{places}{type(error).__name__}, whose words a DP claim keeps out of here"
        with suppress(OSError):  # the disk may be what failed
            self._cell.finish(CellState.FAILED, reason=reason)
