"""The beacon: one random number that the members draw together, by commitment and reveal.

As long as one member draws at random and nobody can choose a secret after seeing the others', the
beacon is random, too (Blum, "Coin flipping by telephone", 1981).
"""

import hashlib
import struct
from dataclasses import replace

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.setup_messages import SECRET_BYTES, SetupReply
from securefl.channels.masking.statement import digest_of_clients
from securefl.channels.masking.wire import Named, Table, pack_table
from securefl.errors import ProtocolError


def commitment_to(secret: bytes, *, session: bytes, attempt: int, client: int) -> bytes:
    """Returns 32 bytes that fix a member's secret of one attempt without revealing it."""
    label = b"securefl masking 1, set-up commitment"
    ids = struct.pack("<II", attempt, client)
    return hashlib.sha256(label + session + ids + secret).digest()


def digest_of(commitments: Table) -> bytes:
    """Returns SHA-256 of all commitments; members that were shown different ones notice by it."""
    return hashlib.sha256(pack_table(commitments)).digest()


def opened_secret(
    reply: SetupReply, client: int, committed: bytes, request: Named, *, digest: bytes
) -> bytes:
    """Returns the secret of a valid reveal.

    Args:
        reply: the reveal, its signature verified.
        client: the member that signed it.
        committed: the commitment of this member.
        request: any message of the current session and attempt.
        digest: of all commitments, as they arrived here.

    Raises:
        ProtocolError: it is of another attempt, the member saw other commitments, or the secret is
            not the one that it committed to.
    """
    secret = reply.content[:SECRET_BYTES]
    signed_digest = reply.content[SECRET_BYTES:]
    session, attempt = request.session, request.round
    if (reply.session, reply.round, reply.sender) != (session, attempt, client):
        raise ProtocolError(
            f"the reveal of client {client} is of another session, attempt or sender"
        )
    if signed_digest != digest:
        raise ProtocolError(f"client {client} saw other commitments")
    if commitment_to(secret, session=session, attempt=attempt, client=client) != committed:
        raise ProtocolError(f"client {client} reveals something else than it committed to")
    return secret


def with_beacon(terms: Agreement, attempt: int, secrets: Table) -> Agreement:
    """Returns the terms among the members that revealed, with the number that they drew."""
    members = tuple(sorted(secrets))
    label = b"securefl masking 1, beacon"
    # Groups decide what a rule makes of a round. So seeded secrets must deal the same ones again in
    # another run, which is another session. Fresh secrets give another number in any case.
    session = terms.session if terms.groups is None else b""
    drawn = hashlib.sha256(label + session + struct.pack("<I", attempt))
    drawn.update(digest_of_clients(members))
    for client in members:
        drawn.update(secrets[client])
    roster = {client: terms.roster[client] for client in members}
    return replace(terms, roster=roster, beacon=drawn.digest())
