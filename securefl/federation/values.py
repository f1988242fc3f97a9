"""The values the engine works on: who takes part, the state between rounds, and one round's outcome."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from securefl import vector
from securefl.channels.protocol import ChannelServer, ClientUpdate, Observation, Packet, View
from securefl.errors import BudgetExceeded, ClientFailure, ProtocolError
from securefl.federation.adversary import Adversary
from securefl.federation.record import RoundRecord
from securefl.learning.protocol import Metrics, ServerStep

Rule = Callable[[Tensor, Tensor], Tensor]  # rows (m, d), weights (m,) -> (d,)
Weigh = Callable[[Tensor], Tensor]  # rows (m, d) -> the rule's own weights (m,)
Screen = Callable[[Tensor], Tensor]  # rows (m, d) -> (m,) bool, True = set aside


class Participant(Protocol):
    """A client as the engine meets it, wherever it lives."""

    def load(self, message: bytes) -> None:
        """Take the global model of a round."""

    def receive(self, request: bytes) -> bytes | View | None:
        """Answer the channel; None means that training comes next."""

    def train(self) -> ClientUpdate:
        """Train on the loaded model, having paid for it first."""

    def submit(self, update: ClientUpdate) -> Packet:
        """Hand the update to the channel."""

    def confirm(self, round: int) -> None:
        """Learn that the round's release went through."""

    @property
    def ledger_head(self) -> str | None:
        """The head of this client's ledger; None without one."""


@dataclass(frozen=True)
class Federation:
    """Everyone who takes part, and everything they agreed on; callables only, no names."""

    clients: Mapping[int, Participant]
    server: ChannelServer
    session: bytes
    layout: (
        str | None
    )  # of the model's parameters, for the hash that names it; None where its weights are secret
    invite: Callable[[int], tuple[int, ...]]  # round -> cohort, ascending
    min_cohort: int
    adversary: Adversary
    screen: Screen
    rule: Rule
    weigh: Weigh | None
    step: ServerStep
    evaluate: Callable[[Tensor], Metrics]
    server_holds_model: bool = True

    def name_of(self, state: "State") -> bytes:
        """Returns how messages call the model of `state`: by its weights, or by its history where they are secret."""
        return state.name if self.layout is None else vector.model_hash(self.layout, state.weights)


@dataclass(frozen=True)
class State:
    """What passes from round to round: weights (d,), the server step's state, the number of the next round.

    `name` is set where the weights are secret from the server: a name computed from them would tell it
    something about them.
    """

    weights: Tensor
    step_state: Mapping[str, Tensor] = field(default_factory=dict)
    round: int = 0
    name: bytes = b""


@dataclass
class Attendance:
    """Who did not answer in a round and why, how many messages were dropped, and the bytes that travelled.

    `taken` are the clients whose reply to the stage in hand was taken, `openers` those who opened the sum themselves,
    `push` how far the corrupt ones' rows were pushed, `seen` what the adversary observed.
    """

    absent: dict[int, str] = field(default_factory=dict)
    out_of_budget: set[int] = field(default_factory=set)
    taken: set[int] = field(default_factory=set)
    openers: list[int] = field(default_factory=list)
    rejected: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    push: float | None = None
    seen: list[Observation] = field(default_factory=list)

    @contextmanager
    def excused(self, client: int) -> Iterator[None]:
        """Note a client that fails in this block as absent; the round goes on without it."""
        try:
            yield
        except (ClientFailure, ProtocolError, BudgetExceeded) as reason:
            self.absent[client] = str(reason)
            if isinstance(reason, BudgetExceeded):
                self.out_of_budget.add(client)

    def note_lost(self, cohort: tuple[int, ...], view: View) -> None:
        """Note who answered and is in no row: a channel may lose a whole block of clients."""
        for client in set(cohort) - set(view.clients) - set(self.absent):
            self.absent[client] = "lost with its block, of which too few were left"


@dataclass(frozen=True)
class Played:
    """One round's outcome: the state after it, what is written down, who was away, what was seen."""

    state: State
    record: RoundRecord
    attendance: Attendance
    observed: tuple[Observation, ...]
