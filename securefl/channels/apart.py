"""How a channel is built where its two sides run on different machines.

    apart = APART["masked"]
    set_up = apart.set_up.server(plan, key, roster, **options)  # carried until `agreed` is set
    side = apart.server(plan, key, set_up.agreed)

In a simulation one process builds both sides, from the same functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.channels.monotonic import Monotonic
from securefl.channels.protocol import ChannelClient, ChannelServer, Packet, Plan

Options = Mapping[str, Any]  # of a channel, by name

# The digits of a long integer, lowest first, each a coordinate that float32 holds exactly.
DIGIT_BITS = 16
DIGITS = 8


@dataclass(frozen=True)
class Membership:
    """One client's place in a session.

    Args:
        client: its id.
        key: signs what it sends.
        roster: client -> public key, 32 bytes.
        server: the server's public key.
        monotonic: what this key has answered already.
    """

    client: int
    key: Ed25519PrivateKey = field(repr=False)
    roster: Mapping[int, bytes]
    server: bytes
    monotonic: Monotonic


class ServerSide(ChannelServer, Protocol):
    """The server's side of a round; the model may be named after the round has begun."""

    def train_on(self, model_hash: bytes) -> None:
        """Names the model to train on, before the stage that asks for updates."""


class ServerSetUp(Protocol):
    """The server's side of a session's set-up; a state machine without I/O."""

    @property
    def agreed(self) -> Any | None:
        """The terms that the members agreed on; None before the end."""

    @property
    def left_out(self) -> Mapping[int, str]:
        """The clients that the set-up lost, and why."""

    def requests(self) -> Mapping[int, bytes]:
        """Returns this stage's request to each member."""

    def absorb(self, client: int, message: Packet) -> bool:
        """Takes one reply; False, and nothing has changed, if it was dropped."""

    def close_stage(self) -> Any | None:
        """Ends the stage. Raises RoundAbandoned: too few members are left."""


class ClientSetUp(Protocol):
    """A member's side of a session's set-up."""

    @property
    def agreed(self) -> Any | None:
        """The terms that the members agreed on; None before the end."""

    def receive(self, request: bytes) -> bytes | None:
        """Returns the reply; None where none is needed. Raises ProtocolError."""


@dataclass(frozen=True)
class SetUp:
    """The set-up of a channel's session.

    Attributes:
        server: plan, key, roster and options -> the server's side.
        client: plan, membership and options -> a member's side.
        kept: agreed terms -> what a member keeps of them, nothing secret.
        resumed: plan, membership, what was kept, and options -> the agreed terms, for a member that
            was restarted; raises ProtocolError unless its set-up ended with them.
    """

    server: Callable[..., ServerSetUp]
    client: Callable[..., ClientSetUp]
    kept: Callable[[Any], bytes]
    resumed: Callable[..., Any]


@dataclass(frozen=True)
class Apart:
    """Both sides of a channel, each by itself.

    Attributes:
        server: plan, key and agreed terms -> the server's side of one round.
        client: plan, membership and agreed terms -> a client's side of all rounds.
        set_up: of a session; None where it begins without one, and nothing is agreed.
        integers: plan and options -> the options under which whole numbers travel as they are.
        long_integers: plan and options -> the options under which every DIGITS coordinates are the
            digits of an integer, and a channel that adds shows the digits of the sum alone.
        opening: first stages of a round that need no model. They may be played together with the
            last ones of the round before, by a server's side of their own.
    """

    server: Callable[..., ServerSide]
    client: Callable[..., ChannelClient]
    set_up: SetUp | None = None
    integers: Callable[[Plan, Options], Options] = lambda plan, options: options
    long_integers: Callable[[Plan, Options], Options] = lambda plan, options: options
    opening: int = 0
