"""Session set-up: the members draw a beacon together, which deals large cohorts into blocks.

So the server cannot pick the clients that a client is summed with. Nobody may drop out: the set-up
begins again without a missing member, and records it.

A member that withholds its reveal after seeing the others' can so reject one outcome, at the price
of its place in the session. A server that calls members missing rejects one outcome for each of
them, and every remaining member sees who is gone.

`setup_messages` holds the messages, `beacon` the computation.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.beacon import commitment_to, digest_of, opened_secret, with_beacon
from securefl.channels.masking.keys import Identity, open_signed
from securefl.channels.masking.reading import OpenedTable, SetupReader
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
        reader: reads the server's requests; members of one process may share it.
    """

    def __init__(
        self,
        client: int,
        identity: Identity,
        agreement: Agreement,
        *,
        draw: Callable[[int], bytes],
        monotonic: Monotonic,
        reader: SetupReader | None = None,
    ) -> None:
        self._client = client
        self._identity = identity
        self._terms = agreement
        self._draw = draw
        self._monotonic = monotonic
        self._reader = reader or SetupReader()
        self._attempt = -1
        self._step = _OVER
        self._secret = b""
        # The tables of this attempt: its members, then their commitments.
        self._invited: OpenedTable | None = None
        self._committed: OpenedTable | None = None
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
        opened = self._reader.opened(request, self._terms)
        if opened.message.session != self._terms.session:
            raise ProtocolError("the request belongs to another session")
        if opened.digest in self._replies:
            return self._replies[opened.digest]
        if opened.message.step == _COMMIT:
            commitment = self._commit(opened)
            self._replies = {opened.digest: commitment}
            return commitment
        reply = self._go_on(opened)
        self._replies = {**self._replies, opened.digest: reply}
        return reply

    def _commit(self, opened: OpenedTable) -> bytes:
        """Step 0: draws a secret for this attempt, and fixes it by its hash."""
        attempt = opened.message.round
        before = self._monotonic.last(self._terms.session)
        self._check_attempt(opened, before)
        secret = self._draw(attempt)
        members = len(opened.message.table)
        self._note(before._replace(attempt=attempt, step=_REVEAL, members=members))
        self._invited = opened
        self._attempt = attempt
        self._step = _REVEAL
        self._secret = secret
        return self._signed(self._commitment())

    def _check_attempt(self, opened: OpenedTable, before: Progress) -> None:
        """Raises ProtocolError unless this member may take part in the attempt.

        A server that could repeat an attempt with the same members could choose among outcomes.
        So each attempt after the first has to lose members.
        """
        if before.outcome:
            raise ProtocolError("this session's set-up is over")
        members = opened.message.table
        is_repeated = before.attempt >= 0 and len(members) >= before.members
        is_newer = opened.message.round > before.attempt
        is_within = self._reader.is_within(opened, self._invited, self._terms)
        if not is_newer or not is_within or is_repeated:
            raise ProtocolError(
                "an attempt is newer than the last, and each but the first loses members"
            )
        if self._client not in members or len(members) < self._terms.least_members():
            raise ProtocolError("the set-up leaves this client out, or too few members")

    def _go_on(self, opened: OpenedTable) -> bytes | None:
        """Returns the reply to a step after the first."""
        message = opened.message
        if self._invited is None or (message.round, message.step) != (self._attempt, self._step):
            raise ProtocolError("a step of the set-up is out of order")
        if opened.members != self._invited.members:
            raise ProtocolError("the set-up goes on with other members")
        if message.step == _REVEAL:
            return self._reveal(opened)
        self._finish(opened)
        return None

    def _reveal(self, opened: OpenedTable) -> bytes:
        """Step 1: reveals the secret, signed together with the digest of all commitments."""
        if opened.message.table[self._client] != self._commitment():
            raise ProtocolError("the commitments do not hold this client's own")
        before = self._monotonic.last(self._terms.session)
        self._note(before._replace(attempt=self._attempt, step=_FINISH))
        self._committed = opened
        self._step = _FINISH
        return self._signed(self._secret + opened.digest_of_table)

    def _finish(self, opened: OpenedTable) -> None:
        """Step 2: checks that each reveal opens its commitment and saw the same commitments."""
        if self._committed is None:
            raise ProtocolError("a step of the set-up is out of order")
        agreed = self._reader.agreed(opened, self._committed, self._terms)
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
        # Ascending, as a dict: every reply is looked up in it.
        self._members: Table = dict.fromkeys(agreement.roster, b"")
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
        tables = (self._members, self._commitments, self._signed_reveals)
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
        gone = set(missing)
        self._members = {client: b"" for client in self._members if client not in gone}
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
