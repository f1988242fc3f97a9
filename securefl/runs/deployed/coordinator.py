"""The coordinator: it plays the rounds with sites that other processes speak for.

It has the model, the rule, the step and the run folder, and no record of any site.
"""

from contextlib import suppress
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl import vector
from securefl.channels.apart import ServerSetUp
from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import ClientUpdate, Packet
from securefl.errors import BudgetExceeded, ClientFailure, RunFailed
from securefl.federation.values import State, UnderWay
from securefl.runs.cell import Cell, CellState
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.envelope import Kind, Part
from securefl.runs.play import kept_rounds
from securefl.scenario import catalog
from securefl.scenario.assemble.assemble import federation_of
from securefl.scenario.assemble.public import ServerParts

_BY_ITSELF = "a site pays, trains and submits by itself"


class RemoteSite:
    """A participant whose client is in another process.

    Its ledger stays there, and so does the head of it.

    Args:
        site: its number.
        desk: carries requests and replies.
    """

    ledger_head = None

    def __init__(self, site: int, desk: Desk) -> None:
        self._site = site
        self._desk = desk
        self._round = 0

    def load(self, message: bytes) -> None:
        """Sends the global model with the round's first request."""
        self._round = ModelMessage.round_of(message)
        self._desk.enclose(self._site, Part(Kind.MODEL, self._round, message))

    def receive(self, request: bytes) -> UnderWay:
        """Sends the request together with those of the other sites; the reply is under way."""
        self._desk.request(self._site, Part(Kind.REQUEST, self._round, request))
        return UnderWay(partial(self._arrived, self._round))

    def _arrived(self, round: int) -> bytes:
        """Returns the site's reply. Raises ClientFailure or BudgetExceeded without one."""
        part = self._desk.collect(self._site)
        if part.kind is Kind.OUT_OF_BUDGET:
            raise BudgetExceeded(f"round {round} does not fit the budget of its site")
        if part.kind is not Kind.ANSWER:
            raise ClientFailure("its site declined")
        return part.content

    def begin(self) -> None:
        """Raises RunFailed: the site has begun when its request arrived."""
        raise RunFailed(_BY_ITSELF)

    def train(self) -> ClientUpdate:
        """Raises RunFailed: no update leaves the site except through its channel."""
        raise RunFailed(_BY_ITSELF)

    def submit(self, update: ClientUpdate) -> Packet:
        """Raises RunFailed: see `train`."""
        raise RunFailed(_BY_ITSELF)

    def confirm(self, round: int) -> None:
        """Sends the confirmation with the site's next request."""
        self._desk.enclose(self._site, Part(Kind.CONFIRM, round))


def coordinate(parts: ServerParts, desk: Desk, key: Ed25519PrivateKey, cell: Cell) -> State:
    """Plays all rounds, keeps them in the cell, and returns the last state.

    Raises:
        BudgetExceeded: too few sites may still spend; the last good model is kept.
        RoundAbandoned: the set-up lost too many sites.
        RunFailed: no site remains, or all rounds were abandoned.
    """
    apart = catalog.APART[parts.scenario.channel.kind]
    agreed: object = None
    sites = set(range(parts.scenario.clients))
    if apart.set_up is not None:
        options = parts.scenario.facts.channel_options
        set_up = apart.set_up.server(parts.plan, key, desk.keys, **options)
        agreed = agree(set_up, desk)
        sites -= set(set_up.left_out)
    federation = federation_of(
        parts,
        {site: RemoteSite(site, desk) for site in sorted(sites)},
        apart.server(parts.plan, key, agreed),
        layout=vector.layout(parts.model),
        # All requests of a stage are sealed before the first reply is waited for.
        ahead=len(sites),
    )
    state = State(vector.to_vector(parts.model))
    shapes = vector.shapes(parts.model)
    rounds = parts.scenario.rounds
    for played in kept_rounds(cell, federation, state, rounds=rounds, shapes=shapes):
        state = played.state
    if all(record.abandoned for record in cell.rounds()):
        raise RunFailed(f"all {rounds} rounds were abandoned; the model is the initial one")
    cell.keep_model(state, shapes)
    cell.finish(CellState.DONE)
    return state


def agree(set_up: ServerSetUp, desk: Desk) -> object:
    """Carries a session's set-up and returns the agreed terms. Raises RoundAbandoned."""
    while set_up.agreed is None:
        requests = set_up.requests()
        for site, request in requests.items():
            desk.request(site, Part(Kind.SET_UP, content=request))
        for site in requests:
            with suppress(ClientFailure):  # a member without an answer counts as missing
                part = desk.collect(site)
                if part.kind is Kind.ANSWER:
                    set_up.absorb(site, part.content)
        set_up.close_stage()
    return set_up.agreed
