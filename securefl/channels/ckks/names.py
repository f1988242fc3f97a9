"""Names of models about which the server must not learn anything.

A client checks by its name that it trains on the requested model, and the server carries the name.
A hash of the weights, salted or not, would tell a server that sends crafted sums whether two opened
models are equal; it could decrypt updates bit by bit.

A name is therefore a hash of facts that the server knows already: the session, and the encrypted
sums that were opened since, whatever they hold.
"""

import hashlib
import struct

from securefl.channels.protocol import Packet

_FIRST = b"securefl ckks 1, first model"
_NEXT = b"securefl ckks 1, next model"


def first_name(session: bytes, key_id: bytes) -> bytes:
    """Returns 32 bytes that name the model with which a session under this key begins."""
    return hashlib.sha256(_FIRST + session + key_id).digest()


def next_name(name: bytes, round: int, opened: Packet) -> bytes:
    """Returns 32 bytes that name the model after the sum of a round was opened.

    Args:
        name: of the model before.
        round: in which the sum was opened.
        opened: the message that carried the encrypted sum.
    """
    number = struct.pack("<I", round)
    message_hash = hashlib.sha256(opened).digest()
    return hashlib.sha256(_NEXT + name + number + message_hash).digest()
