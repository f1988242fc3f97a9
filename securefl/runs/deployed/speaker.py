"""What a site's client says: it takes the parts of envelopes, and answers requests."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from securefl.channels.apart import Apart, ClientSetUp, Membership
from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import View
from securefl.errors import ProtocolError, RunFolderError
from securefl.federation.client import Client
from securefl.files import write_atomic
from securefl.runs.deployed.approval import Approvals
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.envelope import COUNTS_LANE, Kind, Part
from securefl.scenario import catalog
from securefl.scenario.assemble.evaluation import CountingParts
from securefl.scenario.assemble.site import SiteParts


class Speaker:
    """Hands the parts of an envelope to a site's client, and to the set-up before there is one.

    Args:
        parts: of the site.
        member: its place in the session.
        permit: called with the round before each training; raises where the site forbids it.
        counting: speaks for the counts, in a lane and a session of their own; None without.
        charter: whose approvals begin a session; without one, a session has begun.
        terms: session -> the file of the terms that its set-up ended with, for a site that is
            restarted. None keeps them in memory.

    Raises:
        ProtocolError: the file is damaged, or of another set-up.
    """

    def __init__(
        self,
        parts: SiteParts | CountingParts,
        member: Membership,
        permit: Callable[[int], None],
        counting: "Speaker | None" = None,
        *,
        charter: Charter | None = None,
        terms: Callable[[int], Path] | None = None,
    ) -> None:
        self._member = member
        self._permit = permit
        self._counting = counting
        self._charter = charter
        self._terms = terms
        self._session = 0 if charter is None else -1
        self._parts = parts
        self._apart: Apart = catalog.APART[parts.public.scenario.channel.kind]
        self._set_up: ClientSetUp | None = None
        self._client: Client | None = None
        # Under a charter, the coordinator names the session first: one of an earlier epoch, whose
        # terms are kept here, may have had other sites.
        if charter is None:
            self._begin(parts)

    def _begin(self, parts: SiteParts | CountingParts) -> None:
        """Forgets the secrets of an earlier session."""
        self._parts = parts
        self._set_up = None
        self._client = None
        set_up = self._apart.set_up
        kept = self._terms_of_session
        if set_up is None:
            self._join(None)
        elif kept is not None and kept.exists():
            # Rounds that it had begun are lost with their secrets. It joins the next one.
            agreed = set_up.resumed(parts.plan, self._member, kept.read_bytes(), **parts.options)
            self._join(agreed)
        else:
            self._set_up = set_up.client(parts.plan, self._member, **parts.options)

    @property
    def _terms_of_session(self) -> Path | None:
        """The file of the present session's terms; None where they are not kept."""
        return None if self._terms is None else self._terms(self._parts.public.session_number)

    def take(self, part: Part) -> bytes | None:
        """Takes one part; returns the answer to a request, None to all else.

        Raises:
            BudgetExceeded: the site's budget does not allow the round.
            ClientFailure: the site cannot take part in the round.
            PolicyRefused: the site's policy forbids the training.
            ProtocolError: the part is refused.
        """
        if part.kind is Kind.SESSION:
            self._begin_session(part)
            return None
        if self._session < 0:
            raise ProtocolError("no session has begun")
        if part.lane == COUNTS_LANE:
            return self._counted(part)
        if part.kind is Kind.SET_UP and self._set_up is not None:
            return self._settle(self._set_up, bytes(part.content))
        if self._client is None:
            raise ProtocolError("the session has no terms yet")
        if part.kind is Kind.CONFIRM:
            self._client.confirm(part.round)
        elif part.kind is Kind.MODEL:
            self._require_first_model(part)
            self.load(bytes(part.content))
            if self._counting is not None:
                self._counting.load(bytes(part.content))
        elif part.kind is Kind.REQUEST:
            return self._answer_of(self._client, bytes(part.content))
        return None

    def _begin_session(self, part: Part) -> None:
        """Begins a session, once all approvals are there; the same one again changes nothing.

        A coordinator that was restarted has lost its half of the rounds in flight. In the next
        session nothing of the last one is answered: its rounds keep their masks.

        Raises:
            ProtocolError: the session is over, or the charter is not approved by all sites.
        """
        if part.round == self._session:
            return
        if part.round < self._session:
            raise ProtocolError(f"session {part.round} is over")
        if self._charter is not None:
            _require_approved(self._charter, part)
        self.restart(part.round)

    def restart(self, session: int) -> None:
        """Begins a session of this number, in the lane of the counts as well."""
        public = replace(self._parts.public, session_number=session)
        self._session = session
        self._begin(replace(self._parts, public=public))
        if self._counting is not None:
            self._counting.restart(session)

    def _require_first_model(self, part: Part) -> None:
        """Raises ProtocolError: the run would start from another model than the charter's."""
        # The model's own round, whatever the part around it says.
        if self._charter is None or ModelMessage.round_of(bytes(part.content)) > 0:
            return
        model = ModelMessage.from_bytes(part.content, d=self._parts.plan.d)
        if f"sha256:{model.name.hex()}" != self._charter.model:
            raise ProtocolError("this is not the first model of the charter")

    def load(self, model: bytes) -> None:
        """Takes the global model of a round, where there is a client for it."""
        if self._client is not None:
            self._client.load(model)

    def _counted(self, part: Part) -> bytes | None:
        """Hands a part to the lane of the counts. Raises ProtocolError: nothing is counted here."""
        if self._counting is None:
            raise ProtocolError("nothing is counted at this site")
        return self._counting.take(replace(part, lane=0))

    def _answer_of(self, client: Client, request: bytes) -> bytes:
        """Returns the client's reply; it pays and trains where the request asks for an update."""
        reply = client.receive(request)
        if isinstance(reply, View):
            raise ProtocolError("a sum was opened at a site")
        if reply is None:
            # The round that is trained, whatever the part around it says.
            self._permit(client.requested_round)
            client.begin()
            return bytes(client.submit(client.train()))
        return reply

    def _settle(self, set_up: ClientSetUp, request: bytes) -> bytes | None:
        """Answers the set-up; the client is there once everyone has agreed."""
        reply = set_up.receive(request)
        if set_up.agreed is not None and self._client is None:
            kept = self._terms_of_session
            if kept is not None and self._apart.set_up is not None:
                write_atomic(kept, self._apart.set_up.kept(set_up.agreed))
            self._join(set_up.agreed)
        return reply

    def _join(self, agreed: object) -> None:
        channel = self._apart.client(self._parts.plan, self._member, agreed)
        self._client = self._parts.joined(channel)


def _require_approved(charter: Charter, part: Part) -> None:
    """Raises ProtocolError: a site has not signed the charter, or its sessions are used up."""
    if part.round >= charter.epoch * charter.sessions:
        raise ProtocolError(f"the charter allows {charter.sessions} sessions an epoch")
    try:
        Approvals.parse(bytes(part.content), "the session").check(charter)
    except RunFolderError as reason:
        raise ProtocolError(str(reason)) from None
