"""A worker process: takes cells from standard input and runs them, one thread, until input ends.

Lines of JSON both ways. In: {"folder", "scenario", "code"}. Out: {"ready": true} once, {"round": n}
as rounds pass, {"state", "reason"} at the end of a cell. A thread of its own says {"alive": true}
every second, so that the parent notices a process that hangs.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from securefl.errors import BudgetExceeded, ScenarioError, SecureflError
from securefl.federation.record import RoundRecord
from securefl.files import locked
from securefl.runs.cache import user_cache
from securefl.runs.cell import Cell, CellState
from securefl.runs.environment import code_hash
from securefl.runs.threads import one_thread

BEAT_SECONDS = 1.0  # between signs of life
SECONDS_BETWEEN_ROUND_MESSAGES = 0.1
PATIENCE_SECONDS = 10.0  # for a cell that a dying worker still holds


class Order(NamedTuple):
    """A cell to run: its folder, its resolved scenario, and the code's version; "" for any."""

    folder: Path
    scenario: Mapping[str, Any]
    code: str


class Answer(NamedTuple):
    """How a cell ended."""

    state: CellState
    reason: str


Work = Callable[[Order, Callable[[int], None]], Answer]


def main() -> None:
    """Works until standard input ends, which it also does when the parent dies."""
    out = os.dup(1)
    os.dup2(2, 1)  # text that a library prints must not be read as an answer
    orders: queue.Queue[Order] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    threading.Thread(target=_beat, args=(out,), daemon=True).start()
    # The parent starts the clock of the first cell when it hears "ready".
    work = _learn()
    _say(out, {"ready": True})
    while True:
        answer = work(orders.get(), lambda round: _say(out, {"round": round}))
        _say(out, answer._asdict())


def _learn() -> Work:
    """Imports what a cell needs, seconds that its limit must not pay for; returns what runs one."""
    from securefl.federation.memory import keep_memory
    from securefl.runs.play import run_cell
    from securefl.scenario.scenario import make_scenario

    one_thread()
    keep_memory()

    def run(order: Order, tell: Callable[[int], None]) -> None:
        cell = Cell(order.folder)
        order.folder.mkdir(parents=True, exist_ok=True)
        with locked(order.folder, patience=PATIENCE_SECONDS):
            try:
                _check_code(order.code)
                scenario = make_scenario(dict(order.scenario))
            except SecureflError as reason:
                # `run_cell` keeps why a cell failed; here it has not begun.
                cell.fail(str(reason))
                raise
            run_cell(cell, scenario, on_round=_seldom(tell), remember=user_cache().remember)

    def work(order: Order, tell: Callable[[int], None]) -> Answer:
        # An exception that nobody foresaw ends the process: `run_cell` has kept its traceback.
        try:
            run(order, tell)
        except BudgetExceeded as reason:
            return Answer(CellState.OUT_OF_BUDGET, str(reason))
        except SecureflError as reason:
            return Answer(CellState.FAILED, str(reason))
        return Answer(CellState.DONE, "")

    return work


def _check_code(code: str) -> None:
    if code not in ("", code_hash()):
        raise ScenarioError("the code was changed while the grid ran; run the command again")


def _seldom(tell: Callable[[int], None]) -> Callable[[RoundRecord], None]:
    """Passes on how many rounds are played, a few times a second at most."""
    last = time.monotonic()

    def note(record: RoundRecord) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_ROUND_MESSAGES:
            last = time.monotonic()
            tell(record.round + 1)

    return note


def _listen(orders: "queue.Queue[Order]") -> None:
    """Passes orders on; the end of input ends the process, whatever the main thread is doing."""
    # Read in a thread, so that the parent's death is noticed in the middle of a cell.
    for line in sys.stdin:
        order = json.loads(line)
        orders.put(Order(Path(order["folder"]), order["scenario"], order["code"]))
    os._exit(0)


def _beat(out: int) -> None:
    while True:
        time.sleep(BEAT_SECONDS)
        _say(out, {"alive": True})


def _say(out: int, message: Mapping[str, object]) -> None:
    """Writes one line in one call, so that two threads do not mix."""
    try:
        os.write(out, (json.dumps(message) + "\n").encode())
    except BrokenPipeError:  # the parent is gone
        os._exit(0)


if __name__ == "__main__":
    main()
