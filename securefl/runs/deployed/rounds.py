"""The rounds of a deployment; the last trips of each carry the first stages of the next.

| trip | of this round | of the next one |
|---|---|---|
| A | the model, shares; masked updates come back | |
| B | survivors; consents | invitation; advertisements |
| C | consents; revealed shares | key table; sealed shares |

That is a masked round. Its first two stages come alone in the first round, and after a round that
was abandoned before it could carry them. A plain round takes one trip.
"""

import time
from collections.abc import Callable

from securefl.channels.apart import ServerSide
from securefl.channels.protocol import Observer
from securefl.federation.engine import conclude
from securefl.federation.values import Federation, Played, State
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.envelope import Part
from securefl.runs.deployed.exchange import Exchange


class Rounds:
    """Plays rounds, at most two of which are in flight.

    Args:
        desk: carries the envelopes.
        server: makes the server's side of a round.
        opening: first stages of a round that need no model.
        rounds: of the run; no site is invited to a later one.
    """

    def __init__(
        self, desk: Desk, server: Callable[[], ServerSide], *, opening: int, rounds: int
    ) -> None:
        self._desk = desk
        self._server = server
        self._opening = opening
        self._rounds = rounds
        self._next: Exchange | None = None

    def play(self, federation: Federation, state: State, observer: Observer) -> Played:
        """Plays the round of a state, and opens the next one on the way; see `engine.Play`."""
        started = time.perf_counter()
        current = self._next or self._begun(federation, state.round, observer)
        self._next = None
        while current.stages < self._opening and not current.is_over:
            self._trip(current)
        if not current.is_over:
            current.send_model(federation, state, self._desk)
            self._trip(current)
        # Not before enough updates came: an abandoned round leaves no invitation behind.
        if not current.is_over and state.round + 1 < self._rounds:
            self._next = self._begun(federation, state.round + 1, observer)
        while not current.is_over:
            self._trip(current, self._next)
        return conclude(
            federation, state, current.cohort, current.view, current.log, started=started
        )

    def _begun(self, federation: Federation, round: int, observer: Observer) -> Exchange:
        return Exchange(round, federation.invite(round), self._server(), observer)

    def _trip(self, current: Exchange, following: Exchange | None = None) -> None:
        """Carries one stage of a round, and one of the next while that needs no model."""
        exchanges = [current]
        if following is not None and following.stages < self._opening and not following.is_over:
            exchanges.append(following)
        for exchange in exchanges:
            exchange.ask(self._desk)

        def take(site: int, part: Part) -> None:
            for exchange in exchanges:
                exchange.take(site, part)

        self._desk.carry(take)
        for exchange in exchanges:
            exchange.close_stage()
