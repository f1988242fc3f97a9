"""The memory of a client between the stages of a round that chooses the clients of its sum."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from securefl.channels.masking.round_state import SUBMITTED, RoundState
from securefl.channels.masking.sketches.dealing import Shares

# How far a client got, after it submitted.
DEALT, ACCEPTED, MEASURED, AGREED, OPENED, BLAMED, SHOWN = range(SUBMITTED + 1, SUBMITTED + 8)


@dataclass(frozen=True)
class SketchState(RoundState):
    """Everything that a client holds of one round.

    Its encoded words are as long as its update, and are kept until it dealt their sketch.

    After stage 8 it forgets its private keys. Until the next invitation it keeps what the stages 9
    and 10 need, because a client does not learn whether they follow: the keys of its pair masks
    with other chosen clients, if it was chosen itself; keys for the boxes of stage 9; and its
    shares of the chosen clients' sketches. Somebody who breaks into c + 1 clients in that time
    learns these sketches, and so a projection of each chosen update, of k coordinates.

    Args:
        promise: SHA-256 of the nonce that the server has to show.
        upload: digest of this client's masked words.
        words: (m,), its update in fixed point, before any mask; None once it is dealt.
        pair_keys: client -> key of the mask between both; from stage 8 to 9 those of the chosen.
        keys_to: client -> key of the box for it in stage 9.
        keys_from: chosen client -> key of its box in stage 9.
        nonce: of the server, which the matrix depends on.
        digests: client -> digest of its masked words, of all clients that uploaded.
        context: digest of what a dealing is about.
        pair_context: the same of a dealing of pair sketches.
        public: the signed part of this client's own dealing.
        own_sketch: the shares of its dealing for itself.
        dealings: digest of all dealings.
        dealers: the clients that dealt.
        accepted: dealer -> the shares of it that this client accepted.
        pair_public: the signed part of this client's dealing of pair sketches.
        own_pairs: the shares of that dealing for itself.
    """

    promise: bytes = b""
    upload: bytes = b""
    words: NDArray[Any] | None = field(default=None, repr=False, compare=False)
    pair_keys: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    keys_to: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    keys_from: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    nonce: bytes = b""
    digests: Mapping[int, bytes] = field(default_factory=dict)
    context: bytes = b""
    pair_context: bytes = b""
    public: bytes = b""
    own_sketch: bytes = field(default=b"", repr=False)
    dealings: bytes = b""
    dealers: tuple[int, ...] = ()
    accepted: Mapping[int, Shares] = field(default_factory=dict, repr=False)
    pair_public: bytes = b""
    own_pairs: bytes = field(default=b"", repr=False)

    @property
    def uploaders(self) -> tuple[int, ...]:
        """The clients whose masked updates arrived, ascending."""
        return tuple(self.digests)
