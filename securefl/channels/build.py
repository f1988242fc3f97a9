"""Both sides of a channel, built from public constants; identities and keys are made anew for every session."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from securefl.channels.ckks.terms import CkksTerms
from securefl.channels.masking.agreement import MAX_BLOCK, Agreement, blocks_for
from securefl.channels.masking.client import MaskedClient
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.keys import Identity
from securefl.channels.masking.server import MaskedServer
from securefl.channels.masking.setup import SECRET_BYTES, SetupClient, SetupServer, hold
from securefl.channels.monotonic import MemoryMonotonic
from securefl.channels.plain import PlainClient, PlainServer
from securefl.rng import StreamFor
from securefl.types import ChannelClient, ChannelServer

SET_UP = "set-up"  # the purpose of the stream that a member of a masked session draws its secret from


@dataclass(frozen=True)
class Plan:
    """What every channel is built from.

    Args:
        session: 16 bytes that name the session.
        d: coordinates of an update.
        clients: ids of all clients.
        cohort: clients invited to a round.
        rounds: how many rounds there are, numbered from 0.
        min_cohort: fewest updates that make a round.
        weights: public weight of each client; None where clients report theirs.
        max_weight: the largest weight a client may carry.
        stream_for: purpose, client, round -> keystream.
        config: digest of everything else that is agreed on.
        missing: clients that do not answer the session's set-up, where the channel has one.
    """

    session: bytes
    d: int
    clients: tuple[int, ...]
    cohort: int
    rounds: int
    min_cohort: int
    weights: Mapping[int, int] | None
    max_weight: int
    stream_for: StreamFor
    config: bytes = b""
    missing: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Sides:
    """A channel ready for its first round; `left_out` are clients that the set-up lost, and why.

    first_name: how messages call the model of the first round; empty where models go by the hash of their weights.
    """

    server: ChannelServer
    clients: Mapping[int, ChannelClient]
    left_out: Mapping[int, str] = field(default_factory=dict)
    first_name: bytes = b""


def plain_sides(plan: Plan) -> Sides:
    """Every update in the clear."""
    server = PlainServer(plan.session, d=plan.d, min_cohort=plan.min_cohort, weights=plan.weights)
    return Sides(server, {client: PlainClient(client, plan.session) for client in plan.clients})


def ckks_sides(plan: Plan, **options: Any) -> Sides:
    """One sum under encryption, opened by the clients. Raises ValueError where terms do not fit.

    The first client makes the key; the others get it here by hand, between hospitals over a way of their own.
    """
    from securefl.channels.ckks.cipher import KeyHolder  # tenseal: for who uses it
    from securefl.channels.ckks.client import CkksClient
    from securefl.channels.ckks.names import first_name
    from securefl.channels.ckks.server import CkksServer

    terms, dealer = ckks_terms(plan, **options), KeyHolder.generate()
    secret = dealer.to_bytes()
    server = CkksServer(terms, key_id=dealer.key_id, public_parameters=dealer.public_parameters())
    clients = {client: CkksClient(client, terms, KeyHolder.from_bytes(secret)) for client in plan.clients}
    return Sides(server, clients, first_name=first_name(plan.session, dealer.key_id))


def ckks_terms(plan: Plan, *, clip: float) -> CkksTerms:
    """The terms of a session. Raises ValueError where they do not fit."""
    return CkksTerms(
        session=plan.session,
        clients=plan.clients,
        d=plan.d,
        clip=clip,
        cohort=plan.cohort,
        min_cohort=plan.min_cohort,
        weights=plan.weights,
        max_weight=plan.max_weight,
    )


def masked_sides(plan: Plan, **options: Any) -> Sides:
    """One sum of masked updates; the session's set-up is held here. Raises ValueError where terms do not fit.

    Keys and round secrets are always the system's; where the members' secrets of the set-up come from is for
    `plan.stream_for` to say.
    """
    server = Identity.generate()
    identities = {client: Identity.generate() for client in plan.clients}
    roster = {client: identity.public for client, identity in identities.items()}
    terms = masked_terms(plan, roster=roster, server=server.public, **options)
    progress = {client: MemoryMonotonic() for client in plan.clients}  # in a deployment, each client's own file

    def member(client: int) -> SetupClient:
        return SetupClient(
            client,
            identities[client],
            terms,
            draw=lambda attempt: plan.stream_for(SET_UP, client, attempt).bytes(SECRET_BYTES),
            monotonic=progress[client],
        )

    setup = SetupServer(server, terms)
    agreed = hold(setup, {client: member(client) for client in plan.clients if client not in plan.missing})

    def side(client: int) -> MaskedClient:
        return MaskedClient(
            client,
            identities[client],
            agreed,
            stream_for=lambda round: plan.stream_for("rounding", client, round),
            monotonic=progress[client],
        )

    return Sides(MaskedServer(server, agreed), {client: side(client) for client in agreed.roster}, setup.left_out)


def masked_terms(
    plan: Plan,
    *,
    ring: int,
    clip: float,
    rounding: Literal["nearest", "stochastic"],
    corrupt: int,
    secrets: Literal["system", "seeded"] = "system",
    roster: Mapping[int, bytes] | None = None,
    server: bytes = b"",
) -> Agreement:
    """The terms of a session before its set-up. Raises ValueError where they do not fit.

    They are the same wherever the secrets of the set-up come from.
    """
    if (smallest := plan.cohort // blocks_for(plan.cohort)) < plan.min_cohort:
        raise ValueError(f"min_cohort {plan.min_cohort} exceeds the {smallest} clients of one sum")
    return Agreement(
        session=plan.session,
        roster=roster or {},
        server=server,
        d=plan.d,
        code=FixedPoint(ring, clip, rounding, most=min(plan.cohort, MAX_BLOCK)),
        corrupt=corrupt,
        cohort=plan.cohort,
        rounds=plan.rounds,
        min_cohort=plan.min_cohort,
        max_weight=plan.max_weight,
        weights=plan.weights,
        config=plan.config,
    )
