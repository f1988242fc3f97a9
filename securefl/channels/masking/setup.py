"""Session set-up: the members draw one random number together, which nobody could choose (commit, then reveal).

It deals large cohorts into blocks, so that the server cannot pick whom a client is summed with. Nobody may drop out: a
member that is missing restarts the set-up without it, and is recorded. Who withholds its reveal after seeing the
others' may so reject one outcome, at the price of its place in the session; a server that calls members missing rejects
one outcome for each of them, and every member left sees who is gone.
"""

import hashlib
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import ClassVar

from securefl.channels.masking.agreement import Agreement, digest_of_clients
from securefl.channels.masking.keys import SIGNATURE_BYTES, Identity, open_signed
from securefl.channels.masking.wire import ID, Named, Table, pack_table, unpack_tables
from securefl.channels.messages import HASH_BYTES, HEAD_BYTES, unpack_head
from securefl.channels.monotonic import Monotonic, Progress
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError, RoundAbandoned

SECRET_BYTES = 32


@dataclass(frozen=True)
class SetupTable(Named):
    """Server to members; the round in its head is the attempt. Three kinds: members, commitments, signed reveals."""

    KIND: ClassVar[int] = 32
    ENTRIES: ClassVar[tuple[int, ...]] = (
        0,
        HASH_BYTES,
        HEAD_BYTES + ID.size + 64 + SIGNATURE_BYTES,
    )

    step: int
    table: Table

    def to_bytes(self) -> bytes:
        """Head, step and table."""
        return self.head + ID.pack(self.step) + pack_table(self.table)

    @classmethod
    def from_bytes(cls, data: Packet, *, most: int) -> "SetupTable":
        """Parse a table of at most `most` members. Raises ProtocolError."""
        session, attempt, body = unpack_head(
            data, kind=cls.KIND, length=max(len(data), HEAD_BYTES + ID.size)
        )
        if (step := ID.unpack_from(body)[0]) >= len(cls.ENTRIES):
            raise ProtocolError(f"a message of the set-up has no step {step}")
        tables = unpack_tables(
            body[ID.size :], kind=cls.KIND, entries=(cls.ENTRIES[step],), most=most
        )
        return cls(session, attempt, step, *tables)


@dataclass(frozen=True)
class SetupReply(Named):
    """Member to server: its commitment, or its secret and the digest of all commitments."""

    KIND: ClassVar[int] = 33

    sender: int
    content: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """Head, sender and content."""
        return self.head + ID.pack(self.sender) + self.content

    @classmethod
    def from_bytes(cls, data: Packet, *, content: int) -> "SetupReply":
        """Parse a reply of `content` bytes. Raises ProtocolError."""
        session, attempt, body = unpack_head(
            data, kind=cls.KIND, length=HEAD_BYTES + ID.size + content
        )
        return cls(session, attempt, ID.unpack_from(body)[0], bytes(body[ID.size :]))


