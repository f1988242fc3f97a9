"""The values that travel down the one lane, and the protocols at its two ends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from torch import Tensor

from securefl.privacy.events import SampledGaussian

Packet = bytes | bytearray | memoryview  # one message on its way
Rule = Callable[[Tensor, Tensor], Tensor]  # rows (m, d), weights (m,) -> (d,)
Weigh = Callable[[Tensor], Tensor]  # rows (m, d) -> the rule's own weights (m,)
Screen = Callable[[Tensor], Tensor]  # rows (m, d) -> (m,) bool, True = set aside
Attack = Callable[[Tensor, Tensor, int], Tensor]  # own honest rows (f, d), those known (h, d), round -> rows (f, d)
Poison = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]  # client, features (n, ...), labels (n,) -> both, new
Bend = Callable[[Tensor, Tensor], Tensor]  # a gradient, and how far the weights are from the global ones -> a gradient
Goal = Callable[[Tensor, Tensor], tuple[Tensor, int]]  # test features, labels -> features (k, ...), the class wanted


@dataclass(frozen=True)
class ClientUpdate:
    """What one client hands to its channel: delta = w_local - w (d,), its weight and what it cost.

    `model_hash` is the name of the model that it was trained on.
    """

    delta: Tensor
    weight: int
    spent: SampledGaussian | None
    model_hash: bytes


@dataclass(frozen=True)
class View:
    """The input of a rule: rows (m, d), weights (m,), and the clients behind each row.

    `model_name` names the model that this view leads to, where its weights are secret from the server;
    it is empty where the hash of the weights is the name.
    """

    rows: Tensor
    weights: Tensor
    members: tuple[tuple[int, ...], ...]
    model_name: bytes = b""

    @property
    def clients(self) -> tuple[int, ...]:
        """Every client whose update is in some row, ascending."""
        return tuple(sorted(client for row in self.members for client in row))


@dataclass(frozen=True)
class Observation:
    """What one party saw: kind, shape and bytes are recorded; values stay in memory only."""

    party: str
    kind: str
    about: tuple[int, ...]
    shape: tuple[int, ...]
    size: int
    values: Tensor | None = field(default=None, repr=False, compare=False)


class Trained(NamedTuple):
    """What local training gives back: delta (d,) and the privacy event it cost."""

    delta: Tensor
    spent: SampledGaussian | None


class Trainer(Protocol):
    """Local training of one client, and what one call of it costs."""

    @property
    def cost(self) -> SampledGaussian | None:
        """The event one call of `fit` costs; None without a DP mechanism."""

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """The change that local training makes to weights (d,)."""


class ChannelClient(Protocol):
    """The client's side of a channel; a state machine without I/O."""

    def receive(self, request: bytes) -> bytes | View | None:
        """The reply; None means train, then submit; a View means that the sum was opened here."""

    def check_model(self, round: int, name: bytes) -> None:
        """Raise ProtocolError unless an update of this round, trained on this very model, was asked for."""

    def submit(self, update: ClientUpdate) -> Packet:
        """The message that carries this round's update, once a round."""


class ChannelServer(Protocol):
    """The server's side of a channel; a state machine without I/O."""

    def begin(self, round: int, cohort: Sequence[int], model_hash: bytes) -> None:
        """Start a round with the clients invited to it; `model_hash` names the model to train on."""

    def requests(self) -> Mapping[int, bytes]:
        """What to send to whom in this stage."""

    def absorb(self, client: int, message: Packet) -> bool:
        """Take one reply; False (and nothing changed) if it was dropped."""

    def close_stage(self) -> View | None:
        """End the stage; the View if it opened here. Raises RoundAbandoned below the minimum cohort."""

    def observed(self) -> Sequence[Observation]:
        """What the server and the network saw since `begin`."""


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


class StepResult(NamedTuple):
    """The server's new weights (d,) and the state of its optimiser."""

    weights: Tensor
    state: Mapping[str, Tensor]


ServerStep = Callable[[Tensor, Tensor, Mapping[str, Tensor]], StepResult]  # weights (d,), estimate (d,), state


@dataclass(frozen=True)
class Metrics:
    """Quality of a model on test records; None is 'not measured'."""

    records: int
    accuracy: float | None
    balanced_accuracy: float | None
    auc: float | None
    majority: float | None


@dataclass(frozen=True)
class RoundRecord:
    """Everything that is written down about one round; `reason` is empty unless it was abandoned.

    `push` is how far the corrupt clients' rows are from the mean of the rows that the adversary knows, on average, in
    root mean square distances of those from it; None without an attack, where these are equal, and where they are its
    own and sent as they are. `distrusted` are the clients whose rows got less than a tenth of an equal share from a
    rule that weighs rows; None without an attack, or where the rule gives no weights.
    """

    round: int
    abandoned: bool
    reason: str
    cohort: tuple[int, ...]
    survivors: tuple[int, ...]
    absent: Mapping[int, str]
    screened: tuple[int, ...]
    rejected: int
    bytes_up: int
    bytes_down: int
    accuracy: float | None
    ledger_heads: Mapping[int, str]
    seconds: float
    push: float | None = None
    distrusted: tuple[int, ...] | None = None
