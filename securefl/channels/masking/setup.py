"""Session set-up: the members draw a beacon together, which deals large cohorts into blocks.

So the server cannot pick the clients that a client is summed with. Nobody may drop out: the set-up
begins again without a missing member, and records it.

A member that withholds its reveal after seeing the others' can so reject one outcome, at the price
of its place in the session. A server that calls members missing rejects one outcome for each of
them, and every remaining member sees who is gone.

`setup_messages` holds the messages, `beacon` the computation.
"""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.beacon import commitment_to, digest_of, opened_secret, with_beacon
from securefl.channels.masking.keys import Identity, open_signed
from securefl.channels.masking.setup_messages import REVEAL_BYTES, SetupReply, SetupTable
from securefl.channels.masking.wire import Table
from securefl.channels.messages import HASH_BYTES
from securefl.channels.monotonic import Monotonic, Progress
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError, RoundAbandoned

# The steps of an attempt. A client notes the next step that it will answer, not the last one.
_COMMIT, _REVEAL, _FINISH, _OVER = 0, 1, 2, 3


class SetupClient:
    """One member's side.

    A member that was restarted has forgotten its secret. It takes no part in an attempt that it
    had begun, nor in any attempt once the set-up has ended.

    Args:
        client: its id.
        identity: its signing key.
        agreement: the terms of the session, its beacon still empty.
        draw: attempt -> 32 random bytes.
        monotonic: what this identity has answered already, in this session and in others.
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
        self._client = client
        self._identity = identity
        self._terms = agreement
        self._draw = draw
        self._monotonic = monotonic
        self._members = tuple(agreement.roster)
        self._attempt = -1
        self._step = _OVER
        self._secret = b""
        self._commitments: Table = {}
        # Digest of each request that was answered in this attempt -> its answer.
        self._replies: Mapping[bytes, bytes | None] = {}
        self.agreed: Agreement | None = None

    def receive(self, request: bytes) -> bytes | None:
        """Returns the reply to the next step; None once `agreed` is set.

        The same request gets the same reply.

        Raises:
            ProtocolError: malformed, forged, foreign or out of order, or a reveal that does not
                open its commitment.
        """
        body = open_signed(request, self._terms.server, terms=self._terms.digest)
        message = SetupTable.from_bytes(body, most=len(self._terms.roster))
        if message.session != self._terms.session:
            raise ProtocolError("the request belongs to another session")
        digest = hashlib.sha256(request).digest()
        if digest in self._replies:
            return self._replies[digest]
        if message.step == _COMMIT:
            commitment = self._commit(message)
            self._replies = {digest: commitment}
            return commitment
        reply = self._go_on(message)
        self._replies = {**self._replies, digest: reply}
        return reply

    def _commit(self, message: SetupTable) -> bytes:
        """Step 0: draws a secret for this attempt, and fixes it by its hash."""
        members = tuple(message.table)
        before = self._monotonic.last(self._terms.session)
        self._check_attempt(message.round, members, before)
        secret = self._draw(message.round)
        self._note(before._replace(attempt=message.round, step=_REVEAL, members=len(members)))
        self._members = members
        self._attempt = message.round
        self._step = _REVEAL
        self._secret = secret
        return self._signed(self._commitment())

    def _check_attempt(self, attempt: int, members: tuple[int, ...], before: Progress) -> None:
        """Raises ProtocolError unless this member may take part in the attempt.

        A server that could repeat an attempt with the same members could choose among outcomes.
        So each attempt after the first has to lose members.
        """
        if before.outcome:
            raise ProtocolError("this session's set-up is over")
        is_repeated = before.attempt >= 0 and len(members) >= before.members
        is_newer = attempt > before.attempt
        if not is_newer or not set(members) <= set(self._members) or is_repeated:
            raise ProtocolError(
                "an attempt is newer than the last, and each but the first loses members"
            )
        if self._client not in members or len(members) < self._terms.least_members():
            raise ProtocolError("the set-up leaves this client out, or too few members")

    def _go_on(self, message: SetupTable) -> bytes | None:
        """Returns the reply to a step after the first."""
        if (message.round, message.step) != (self._attempt, self._step):
            raise ProtocolError("a step of the set-up is out of order")
        if tuple(message.table) != self._members:
            raise ProtocolError("the set-up goes on with other members")
        if message.step == _REVEAL:
            return self._reveal(message)
        self._finish(message)
        return None

    def _reveal(self, message: SetupTable) -> bytes:
        """Step 1: reveals the secret, signed together with the digest of all commitments."""
        if message.table[self._client] != self._commitment():
            raise ProtocolError("the commitments do not hold this client's own")
        before = self._monotonic.last(self._terms.session)
        self._note(before._replace(attempt=self._attempt, step=_FINISH))
        self._commitments = message.table
        self._step = _FINISH
        return self._signed(self._secret + digest_of(message.table))

    def _finish(self, message: SetupTable) -> None:
        """Step 2: checks that each reveal opens its commitment and saw the same commitments."""
        secrets: dict[int, bytes] = {}
        digest = digest_of(self._commitments)
        for client, signed in message.table.items():
            body = open_signed(signed, self._terms.roster[client], terms=self._terms.digest)
            reply = SetupReply.from_bytes(body, content=REVEAL_BYTES)
            committed = self._commitments[client]
            secrets[client] = opened_secret(reply, client, committed, message, digest=digest)
        agreed = with_beacon(self._terms, self._attempt, secrets)
        before = self._monotonic.last(self._terms.session)
        self._note(before._replace(attempt=self._attempt, step=_OVER, outcome=agreed.digest))
        self._step = _OVER
        self.agreed = agreed

    def _commitment(self) -> bytes:
        """Returns this member's own commitment of the current attempt."""
        return commitment_to(
            self._secret,
            session=self._terms.session,
            attempt=self._attempt,
            client=self._client,
        )

    def _note(self, progress: Progress) -> None:
        """Keeps for good that a step is answered; call it before the answer leaves."""
        self._monotonic.advance(self._terms.session, progress)

    def _signed(self, content: bytes) -> bytes:
        message = SetupReply(self._terms.session, self._attempt, self._client, content).to_bytes()
        return message + self._identity.signature(message, terms=self._terms.digest)