class SetupClient:
    """One member's side.

    Args:
        client: its id.
        identity: its signing key.
        agreement: the terms of the session, its beacon still empty.
        draw: attempt -> 32 random bytes.
        monotonic: what this identity has answered so far, in this session and in others.

    A member that was restarted has forgotten its secret: it takes no part in an attempt that it had begun, nor in any
    once the set-up has ended.
    """

    def __init__(
        self,
        client: int,
        identity: Identity,
        agreement: Agreement,
        *,
        draw: Callable[[int], bytes],
        monotonic: Monotonic,
    ) -> None:
        self._client, self._identity, self._terms, self._draw = client, identity, agreement, draw
        self._monotonic = monotonic
        self._members = tuple(agreement.roster)
        self._attempt, self._step = -1, 3
        self._secret = b""
        self._commitments: Table = {}
        self._replies: Mapping[
            bytes, bytes | None
        ] = {}  # digest of a request of this attempt -> its answer
        self.agreed: Agreement | None = None

    def receive(self, request: bytes) -> bytes | None:
        """The reply to the next step; None once `agreed` is set. The same request gets the same reply.

        Raises:
            ProtocolError: malformed, forged, foreign or out of order, or a reveal that does not open its commitment.
        """
        told = SetupTable.from_bytes(
            open_signed(request, self._terms.server, terms=self._terms.digest),
            most=len(self._terms.roster),
        )
        if told.session != self._terms.session:
            raise ProtocolError("the request belongs to another session")
        digest = hashlib.sha256(request).digest()
        if digest in self._replies:
            return self._replies[digest]
        if told.step == 0:
            reply: bytes | None = self._commit(told)
            self._replies = {digest: reply}
        else:
            reply = self._go_on(told)
            self._replies = {**self._replies, digest: reply}
        return reply

    def _go_on(self, told: SetupTable) -> bytes | None:
        """The reply to a step after the first."""
        if (told.round, told.step) != (self._attempt, self._step):
            raise ProtocolError("a step of the set-up is out of order")
        if tuple(told.table) != self._members:
            raise ProtocolError("the set-up goes on with other members")
        if told.step == 1:
            return self._reveal(told)
        self._finish(told)
        return None

    def _commit(self, told: SetupTable) -> bytes:
        """Step 1: a secret of this attempt, fixed by its hash."""
        members, before = tuple(told.table), self._monotonic.last(self._terms.session)
        if before.outcome:
            raise ProtocolError("this session's set-up is over")
        again = (
            before.attempt >= 0
        )  # a server that could repeat an attempt with the same members could choose
        if (
            told.round <= before.attempt
            or not set(members) <= set(self._members)
            or (again and len(members) >= before.members)
        ):
            raise ProtocolError(
                "an attempt is newer than the last, and each but the first loses members"
            )
        if self._client not in members or len(members) < self._terms.least_members():
            raise ProtocolError("the set-up leaves this client out, or too few members")
        secret = self._draw(told.round)
        self._note(before._replace(attempt=told.round, step=1, members=len(members)))
        self._members, self._attempt, self._step, self._secret = members, told.round, 1, secret
        return self._signed(_commitment(self._terms.session, told.round, self._client, secret))

    def _reveal(self, told: SetupTable) -> bytes:
        """Step 2: the secret, signed together with all commitments."""
        own = _commitment(self._terms.session, self._attempt, self._client, self._secret)
        if told.table[self._client] != own:
            raise ProtocolError("the commitments do not hold this client's own")
        self._note(
            self._monotonic.last(self._terms.session)._replace(attempt=self._attempt, step=2)
        )
        self._commitments, self._step = told.table, 2
        return self._signed(self._secret + _digest(told.table))

    def _finish(self, told: SetupTable) -> None:
        """Step 3: every reveal opens its commitment, and everyone saw the same commitments."""
        secrets, seen = {}, _digest(self._commitments)
        for client, signed in told.table.items():
            body = open_signed(signed, self._terms.roster[client], terms=self._terms.digest)
            reply = SetupReply.from_bytes(body, content=SECRET_BYTES + HASH_BYTES)
            secrets[client] = opened_secret(
                reply, client, self._commitments[client], told, seen=seen
            )
        agreed = with_beacon(self._terms, self._attempt, secrets)
        before = self._monotonic.last(self._terms.session)
        self._note(before._replace(attempt=self._attempt, step=3, outcome=agreed.digest))
        self._step, self.agreed = 3, agreed

    def _note(self, progress: Progress) -> None:
        """Keep for good what is answered, before the answer leaves."""
        self._monotonic.advance(self._terms.session, progress)

    def _signed(self, content: bytes) -> bytes:
        message = SetupReply(self._terms.session, self._attempt, self._client, content).to_bytes()
        return message + self._identity.signature(message, terms=self._terms.digest)


