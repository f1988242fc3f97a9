"""The protocol of every channel: its values, its two sides, and how it is built."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from torch import Tensor

from securefl.privacy.events import PrivacyEvent
from securefl.privacy.noise.shares import NoiseShares
from securefl.rng import StreamFor

Packet = bytes | bytearray | memoryview  # one message on its way
# Names the stream from which a member of a masked session draws its secret of the set-up.
SET_UP = "set-up"


class Seen(StrEnum):
    """The kinds of things that a party sees in a round, in the words of transcripts and reports."""

    GLOBAL_MODEL = "global model"
    OWN_UPDATE = "own update"
    CLEAR_UPDATE = "update in the clear"
    PEER_MODEL = "model of a neighbour"  # where there is no server
    # Of a masked round, in the order of its stages.
    PUBLIC_KEYS = "public keys"
    SEALED_SHARES = "sealed shares"
    MASKED_UPDATE = "masked update"
    REPORTED_WEIGHT = "reported weight"  # only where clients report their weights
    SURVIVOR_SET = "signed survivor set"
    REVEALED_SHARES = "shares of survivors' seeds and of dropped clients' keys"
    SUM_OF_UPDATES = "sum of updates"
    # Of an encrypted round.
    ENCRYPTED_UPDATE = "encrypted update"
    ENCRYPTED_SUM = "encrypted sum"
    OPENED_SUM = "opened sum"  # by a client that holds the key
    # Of counts about the records that judge models, between sites.
    CLEAR_COUNTS = "counts in the clear"
    MASKED_COUNTS = "masked counts"
    SUM_OF_COUNTS = "sum of counts"
    # Of statistics that harmonise records, before the first round.
    CLEAR_STATISTICS = "statistics in the clear"
    MASKED_STATISTICS = "masked statistics"
    SUM_OF_STATISTICS = "sum of statistics"
    # Of an adversary inside the federation.
    OWN_HONEST_UPDATES = "own honest updates"
    OTHERS_HONEST_UPDATES = "honest updates of the others"


@dataclass(frozen=True)
class ClientUpdate:
    """One client's update, as it enters its channel.

    Args:
        delta: (d,), the local weights minus the global ones.
        weight: of this client in the mean.
        spent: the privacy event that its training cost; None if it cost none.
        model_hash: names the model that the client trained on.
    """

    delta: Tensor
    weight: int
    spent: PrivacyEvent | None
    model_hash: bytes


@dataclass(frozen=True)
class View:
    """The input of a rule.

    Args:
        rows: (m, d).
        weights: (m,).
        members: the clients behind each row.
        model_name: names the next model, where its weights are secret from the server; empty where
            the hash of the weights is the name.
    """

    rows: Tensor
    weights: Tensor
    members: tuple[tuple[int, ...], ...]
    model_name: bytes = b""

    @property
    def clients(self) -> tuple[int, ...]:
        """The clients whose updates are in some row, ascending."""
        return tuple(sorted(client for row in self.members for client in row))


@dataclass(frozen=True)
class Header:
    """One line of a transcript: a party saw something of this kind, shape and size (bytes).

    `about` lists the clients whose updates it is made of; it is empty for a global model.
    """

    party: str
    kind: Seen
    about: tuple[int, ...]
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class Observation(Header):
    """An observation of one party, with values where it can read them; they are never stored."""

    values: Tensor | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, party: str, kind: Seen, about: tuple[int, ...], values: Tensor) -> "Observation":
        """Returns the observation of float32 numbers that the party has in the clear."""
        return cls(party, kind, about, tuple(values.shape), 4 * values.numel(), values)

    @property
    def header(self) -> Header:
        """The observation without its values."""
        return Header(self.party, self.kind, self.about, self.shape, self.size)


class Observer(Protocol):
    """Watches a federation: engine, channel and adversary report what each party sees, at once.

    Values are the tensors in use, which may change in place: an observer that keeps them clones.
    """

    def observe(self, observation: Observation) -> None:
        """Takes one observation."""


class _Unwatched:
    """Lets every observation go, so that a run holds no vector longer than it needs it."""

    def observe(self, observation: Observation) -> None: ...


UNWATCHED: Observer = _Unwatched()


class ChannelClient(Protocol):
    """The client's side of a channel; a state machine without I/O."""

    def receive(self, request: bytes) -> bytes | View | None:
        """Returns the reply; None means: train, then submit; a View: the sum was opened here.

        Raises:
            ProtocolError: the request is refused.
        """

    def check_model(self, round: int, name: bytes) -> None:
        """Raises ProtocolError unless an update of this round and this model was asked for."""

    def submit(self, update: ClientUpdate) -> Packet:
        """Returns the message that carries this round's update, once a round.

        Raises:
            ProtocolError: nothing was asked for, or the update does not fit.
        """


