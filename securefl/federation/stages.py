"""One stage of a round: the channel's requests go out, the clients' replies come back.

for asked in drawn_ahead(requests, federation.ahead):   # several clients train meanwhile
    settle(federation, asked, stage, log)               # one after another, in their order
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from securefl.channels.protocol import ChannelServer, ClientUpdate, Packet, Seen, View
from securefl.errors import SecureflError
from securefl.federation.log import RoundLog
from securefl.federation.values import Federation, Reply


@dataclass
class Stage:
    """Updates that wait for the end of a stage, and the view if a client opened one.

    Attributes:
        corrupt: honest updates of corrupt clients, which submit after everybody else.
        honest: updates of the other clients, kept for an omniscient adversary only.
        view: the view that a client opened; None while there is none.
        late: clients whose updates will be discarded: no adversary counts on their rows.
    """

    corrupt: dict[int, ClientUpdate] = field(default_factory=dict)
    honest: dict[int, ClientUpdate] = field(default_factory=dict)
    view: View | None = None
    late: Collection[int] = ()


@dataclass(frozen=True)
class Asked:
    """A client that was sent its request.

    Attributes:
        client: its id.
        reply: its reply; None while it trains.
        failure: why it neither replied nor began to train; None if it did.
    """

    client: int
    reply: Reply = None
    failure: SecureflError | None = None

    @property
    def works(self) -> bool:
        """Whether the client trains."""
        return self.reply is None and self.failure is None


def play_stage(federation: Federation, round: int, log: RoundLog) -> View | None:
    """Carries one stage's requests and replies, and closes it. Raises RoundAbandoned."""
    stage = Stage(late=federation.late_in(round))
    log.answered.clear()
    requests = (
        ask(federation, client, request, log)
        for client, request in federation.server.requests().items()
        if client not in log.absent
    )
    for asked in drawn_ahead(requests, federation.ahead):
        settle(federation, asked, stage, log)
    attack(federation, round, stage, log)
    return federation.server.close_stage() or stage.view


def drawn_ahead(requests: Iterable[Asked], size: int) -> Iterator[Asked]:
    """Yields clients in their order, while up to `size` of them work or wait to submit.

    Before the end of a stage it is always as many: a reply or a failure in between does not count.
    So it does not decide which clients train together.
    """
    waiting: deque[Asked] = deque()
    working = 0
    for asked in requests:
        waiting.append(asked)
        working += asked.works
        while waiting and (working >= size or not waiting[0].works):
            first = waiting.popleft()
            working -= first.works
            yield first
    yield from waiting


def ask(federation: Federation, client: int, request: bytes, log: RoundLog) -> Asked:
    """Sends one request to one client, which replies at once or begins to train."""
    participant = federation.clients[client]
    log.bytes_down += len(request)
    try:
        reply = participant.receive(request)
        if reply is None:
            participant.begin()
    except SecureflError as failure:
        # Noted when its turn comes: a record must not depend on how many clients train at once.
        return Asked(client, failure=failure)
    return Asked(client, reply)


def settle(federation: Federation, asked: Asked, stage: Stage, log: RoundLog) -> None:
    """Brings back a client's reply, or its update once it is trained."""
    client, adversary = asked.client, federation.adversary
    with log.excused(client):
        if asked.failure is not None:
            raise asked.failure
        if isinstance(asked.reply, View):
            stage.view = asked.reply
            log.tell_opened(client, asked.reply)
        elif asked.reply is not None:
            deliver(federation.server, client, asked.reply, log)
        elif client in adversary.clients and client not in stage.late:
            stage.corrupt[client] = federation.clients[client].train()
        else:
            update = federation.clients[client].train()
            submit(federation, client, update, log)
            if adversary.omniscient and client in log.answered:
                stage.honest[client] = update


def attack(federation: Federation, round: int, stage: Stage, log: RoundLog) -> None:
    """Submits the corrupt clients' updates as the adversary rewrites them; it moves last."""
    if not stage.corrupt:
        return
    rewritten = federation.adversary.rewrite(stage.corrupt, stage.honest, round=round, observer=log)
    log.push = rewritten.push
    for client, update in rewritten.updates.items():
        with log.excused(client):
            submit(federation, client, update, log)


def submit(federation: Federation, client: int, update: ClientUpdate, log: RoundLog) -> None:
    """Passes an update through its client's side of the channel to the server."""
    log.tell(f"client {client}", Seen.OWN_UPDATE, (client,), update.delta)
    deliver(federation.server, client, federation.clients[client].submit(update), log)


def deliver(server: ChannelServer, client: int, message: Packet, log: RoundLog) -> None:
    """Hands one reply to the server; a client with no accepted reply in this stage is absent."""
    log.bytes_up += len(message)
    # Anybody may send a forged packet: it must not exclude the client whose reply was accepted.
    if server.absorb(client, message):
        log.answered.add(client)
        log.absent.pop(client, None)
        return
    log.rejected += 1
    if client not in log.answered:
        log.absent[client] = "its message was dropped: malformed, foreign or late"
