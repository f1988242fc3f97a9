"""The memory of a masked client between the stages of one round."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from securefl.channels.masking.replies import Advertisement
from securefl.channels.masking.round_secrets import RoundSecrets
from securefl.channels.masking.wire import Table

# How far a client got in a round. READY lies between a request and its answer: the client trains.
ADVERTISED, SHARED, READY, SUBMITTED, CONSENTED, REVEALED = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class RoundState:
    """Everything that a client holds of one round; nothing is left of it after REVEALED.

    U1, U2 and U3 are the client sets of Bonawitz et al., CCS 2017, figure 4.

    Args:
        round: its number.
        block: the clients invited into this client's sum, itself included, ascending.
        secrets: this client's keys and seed of the round.
        own: this client's advertisement.
        signed: the same as bytes, with its signature, as it was sent.
        server_key: the server's public key of the round.
        stage: the last stage that was answered.
        peers: U1, the clients that advertised keys, itself included.
        advertisements: the same as bytes, with their signatures.
        own_shares: the two shares that this client dealt to itself.
        sealed: the shares that the other clients of U2 sealed for this one, by sender.
        model_hash: names the model to train on.
        survivors: U3, the clients whose masked inputs are in the sum.
        statement: the digest that this client signed.
    """

    round: int
    block: tuple[int, ...]
    secrets: RoundSecrets
    own: Advertisement
    signed: bytes
    server_key: bytes
    stage: int = ADVERTISED
    peers: Mapping[int, Advertisement] = field(default_factory=dict)
    advertisements: Table = field(default_factory=dict)
    own_shares: bytes = field(default=b"", repr=False)
    sealed: Table = field(default_factory=dict)
    model_hash: bytes = b""
    survivors: tuple[int, ...] = ()
    statement: bytes = b""

    @property
    def sharing(self) -> tuple[int, ...]:
        """U2: the clients between which pair masks are laid."""
        return tuple(sorted((self.own.sender, *self.sealed)))