class ChannelServer(Protocol):
    """The server's side of a channel; a state machine without I/O."""

    def begin(
        self, round: int, cohort: Sequence[int], model_hash: bytes, observer: Observer = UNWATCHED
    ) -> None:
        """Starts a round, and forgets the last one.

        Args:
            round: its number.
            cohort: the invited clients.
            model_hash: names the model to train on; empty where `apart.ServerSide` names it later.
            observer: receives the observations of server and network until the next round.
        """

    def requests(self) -> Mapping[int, bytes]:
        """Returns this stage's request to each client."""

    def absorb(self, client: int, message: Packet) -> bool:
        """Takes one reply; False, and nothing has changed, if it was dropped."""

    def close_stage(self) -> View | None:
        """Ends the stage; returns the View if it opened here.

        Raises:
            RoundAbandoned: too few clients are left.
        """


@dataclass(frozen=True)
class Plan:
    """The public constants from which every channel is built.

    Args:
        session: 16 bytes that name the session.
        d: coordinates of an update.
        clients: ids of all clients.
        cohort: clients invited to a round.
        rounds: number of rounds, numbered from 0.
        min_cohort: fewest updates that make a round.
        weights: public weight of each client; None where clients report theirs.
        max_weight: the largest weight that a client may carry.
        stream_for: purpose, client, round -> keystream.
        config: digest of everything else that is agreed on.
        missing: clients that do not answer the session's set-up, if the channel has one.
        noise: what the clients add in shares to each sum; None where they add nothing.
        noise_at_opening: whether opened sums get noise, so that no client may make them jump.
    """

    session: bytes
    d: int
    clients: tuple[int, ...]
    cohort: int
    rounds: int
    min_cohort: int
    weights: Mapping[int, int] | None
    max_weight: int
    stream_for: StreamFor
    config: bytes = b""
    missing: frozenset[int] = frozenset()
    noise: NoiseShares | None = None
    noise_at_opening: bool = False


@dataclass(frozen=True)
class Sides:
    """A channel ready for its first round.

    Args:
        server: the server's side.
        clients: each client's side.
        left_out: the clients that the set-up lost, and why.
        first_name: names the model of the first round; empty where models go by the hash of their
            weights.
    """

    server: ChannelServer
    clients: Mapping[int, ChannelClient]
    left_out: Mapping[int, str] = field(default_factory=dict)
    first_name: bytes = b""


@dataclass(frozen=True)
class Kind:
    """A channel as the rest of the toolkit knows it: how it is built, and its observations.

    A new channel defines one next to its code, and the catalog lists it by name.

    Attributes:
        sides: plan and options -> both sides; raises ValueError where they do not fit.
        terms: plan and options -> the constants that clients agree on, checked without a set-up.
        describe: terms and size of a cohort -> the end of the sentence "the server sees ...".
        threats: party -> what it learns, in words.
        sees: "server", "network" or "client" -> the kinds of its Observations.
        stages: requests and replies of a round.
        trains_in: the stage in which clients train and send their updates, from 1.
        fewest: terms, size of a cohort -> fewest updates of a sum; by default min_cohort.
        rows: size of a cohort -> rows that a rule gets.
        min_cohort: options -> fewest updates of a round where the scenario names none.
        options: keys of the table [channel] that it takes, with their defaults.
        set_up: whether a session begins with a set-up, which a client can miss.
        exact: whether a round that is played again gives the same bytes.
        lossy: whether coordinates are clipped and lose precision.
        keyed: whether clients hold a key that opens every update.
        bounds_weights: whether a weight that a client reports must be at most max_weight.
        shows_reported_weights: whether the server learns a reported weight and sees no update.
        release: terms -> the cost of one sum under shares of noise; None where it carries none.
        grid: terms -> how much further apart rounding may move a coordinate of two sums.
    """

    sides: Callable[..., Sides]
    terms: Callable[..., object]
    describe: Callable[[Any, int], str]
    threats: Mapping[str, str]
    sees: Mapping[str, tuple[Seen, ...]]
    stages: int
    rows: Callable[[int], int]
    min_cohort: Callable[..., int]
    trains_in: int = 1
    fewest: Callable[[Any, int], int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    set_up: bool = False
    exact: bool = True
    lossy: bool = False
    keyed: bool = False
    bounds_weights: bool = False
    shows_reported_weights: bool = False
    release: Callable[[Any], PrivacyEvent] | None = None
    grid: Callable[[Any], float] = lambda terms: 0.0

    @property
    def server_holds_model(self) -> bool:
        """Whether the server sees the global models."""
        return Seen.GLOBAL_MODEL in self.sees["server"]

    @property
    def shows_every_update(self) -> bool:
        """Whether a rule gets one row a client, and no sum."""
        return self.rows(2) == 2
