"""The protocol of every channel: its values, its two sides, and what they are built from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
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
    # Of a masked round in which a rule chooses the clients of the sum by their sketches.
    SKETCH_SHARES = "sealed shares of sketches"
    ACCEPTANCES = "signed acceptances of dealings"
    DISTANCE_SHARES = "shares of squared distances"
    DISTANCES = "squared distances between updates"
    CHOSEN_CLIENTS = "clients chosen for the sum"
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
        left_out: clients whose updates arrived, and that the channel's own rule did not choose.
        named: client -> the reason for which the channel lets it take no further part in the run.
        paired: clients of which one is at fault in this round.
    """

    rows: Tensor
    weights: Tensor
    members: tuple[tuple[int, ...], ...]
    model_name: bytes = b""
    left_out: tuple[int, ...] = ()
    named: Mapping[int, str] = field(default_factory=dict)
    paired: tuple[tuple[int, int], ...] = ()

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

    Values are the tensors in use, not copies, and may be modified in place after the call. An
    observer that keeps them clones them.
    """

    def observe(self, observation: Observation) -> None:
        """Takes one observation."""


class _Unwatched:
    """Lets every observation go, so that a run holds no vector longer than it needs it."""

    def observe(self, observation: Observation) -> None:
        """Forgets it."""


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


# Squared distances (m, m) between updates, and how many of them may be corrupt -> weights (m,).
Choose = Callable[[NDArray[np.float64], int], NDArray[np.float64]]


@dataclass(frozen=True)
class Lie:
    """How a simulated client lies about the sketch of its update.

    Args:
        factor: it deals its sketch times this.
        hide: whether it puts the difference into the mask that it shares with one other client.
    """

    factor: float
    hide: bool = False


@dataclass(frozen=True)
class Selection:
    """What a masked channel needs in order to choose the clients of its sum.

    Args:
        choose: of a rule that goes by distances.
        liars: clients that may lie about their updates, f.
        fewest: liars that are left -> the fewest clients that the rule can choose from.
        lies: client -> how it lies, in simulation.
    """

    choose: Choose
    liars: int
    fewest: Callable[[int], int]
    lies: Mapping[int, Lie] = field(default_factory=dict)


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
        selection: by which rule the channel itself chooses clients; None where it chooses none.
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
    selection: Selection | None = None


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
