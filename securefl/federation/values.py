"""The values the engine works on: who takes part, the state between rounds, and one round's outcome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from securefl import vector
from securefl.channels.protocol import ChannelServer, ClientUpdate, Header, Packet, View
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


@dataclass(frozen=True)
class Played:
    """One round's outcome.

    Attributes:
        state: the state after it.
        record: what is written down about it.
        out_of_budget: clients whose ledger refused the round.
        observed: headers of all observations, in the order of a transcript; the values went to
            the observer.
    """

    state: State
    record: RoundRecord
    out_of_budget: frozenset[int]
    observed: tuple[Header, ...]