class SetupServer:
    """The server's side: passes on commitments, then reveals; begins again without who is missing.

    `left_out` records them: client -> why.
    """

    def __init__(self, identity: Identity, agreement: Agreement) -> None:
        self._identity, self._terms = identity, agreement
        self._members = tuple(agreement.roster)
        self._attempt, self._step = 0, 0
        self._commitments: dict[int, bytes] = {}
        self._signed_reveals: dict[int, bytes] = {}
        self._secrets: dict[int, bytes] = {}
        self._seen = b""  # digest of all commitments
        self.left_out: dict[int, str] = {}
        self.agreed: Agreement | None = None

    def requests(self) -> dict[int, bytes]:
        """The same signed table for every member."""
        table = (dict.fromkeys(self._members, b""), self._commitments, self._signed_reveals)[
            self._step
        ]
        message = SetupTable(self._terms.session, self._attempt, self._step, table).to_bytes()
        return dict.fromkeys(
            self._members, message + self._identity.signature(message, terms=self._terms.digest)
        )

    def absorb(self, client: int, message: Packet) -> bool:
        """Take one reply; False (and nothing changed) if it is malformed, forged, foreign or a second one."""
        taken = (self._commitments, self._signed_reveals, self._members)[self._step]
        if client not in self._members or client in taken:
            return False
        try:
            body = open_signed(message, self._terms.roster[client], terms=self._terms.digest)
            reply = SetupReply.from_bytes(
                body, content=(HASH_BYTES, SECRET_BYTES + HASH_BYTES)[self._step]
            )
            if (reply.session, reply.round, reply.sender) != (
                self._terms.session,
                self._attempt,
                client,
            ):
                return False
            if self._step == 0:
                self._commitments[client] = reply.content
            else:
                self._secrets[client] = opened_secret(
                    reply, client, self._commitments[client], reply, seen=self._seen
                )
                self._signed_reveals[client] = bytes(message)
        except ProtocolError:
            return False
        return True

    def close_stage(self) -> Agreement | None:
        """Go on to the next step, or begin again without the missing; the agreement at the end.

        Raises:
            RoundAbandoned: too few members are left.
        """
        if self._step == 2:
            self.agreed = with_beacon(self._terms, self._attempt, self._secrets)
            return self.agreed
        came = (self._commitments, self._signed_reveals)[self._step]
        if missing := [client for client in self._members if client not in came]:
            what = ("commitment", "reveal")[self._step]
            self.left_out |= {client: f"no {what} in attempt {self._attempt}" for client in missing}
            self._members = tuple(client for client in self._members if client in came)
            self._commitments, self._signed_reveals, self._secrets = {}, {}, {}
            self._attempt, self._step = self._attempt + 1, 0
            if (left := len(self._members)) < (least := self._terms.least_members()):
                raise RoundAbandoned(
                    f"{left} members are left after the set-up's drop-outs, it takes {least}"
                )
        else:
            self._step, self._seen = self._step + 1, _digest(self._commitments)
        return None


def hold(server: SetupServer, clients: Mapping[int, SetupClient]) -> Agreement:
    """Carry the set-up's messages in this process until everyone agreed; the terms with their beacon.

    Raises:
        RoundAbandoned: too few members are left.
    """
    agreed: Agreement | None = None
    while agreed is None:
        for client, request in server.requests().items():
            with suppress(ProtocolError):  # who refuses is missing, and left out
                if client in clients and (reply := clients[client].receive(request)) is not None:
                    server.absorb(client, reply)
        agreed = server.close_stage()
    return agreed


def opened_secret(
    reply: SetupReply, client: int, committed: bytes, told: Named, *, seen: bytes
) -> bytes:
    """The secret of a reveal that fits the commitment and names all that was seen here. Raises ProtocolError."""
    secret, digest = reply.content[:SECRET_BYTES], reply.content[SECRET_BYTES:]
    if (reply.session, reply.round, reply.sender) != (told.session, told.round, client):
        raise ProtocolError(
            f"the reveal of client {client} is of another session, attempt or sender"
        )
    if digest != seen:
        raise ProtocolError(f"client {client} saw other commitments")
    if _commitment(told.session, told.round, client, secret) != committed:
        raise ProtocolError(f"client {client} reveals something else than it committed to")
    return secret


def with_beacon(terms: Agreement, attempt: int, secrets: Table) -> Agreement:
    """The terms among those who revealed, and the number they drew."""
    members = tuple(sorted(secrets))
    drawn = hashlib.sha256(
        b"securefl masking 1, beacon" + terms.session + struct.pack("<I", attempt)
    )
    drawn.update(digest_of_clients(members) + b"".join(secrets[client] for client in members))
    roster = {client: terms.roster[client] for client in members}
    return replace(terms, roster=roster, beacon=drawn.digest())


def _commitment(session: bytes, attempt: int, client: int, secret: bytes) -> bytes:
    label = b"securefl masking 1, set-up commitment"
    return hashlib.sha256(label + session + struct.pack("<II", attempt, client) + secret).digest()


def _digest(commitments: Table) -> bytes:
    return hashlib.sha256(pack_table(commitments)).digest()
