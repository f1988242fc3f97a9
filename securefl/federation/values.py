"""The engine's values: the parties, the state between rounds and the outcome of a round."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from securefl import vector
from securefl.channels.faults import Remembers
from securefl.channels.protocol import ChannelServer, ClientUpdate, Header, Packet, View
from securefl.errors import RunFailed
from securefl.federation.adversary import Adversary
from securefl.federation.clock import Clock
from securefl.federation.record import RoundRecord
from securefl.learning.algorithms.averaging import AVERAGE
from securefl.learning.algorithms.protocol import Server
from securefl.learning.protocol import Metrics, ServerStep

Rule = Callable[[Tensor, Tensor], Tensor]  # rows (m, d), weights (m,) -> (d,)
Weigh = Callable[[Tensor], Tensor]  # rows (m, d) -> the rule's own weights (m,)
NoisyMean = Callable[[View, int], Tensor]  # an opened sum or all rows, round -> (d,)
Screen = Callable[[Tensor], Tensor]  # rows (m, d) -> (m,) bool, True = set aside


def always(round: int) -> bool:
    """Evaluates the model after each round."""
    return True


def never(round: int) -> bool:
    """Evaluates no model: a server between hospitals has no test records."""
    return False


def unmeasured(state: "State") -> Metrics:
    """Stands where no test records are, with `never`. Raises RunFailed."""
    raise RunFailed("there are no test records here to evaluate a model on")


Reply = bytes | View | None


class Participant(Protocol):
    """A client as the engine meets it, in this process or elsewhere."""

    def load(self, message: bytes) -> None:
        """Takes the global model of a round."""

    def receive(self, request: bytes) -> Reply:
        """Answers the channel; None means that training comes next."""

    def begin(self) -> None:
        """Pays for the requested training, and starts it where it can go on by itself."""

    def train(self) -> ClientUpdate:
        """Returns the update that `begin` paid for, or pays and trains now."""

    def submit(self, update: ClientUpdate) -> Packet:
        """Returns the message in which the channel carries the update."""

    def confirm(self, round: int) -> None:
        """Settles the payment of a round whose release went through."""

    @property
    def ledger_head(self) -> str | None:
        """The head of this client's ledger; None without one."""


@dataclass(frozen=True)
class Federation:
    """All parties of a federation and everything they agreed on, as callables instead of names.

    Args:
        clients: client -> participant.
        server: the server's side of the channel.
        session: 16 bytes that name the session.
        layout: names and shapes of the model's parameters, for the hash that names a model. None
            where the weights are secret from the server.
        invite: round -> cohort, ascending.
        min_cohort: fewest updates that make a round; fewest regions where there are some.
        adversary: owns the corrupt clients.
        screen: marks rows to be set aside.
        rule: combines rows.
        weigh: the weights that the rule itself gives to rows; None for rules without.
        step: applies the rule's estimate to the weights.
        algorithm: the server's half of the algorithm, around the step.
        evaluate: measures the model of a state on test records.
        is_evaluated: round -> whether the model is measured after it.
        server_holds_model: whether the server sees the global models.
        ahead: clients that may be training, or wait to submit what they trained, at once; >= 1.
        regions: number -> the federation of a region; empty where one server has all clients.
        clock: the simulated times of its rounds; None without.
        noisy_mean: stands for the rule where whoever opens a sum adds the noise; None elsewhere.
        grouped: whether the rows of a round are the means of groups of clients.
        memory: the server, where it remembers clients that were found lying; None elsewhere.
    """

    clients: Mapping[int, Participant]
    server: ChannelServer
    session: bytes
    layout: str | None
    invite: Callable[[int], tuple[int, ...]]
    min_cohort: int
    adversary: Adversary
    screen: Screen
    rule: Rule
    weigh: Weigh | None
    step: ServerStep
    evaluate: Callable[["State"], Metrics]
    algorithm: Server = AVERAGE
    is_evaluated: Callable[[int], bool] = always
    server_holds_model: bool = True
    ahead: int = 1
    regions: Mapping[int, "Federation"] = field(default_factory=dict)
    clock: Clock | None = None
    noisy_mean: NoisyMean | None = None
    grouped: bool = False
    memory: Remembers | None = None

    def makes_a_round(self, clients: Collection[int]) -> bool:
        """Whether these clients are enough for a round, if each of them sends an update."""
        members = set(clients) & set(self.clients)
        if not self.regions:
            return len(members) >= self.min_cohort
        able = [region for region in self.regions.values() if region.makes_a_round(members)]
        return len(able) >= self.min_cohort

    def estimate(self, view: View, round: int) -> Tensor:
        """Returns what the rule makes of a view, (d,). Raises ValueError: it has too few rows."""
        if self.noisy_mean is not None:
            return self.noisy_mean(view, round)
        return self.rule(view.rows, view.weights)

    def quality_after(self, round: int, state: "State") -> Metrics | None:
        """Returns the quality of a state's model; None after a round that is not evaluated."""
        return self.evaluate(state) if self.is_evaluated(round) else None

    def late_in(self, round: int) -> Collection[int]:
        """Returns the clients whose updates of a round will be discarded."""
        return () if self.clock is None else self.clock.late_in(round)

    def end_of(self, round: int) -> int | None:
        """Returns the simulated time at the end of a round; None without a clock."""
        return None if self.clock is None else self.clock.end_of(round)

    def sent(self, state: "State") -> Tensor:
        """Returns the vector that goes to each client: the weights, and what is sent with them."""
        return self.algorithm.sent(state.weights, state.step_state)

    def name_of(self, state: "State") -> bytes:
        """Returns the name of the state's model in messages.

        It is the hash of all that is sent, or of its history where the weights are secret.
        """
        if self.layout is None:
            return state.name
        return vector.model_hash(self.layout, self.sent(state))


@dataclass(frozen=True)
class State:
    """The state that one round hands to the next.

    Args:
        weights: (d,), of the global model.
        step_state: the state of the server's step, and of the server's half of the algorithm.
        round: number of the next round.
        name: how messages call the model where its weights are secret from the server. A name
            computed from the weights would reveal something about them.
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
