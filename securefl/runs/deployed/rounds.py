"""The rounds of a deployment; the last trips of each carry the first stages of the next.

| trip | of this round | of the next one |
|---|---|---|
| A | the model, shares; masked updates come back | |
| B | survivors; consents | invitation; advertisements |
| C | consents; revealed shares | key table; sealed shares |

That is a masked round. Its first two stages come alone in the first round, and after a round that
was abandoned before it could carry them. A plain round takes one trip. Where sites judge the model
that a round trains on, their counts go the same way, next to the updates.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from securefl.channels.apart import ServerSide
from securefl.channels.protocol import UNWATCHED, Header, Observer
from securefl.federation.engine import conclude
from securefl.federation.values import Federation, Played, State
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.envelope import Part
from securefl.runs.deployed.exchange import Exchange
from securefl.runs.deployed.judging import Judging


@dataclass(frozen=True)
class _Flight:
    """What travels together under one round's number.

    Attributes:
        lead: the updates, whose end is that of the round; counts where nothing is trained.
        counts: next to the updates; None where no site counts, or counts lead.
    """

    lead: Exchange
    counts: Exchange | None = None

    @property
    def in_flight(self) -> tuple[Exchange, ...]:
        """The exchanges that go on."""
        both = (self.lead,) if self.counts is None else (self.lead, self.counts)
        return tuple(exchange for exchange in both if not exchange.is_over)

    def send_model(self, federation: Federation, state: State, desk: Desk) -> None:
        """Sends the model once to each site that trains on it or judges it."""
        trains = self.lead.present
        self.lead.send_model(federation, state, desk)
        if self.counts is not None:
            self.counts.send_model(federation, state, desk, have_it=trains)


class Rounds:
    """Plays rounds, at most two of which are in flight.

    Args:
        desk: carries the envelopes.
        server: makes the server's side of a round.
        opening: first stages of a round that need no model.
        rounds: of the run; no site trains in a later one.
        judging: begins the rounds of counts; None where no site counts.
        is_spent: see `Exchange`.
    """

    def __init__(
        self,
        desk: Desk,
        server: Callable[[], ServerSide],
        *,
        opening: int,
        rounds: int,
        judging: Judging | None = None,
        is_spent: Callable[[int, int], bool] = lambda site, round: True,
    ) -> None:
        self._desk = desk
        self._server = server
        self._opening = opening
        self._rounds = rounds
        self._judging = judging
        self._is_spent = is_spent
        self._next: _Flight | None = None

    def play(self, federation: Federation, state: State, observer: Observer) -> Played:
        """Plays the round of a state, and opens the next one on the way; see `engine.Play`."""
        started = time.perf_counter()
        flight = self._flown(federation, state, state.round, observer)
        if flight is None:
            raise ValueError(f"the run has {self._rounds} rounds, round {state.round} is beyond")
        update = flight.lead
        if flight.counts is not None:
            update.log.bytes_up += flight.counts.log.bytes_up
            update.log.bytes_down += flight.counts.log.bytes_down
        played = conclude(
            federation, state, update.cohort, update.view, update.log, started=started
        )
        counted = () if flight.counts is None else flight.counts.observed
        return replace(played, observed=played.observed + counted)

    def judge_last(self, federation: Federation, state: State) -> tuple[Header, ...]:
        """Lets the sites judge the model that the run ends with; returns what parties observed.

        Sites know it by the number that comes after all rounds, also where a budget ended the run
        before these were played.
        """
        flight = self._flown(federation, state, self._rounds, UNWATCHED)
        return () if flight is None else flight.lead.observed

    def _flown(
        self, federation: Federation, state: State, number: int, observer: Observer
    ) -> _Flight | None:
        """Carries all stages of the round of this number; None where nobody has a part in it."""
        flight = self._next or self._begun(federation, number, observer)
        self._next = None
        if flight is None:
            return None
        lead = flight.lead
        while lead.stages < self._opening and not lead.is_over:
            self._trip(flight)
        if not lead.is_over:
            flight.send_model(federation, replace(state, round=number), self._desk)
            self._trip(flight)
        # Not before enough updates came: an abandoned round leaves no invitation behind.
        if not lead.is_over:
            self._next = self._begun(federation, number + 1, observer)
        while not lead.is_over:
            self._trip(flight, self._next)
        counts = flight.counts if number < self._rounds else lead
        if self._judging is not None and counts is not None:
            self._judging.keep(counts, self._desk, state)
        return flight

    def _begun(self, federation: Federation, round: int, observer: Observer) -> _Flight | None:
        counts = None if self._judging is None else self._judging.begun(round, observer)
        if round < self._rounds:
            cohort = federation.invite(round)
            lead = Exchange(round, cohort, self._server(), observer, is_spent=self._is_spent)
            return _Flight(lead, counts)
        return None if counts is None else _Flight(counts)

    def _trip(self, flight: _Flight, following: _Flight | None = None) -> None:
        """Carries one stage of a round, and one of the next while that needs no model."""
        exchanges = list(flight.in_flight)
        if following is not None:
            waiting = following.in_flight
            exchanges += [one for one in waiting if one.stages < self._opening]
        for exchange in exchanges:
            exchange.ask(self._desk)

        def take(site: int, part: Part) -> None:
            for exchange in exchanges:
                exchange.take(site, part)

        self._desk.carry(take)
        for exchange in exchanges:
            exchange.close_stage()
