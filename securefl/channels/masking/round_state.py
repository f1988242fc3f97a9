"""What a client of the masked channel holds between the stages of one round."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from securefl.channels.masking.replies import Advertisement
from securefl.channels.masking.round_secrets import RoundSecrets
from securefl.channels.masking.wire import Table

READY, SUBMITTED, REVEALED = 3, 4, 6


@dataclass(frozen=True)
class RoundState:
    """What a client holds between the stages of one round.

    `stage`: 1 advertised, 2 shared, 3 ready to train, 4 submitted, 5 consented. After the sixth, in
    which it reveals shares, nothing is held any more.
    """

    round: int
    block: tuple[int, ...]
    secrets: RoundSecrets
    own: Advertisement
    signed: bytes  # the advertisement as it was sent
    server_key: bytes
    stage: int = 1
    peers: Mapping[int, Advertisement] = field(
        default_factory=dict
    )  # U1 of the paper, itself included
    advertisements: Table = field(default_factory=dict)  # the same as they were signed
    own_shares: bytes = field(default=b"", repr=False)
    sealed: Table = field(default_factory=dict)  # from U2 without itself
    model_hash: bytes = b""
    survivors: tuple[int, ...] = ()  # U3
    statement: bytes = b""

    @property
    def sharing(self) -> tuple[int, ...]:
        """U2: the clients between which masks are laid."""
        return tuple(sorted((self.own.sender, *self.sealed)))
