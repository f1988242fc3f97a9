"""Digests of the facts of a round about which a server could tell clients different stories."""

import hashlib
import struct
from collections.abc import Iterable


def digest_of_clients(clients: tuple[int, ...]) -> bytes:
    """Returns SHA-256 of a list of ids."""
    ids = b"".join(struct.pack("<I", client) for client in clients)
    return hashlib.sha256(ids).digest()


def statement_of(
    advertisements: Iterable[bytes],
    *,
    sharing: tuple[int, ...],
    survivors: tuple[int, ...],
    model_hash: bytes,
) -> bytes:
    """Returns the digest that survivors sign in the consistency round.

    It covers every fact about which a server could tell clients different stories: all keys, the
    clients that shared, the clients whose updates are in the sum, and the model.

    Args:
        advertisements: the signed advertisements of all clients that answered, ascending by client.
        sharing: clients between which masks were laid, ascending.
        survivors: clients whose masked inputs are in the sum, ascending.
        model_hash: 32 bytes, of the model that was trained on.

    Source: Bonawitz et al., CCS 2017, figure 4, round 3, extended by keys and model.
    """
    keys = hashlib.sha256(b"".join(advertisements)).digest()
    sets = digest_of_clients(sharing) + digest_of_clients(survivors)
    return hashlib.sha256(b"securefl masking 1, statement" + keys + sets + model_hash).digest()