class SetupServer:
    """The server's side: passes on commitments, then reveals; begins again without the missing.

    Attributes:
        left_out: each client that was missing, and why.
        agreed: the terms with their beacon, once the set-up has ended.
    """

    def __init__(self, identity: Identity, agreement: Agreement) -> None:
        self._identity = identity
        self._terms = agreement
        self._members = tuple(agreement.roster)
        self._attempt = 0
        self._step = _COMMIT
        self._commitments: dict[int, bytes] = {}
        self._signed_reveals: dict[int, bytes] = {}
        self._secrets: dict[int, bytes] = {}
        self._digest = b""  # of all commitments
        self.left_out: dict[int, str] = {}
        self.agreed: Agreement | None = None

    def requests(self) -> dict[int, bytes]:
        """Returns the same signed table for every member."""
        tables = (dict.fromkeys(self._members, b""), self._commitments, self._signed_reveals)
        table = tables[self._step]
        message = SetupTable(self._terms.session, self._attempt, self._step, table).to_bytes()
        signed = message + self._identity.signature(message, terms=self._terms.digest)
        return dict.fromkeys(self._members, signed)

    def absorb(self, client: int, message: Packet) -> bool:
        """Takes one reply.

        Returns:
            False, and nothing has changed, if it is malformed, forged, foreign or a second one.
        """
        # At the last step every member counts as heard: nothing more is taken.
        answered = (self._commitments, self._signed_reveals, self._members)[self._step]
        if client not in self._members or client in answered:
            return False
        try:
            return self._absorb(client, message)
        except ProtocolError:
            return False

    def _absorb(self, client: int, message: Packet) -> bool:
        """Takes a reply of a member that has not answered this step. Raises ProtocolError."""
        body = open_signed(message, self._terms.roster[client], terms=self._terms.digest)
        content = HASH_BYTES if self._step == _COMMIT else REVEAL_BYTES
        reply = SetupReply.from_bytes(body, content=content)
        place = (self._terms.session, self._attempt, client)
        if (reply.session, reply.round, reply.sender) != place:
            return False
        if self._step == _COMMIT:
            self._commitments[client] = reply.content
        else:
            committed = self._commitments[client]
            secret = opened_secret(reply, client, committed, reply, digest=self._digest)
            self._secrets[client] = secret
            self._signed_reveals[client] = bytes(message)
        return True

    def close_stage(self) -> Agreement | None:
        """Goes on to the next step, or begins again without the missing; the agreement at the end.

        Raises:
            RoundAbandoned: too few members are left.
        """
        if self._step == _FINISH:
            self.agreed = with_beacon(self._terms, self._attempt, self._secrets)
            return self.agreed
        answered = self._commitments if self._step == _COMMIT else self._signed_reveals
        missing = [client for client in self._members if client not in answered]
        if missing:
            self._begin_again(missing)
        else:
            self._step += 1
            self._digest = digest_of(self._commitments)
        return None

    def _begin_again(self, missing: list[int]) -> None:
        """Starts the next attempt without the missing. Raises RoundAbandoned: too few are left."""
        answer = "commitment" if self._step == _COMMIT else "reveal"
        for client in missing:
            self.left_out[client] = f"no {answer} in attempt {self._attempt}"
        self._members = tuple(client for client in self._members if client not in missing)
        self._commitments = {}
        self._signed_reveals = {}
        self._secrets = {}
        self._attempt += 1
        self._step = _COMMIT
        least = self._terms.least_members()
        if len(self._members) < least:
            raise RoundAbandoned(
                f"{len(self._members)} members are left after the set-up's drop-outs, "
                f"it takes {least}"
            )


def hold(server: SetupServer, clients: Mapping[int, SetupClient]) -> Agreement:
    """Carries the set-up's messages in this process until everyone has agreed.

    Returns:
        The terms with their beacon.

    Raises:
        RoundAbandoned: too few members are left.
    """
    agreed: Agreement | None = None
    while agreed is None:
        for client, request in server.requests().items():
            if client not in clients:
                continue
            with suppress(ProtocolError):  # a member that refuses counts as missing
                reply = clients[client].receive(request)
                if reply is not None:
                    server.absorb(client, reply)
        agreed = server.close_stage()
    return agreed
