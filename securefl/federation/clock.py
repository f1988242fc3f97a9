"""The simulated clock of a server's rounds: who is in time, and how long each round takes.

    clock = Clock(times_of)             # round -> client -> its time, of those that will be ready
    clock.late_in(3)                    # client -> why its update is discarded
    clock.end_of(3)                     # the time at the end of the round, since the run began

All of it follows from public numbers before anybody trains. So a resumed run has the same times.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Timing(NamedTuple):
    """The times of one round.

    Attributes:
        late: client -> why its update is discarded.
        lasts: how long the round takes.
    """

    late: Mapping[int, str]
    lasts: int


def timing(times: Mapping[int, int], *, size: int, deadline: int | None) -> Timing:
    """Returns who of a cohort is late, and how long its round takes.

    The round takes the first `size` updates that are ready, ties by client id. It ends with the
    last of them, or with the deadline if fewer came.

    Args:
        times: client -> when its update is ready, for the clients that will have one.
        size: the most updates that the round takes.
        deadline: the time from which nobody is waited for; None to wait for all.
    """
    order = sorted(times, key=lambda client: (times[client], client))
    taken: list[int] = []
    late = {}
    for client in order:
        if deadline is not None and times[client] > deadline:
            late[client] = f"discarded: it came after the deadline of {deadline} (simulated)"
        elif len(taken) == size:
            late[client] = f"discarded: {size} updates had come before its own (simulated)"
        else:
            taken.append(client)
    if deadline is not None and len(taken) < size:
        return Timing(late, deadline)
    return Timing(late, times[taken[-1]] if taken else 0)


class Clock:
    """The simulated time of a run whose rounds follow one another.

    Args:
        timing_of: round -> its timing.
    """

    def __init__(self, timing_of: Callable[[int], Timing]) -> None:
        self._timing_of = timing_of
        self._ends = [0]  # before round 0, then after each round
        # Every client of a round asks about the same one.
        self._latest: tuple[int, Timing] = (-1, Timing({}, 0))

    def late_in(self, round: int) -> Mapping[int, str]:
        """Returns client -> why its update of this round is discarded."""
        return self._timing(round).late

    def end_of(self, round: int) -> int:
        """Returns the time at the end of a round, since the start of the run."""
        while len(self._ends) < round + 2:
            lasts = self._timing(len(self._ends) - 1).lasts
            self._ends.append(self._ends[-1] + lasts)
        return self._ends[round + 1]

    def _timing(self, round: int) -> Timing:
        if self._latest[0] != round:
            self._latest = (round, self._timing_of(round))
        return self._latest[1]
