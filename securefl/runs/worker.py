"""A worker process: takes cells from standard input and runs them, one thread, until the input ends.

Lines of JSON both ways. In: {"folder", "scenario", "code"}. Out: {"ready": true} once, {"round": n} as rounds pass,
{"state", "reason"} at the end of a cell, and {"alive": true} every second from a thread of its own, so that a process
that stands still is found out.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securefl.errors import BudgetExceeded, SecureflError
from securefl.files import locked
from securefl.runs.cache import user_cache
from securefl.runs.cell import Cell
from securefl.runs.environment import code_hash

if TYPE_CHECKING:
    from securefl.federation.record import RoundRecord

BEAT = 1.0  # seconds between signs of life
_SELDOM = 0.1  # seconds between two words about rounds, at least
PATIENCE = 10.0  # seconds to wait for a cell that a dying worker still holds


def main() -> None:
    """Work until standard input ends, which it also does when the parent dies: then leave at once."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    threading.Thread(target=_beat, args=(out,), daemon=True).start()
    work = _learn()
    _say(out, {"ready": True})
    while True:
        order = orders.get()
        if order["code"] not in ("", code_hash()):
            _say(
                out,
                {
                    "state": "failed",
                    "reason": "the code was changed while the grid ran; run the command again",
                },
            )
            continue
        _say(
            out,
            work(
                Path(order["folder"]), order["scenario"], lambda round: _say(out, {"round": round})
            ),
        )


def _learn() -> Callable[[Path, dict[str, Any], Callable[[int], None]], dict[str, Any]]:
    """Import what a cell needs, seconds that a cell's limit must not pay for, and give back what runs one."""
    import torch

    from securefl.runs.play import run_cell
    from securefl.scenario.scenario import make_scenario

    torch.set_num_threads(1)

    def work(folder: Path, scenario: dict[str, Any], tell: Callable[[int], None]) -> dict[str, Any]:
        """Run a cell; how it ended. What nobody foresaw ends the process: run_cell has kept the traceback by then."""
        said = time.monotonic()

        def note(record: "RoundRecord") -> None:
            nonlocal said
            if time.monotonic() - said > _SELDOM:
                said = time.monotonic()
                tell(record.round + 1)

        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder, patience=PATIENCE):
                run_cell(
                    Cell(folder),
                    make_scenario(scenario),
                    on_round=note,
                    remember=user_cache().remember,
                )
        except BudgetExceeded as reason:
            return {"state": "out of budget", "reason": str(reason)}
        except SecureflError as reason:
            return {"state": "failed", "reason": str(reason)}
        return {"state": "done", "reason": ""}

    return work


def _listen(orders: "queue.Queue[dict[str, Any]]") -> None:
    """Pass orders on; the end of input ends the process, whatever the main thread is doing."""
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(0)


def _beat(out: int) -> None:
    while True:
        time.sleep(BEAT)
        _say(out, {"alive": True})


def _say(out: int, message: dict[str, Any]) -> None:
    """One line, in one write, so that two threads do not mix; a parent that is gone is no error here."""
    try:
        os.write(out, (json.dumps(message) + "\n").encode())
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
