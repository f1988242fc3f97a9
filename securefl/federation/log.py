"""What a round notes while it is played, and what of it is written down."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from securefl.channels.protocol import (
    Header,
    Observation,
    Observer,
    Seen,
    View,
)
from securefl.errors import BudgetExceeded, ClientFailure, ProtocolError, RoundAbandoned
from securefl.federation.record import BARRED, LOST_WITH_BLOCK, LOST_WITH_GROUP, RoundRecord
from securefl.learning.protocol import Metrics

# Transcripts list global models first, then what the channel carried, what clients and the
# adversary know by themselves, and opened sums last. Within a group the order is that of events.
_CHANNEL = 1
_PLACE_IN_TRANSCRIPT = {
    Seen.GLOBAL_MODEL: 0,
    Seen.OWN_UPDATE: 2,
    Seen.OWN_HONEST_UPDATES: 2,
    Seen.OTHERS_HONEST_UPDATES: 2,
    Seen.OPENED_SUM: 3,
}


@dataclass
class RoundLog:
    """The account of one round: who was absent and why, bytes, and the headers of observations.

    The log is the observer that engine, channel and adversary report to. It keeps headers for
    the transcript and passes values on without keeping them, so that the memory of a round does
    not grow with its clients.

    Attributes:
        observer: gets every observation with its values.
        absent: client -> why it did not answer.
        out_of_budget: clients whose ledger refused the round.
        answered: clients with an accepted reply in the current stage.
        rejected: messages that the server dropped.
        bytes_up: bytes sent to the server, dropped messages included.
        bytes_down: bytes sent to clients.
        push: see `RoundRecord`.
        screened: clients behind rows that were set aside.
        distrusted: see `RoundRecord`.
        survivors: clients whose updates are in the aggregate.
        reason: why the round was abandoned; empty if it was not.
        clock: see `RoundRecord`.
        left_out: see `RoundRecord`.
        named: see `RoundRecord`.
        paired: see `RoundRecord`.
        groups: see `RoundRecord`.
    """

    observer: Observer
    absent: dict[int, str] = field(default_factory=dict)
    out_of_budget: set[int] = field(default_factory=set)
    answered: set[int] = field(default_factory=set)
    rejected: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    push: float | None = None
    screened: tuple[int, ...] = ()
    distrusted: tuple[int, ...] | None = None
    survivors: tuple[int, ...] = ()
    reason: str = ""
    clock: int | None = None
    left_out: tuple[int, ...] = ()
    named: Mapping[int, str] = field(default_factory=dict)
    paired: tuple[tuple[int, int], ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    _headers: list[Header] = field(default_factory=list)

    def observe(self, observation: Observation) -> None:
        """Keeps the header and passes the observation on."""
        self._headers.append(observation.header)
        self.observer.observe(observation)

    def tell(self, party: str, kind: Seen, about: tuple[int, ...], values: Tensor) -> None:
        """Observes float32 numbers that a party has in the clear."""
        self.observe(Observation.of(party, kind, about, values))

    def tell_opened(self, client: int, view: View) -> None:
        """Observes the sums that a key holder opened."""
        for row, members in zip(view.rows, view.members, strict=True):
            self.tell(f"client {client}", Seen.OPENED_SUM, members, row)

    @contextmanager
    def excused(self, client: int) -> Iterator[None]:
        """Notes a client that fails in this block as absent; the round continues without it."""
        try:
            yield
        except (ClientFailure, ProtocolError, BudgetExceeded) as reason:
            self.absent[client] = str(reason)
            if isinstance(reason, BudgetExceeded):
                self.out_of_budget.add(client)

    def abandon(self, abandoned: RoundAbandoned) -> None:
        """Notes why the round has no result, and who was found lying."""
        self.reason = str(abandoned)
        self.named = dict(abandoned.named)
        self.paired = abandoned.paired

    def note_choice(self, view: View) -> None:
        """Notes the clients that the channel did not choose, and those that it found lying."""
        self.left_out = view.left_out
        self.named = dict(view.named)
        self.paired = view.paired

    def note_lost(self, cohort: tuple[int, ...], view: View, *, grouped: bool = False) -> None:
        """Notes clients that answered and are in no row: a channel may lose a whole sum.

        Args:
            cohort: the invited clients.
            view: the outcome of the channel.
            grouped: whether its sums are the means of groups, and not blocks of one mean.
        """
        reason = LOST_WITH_GROUP if grouped else LOST_WITH_BLOCK
        counted = {*view.clients, *view.left_out, *view.named}
        for client in set(cohort) - counted - set(self.absent):
            self.absent[client] = reason

    def note_barred(self, cohort: tuple[int, ...], barred: Mapping[int, str]) -> None:
        """Notes invited clients that nobody listened to, for what they did in earlier rounds.

        Args:
            cohort: the invited clients.
            barred: client -> why it takes no part, now that the round has ended.
        """
        for client in cohort:
            if client in barred and client not in self.named:
                self.absent[client] = f"{BARRED}{barred[client]}"

    @property
    def transcript(self) -> tuple[Header, ...]:
        """The headers of all observations, in the order of a transcript."""

        def place(header: Header) -> int:
            return _PLACE_IN_TRANSCRIPT.get(header.kind, _CHANNEL)

        return tuple(sorted(self._headers, key=place))  # stable, so events stay in their order

    def record(
        self,
        round: int,
        cohort: tuple[int, ...],
        *,
        quality: Metrics | None,
        ledger_heads: Mapping[int, str],
        seconds: float,
    ) -> RoundRecord:
        """Returns what is written down about the round; quality is None if nobody evaluated it."""
        return RoundRecord(
            round=round,
            abandoned=bool(self.reason),
            reason=self.reason,
            cohort=cohort,
            survivors=self.survivors,
            absent=self.absent,
            screened=self.screened,
            rejected=self.rejected,
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            accuracy=None if quality is None else quality.accuracy,
            ledger_heads=ledger_heads,
            seconds=seconds,
            push=self.push,
            distrusted=self.distrusted,
            rmse=None if quality is None else quality.rmse,
            auc=None if quality is None else quality.auc,
            evaluated=quality is not None,
            worst=None if quality is None else quality.worst,
            consensus=None if quality is None else quality.consensus,
            clock=self.clock,
            left_out=self.left_out,
            named=self.named,
            paired=self.paired,
            groups=self.groups,
        )
