"""What a site's client says: it takes the parts of envelopes, and answers requests."""

from securefl.channels.apart import Apart, ClientSetUp, Membership
from securefl.channels.protocol import View
from securefl.errors import ProtocolError
from securefl.federation.client import Client
from securefl.runs.deployed.envelope import Kind, Part
from securefl.scenario import catalog
from securefl.scenario.assemble.site import SiteParts


class Speaker:
    """Hands the parts of an envelope to a site's client, and to the set-up before there is one.

    Args:
        parts: of the site.
        member: its place in the session.
    """

    def __init__(self, parts: SiteParts, member: Membership) -> None:
        scenario = parts.public.scenario
        self._parts = parts
        self._member = member
        self._plan = parts.public.plan
        self._apart: Apart = catalog.APART[scenario.channel.kind]
        self._set_up: ClientSetUp | None = None
        self._client: Client | None = None
        if self._apart.set_up is None:
            self._join(None)
        else:
            options = scenario.facts.channel_options
            self._set_up = self._apart.set_up.client(self._plan, member, **options)

    def take(self, part: Part) -> bytes | None:
        """Takes one part; returns the answer to a request, None to all else.

        Raises:
            BudgetExceeded: the site's budget does not allow the round.
            ClientFailure: the site cannot take part in the round.
            ProtocolError: the part is refused.
        """
        if part.kind is Kind.SET_UP and self._set_up is not None:
            return self._settle(self._set_up, bytes(part.content))
        if self._client is None:
            raise ProtocolError("the session has no terms yet")
        if part.kind is Kind.CONFIRM:
            self._client.confirm(part.round)
        elif part.kind is Kind.MODEL:
            self._client.load(bytes(part.content))
        elif part.kind is Kind.REQUEST:
            return _answer_of(self._client, bytes(part.content))
        return None

    def _settle(self, set_up: ClientSetUp, request: bytes) -> bytes | None:
        """Answers the set-up; the client is there once everyone has agreed."""
        reply = set_up.receive(request)
        if set_up.agreed is not None and self._client is None:
            self._join(set_up.agreed)
        return reply

    def _join(self, agreed: object) -> None:
        channel = self._apart.client(self._plan, self._member, agreed)
        self._client = self._parts.joined(channel)


def _answer_of(client: Client, request: bytes) -> bytes:
    """Returns the client's reply; it pays and trains where the request asks for an update."""
    reply = client.receive(request)
    if isinstance(reply, View):
        raise ProtocolError("a sum was opened at a site")
    if reply is None:
        client.begin()
        return bytes(client.submit(client.train()))
    return reply
