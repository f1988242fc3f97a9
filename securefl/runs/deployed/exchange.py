"""One round on its way between the coordinator and the sites, stage by stage."""

from collections.abc import Callable, Collection
from dataclasses import replace

from securefl.channels.apart import ServerSide
from securefl.channels.protocol import Header, Observer, Packet, Seen, View
from securefl.errors import BudgetExceeded, ClientFailure, RoundAbandoned
from securefl.federation.engine import model_message
from securefl.federation.log import RoundLog
from securefl.federation.stages import deliver
from securefl.federation.values import Federation, State
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.envelope import COUNTS_LANE, Kind, Part

# The channel calls everything that it carries an update.
_OF_COUNTS = {
    Seen.CLEAR_UPDATE: Seen.CLEAR_COUNTS,
    Seen.MASKED_UPDATE: Seen.MASKED_COUNTS,
    Seen.SUM_OF_UPDATES: Seen.SUM_OF_COUNTS,
}


class Exchange:
    """The coordinator's account of one round, from its invitation to its view.

    Several of them may share the trips of one desk: each takes the answers to its own requests.

    Args:
        round: its number.
        cohort: the invited sites.
        server: the server's side of the channel, for this round alone.
        observer: gets every observation of the round.
        lane: of its parts.
        is_spent: site, round -> whether the declared constants leave the site no budget for it.

    Attributes:
        round: its number.
        cohort: the invited sites.
        log: who was absent and why, bytes, observations.
        stages: that were closed.
        view: the outcome; None before it, and in a round that was abandoned.
    """

    def __init__(
        self,
        round: int,
        cohort: tuple[int, ...],
        server: ServerSide,
        observer: Observer,
        *,
        lane: int = 0,
        is_spent: Callable[[int, int], bool] = lambda site, round: True,
    ) -> None:
        self.round = round
        self.cohort = cohort
        self.log = RoundLog(observer)
        self.stages = 0
        self.view: View | None = None
        self._server = server
        self._lane = lane
        self._is_spent = is_spent
        self._waiting: set[int] = set()
        server.begin(round, cohort, b"", self.log)

    @property
    def is_over(self) -> bool:
        """Whether there is a view, or the round is abandoned."""
        return self.view is not None or bool(self.log.reason)

    @property
    def observed(self) -> tuple[Header, ...]:
        """The headers of all observations, in the order of a transcript."""
        if self._lane != COUNTS_LANE:
            return self.log.transcript
        return tuple(
            replace(header, kind=_OF_COUNTS.get(header.kind, header.kind))
            for header in self.log.transcript
        )

    @property
    def present(self) -> tuple[int, ...]:
        """The sites of the cohort that have answered so far."""
        return tuple(site for site in self.cohort if site not in self.log.absent)

    def send_model(
        self,
        federation: Federation,
        state: State,
        desk: Desk,
        have_it: Collection[int] = (),
    ) -> None:
        """Names the model, and encloses it for each site that is present and does not have it."""
        name = federation.name_of(state)
        self._server.train_on(name)
        sites = [site for site in self.present if site not in have_it]
        if not sites:
            return
        message = model_message(federation, state, name, self.log)
        sent = federation.sent(state)
        for site in sites:
            self.log.tell(f"client {site}", Seen.GLOBAL_MODEL, (), sent)
            self.log.bytes_down += len(message)
            desk.enclose(site, Part(Kind.MODEL, self.round, message, self._lane))

    def ask(self, desk: Desk) -> None:
        """Encloses this stage's request for each site that is present."""
        self.log.answered.clear()
        for site, request in self._server.requests().items():
            if site not in self.log.absent:
                self._waiting.add(site)
                self.log.bytes_down += len(request)
                desk.enclose(site, Part(Kind.REQUEST, self.round, request, self._lane))

    def take(self, site: int, part: Part) -> None:
        """Takes a site's answer, if it is the one to this round's request."""
        if part.place != (self.round, self._lane) or site not in self._waiting:
            return
        self._waiting.discard(site)
        with self.log.excused(site):
            deliver(self._server, site, self._content(site, part), self.log)

    def close_stage(self) -> None:
        """Ends the stage without the sites that have not answered."""
        for site in sorted(self._waiting):
            self.log.absent[site] = "its site did not answer"
        self._waiting.clear()
        self.stages += 1
        try:
            self.view = self._server.close_stage()
        except RoundAbandoned as abandoned:
            self.log.reason = str(abandoned)

    def _content(self, site: int, part: Part) -> Packet:
        """Returns the content of an answer. Raises ClientFailure or BudgetExceeded without one."""
        if part.kind is Kind.OUT_OF_BUDGET:
            # A spent budget ends the run for good, which no site may do by a word.
            if not self._is_spent(site, part.round):
                raise ClientFailure("its site names its budget, which lasts by its constants")
            raise BudgetExceeded(f"round {part.round} does not fit the budget of its site")
        if part.kind is Kind.NOT_READY:
            raise ClientFailure("its site is not ready")
        if part.kind is not Kind.ANSWER:
            raise ClientFailure("its site declined")
        return part.content
