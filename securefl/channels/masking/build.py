"""Both sides of the masked channel from public constants, and what each party observes."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.channels.apart import Apart, Membership, Options, SetUp
from securefl.channels.kind import Kind
from securefl.channels.masking.agreement import MAX_BLOCK, MIN_HONEST, Agreement, blocks_for
from securefl.channels.masking.block import STAGES, UPLOAD_STAGE
from securefl.channels.masking.client import MaskedClient
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.keys import Identity
from securefl.channels.masking.lots import range_words, smallest_and_largest
from securefl.channels.masking.reading import RoundReader, SetupReader
from securefl.channels.masking.rounds import MaskedRounds
from securefl.channels.masking.server import MaskedServer
from securefl.channels.masking.setup import SetupClient, SetupServer, hold
from securefl.channels.masking.setup_messages import SECRET_BYTES
from securefl.channels.masking.sights import CHOICE_SEES, CHOICE_THREATS, SEES, THREATS
from securefl.channels.masking.sketches.context import fewest_answers, fewest_chosen
from securefl.channels.masking.sketches.lying import LyingClient
from securefl.channels.masking.sketches.reading import SketchReader
from securefl.channels.masking.sketches.selecting import SelectingServer
from securefl.channels.masking.sketches.sketching import SketchingClient
from securefl.channels.masking.terms import masked_terms
from securefl.channels.monotonic import MemoryMonotonic
from securefl.channels.protocol import SET_UP, Plan, Sides
from securefl.errors import ProtocolError
from securefl.privacy.events import PrivacyEvent

_NOT_AGREED = "these are not the terms that this session's set-up ended with"


def masked_sides(plan: Plan, **options: Any) -> Sides:
    """Returns both sides of a channel with one sum of masked updates, after the session's set-up.

    Keys and round secrets always come from the system's CSPRNG. `plan.stream_for` decides whether
    the members' secrets of the set-up do, too.

    Raises:
        ValueError: the terms do not fit.
    """
    server = Identity.generate()
    keys = {client: Ed25519PrivateKey.generate() for client in plan.clients}
    roster = {client: Identity(key).public for client, key in keys.items()}
    terms = masked_terms(plan, roster=roster, server=server.public, **options)
    # In a deployment each client keeps its own file, and shares none of these.
    members = {
        client: Membership(client, key, roster, server.public, MemoryMonotonic())
        for client, key in keys.items()
    }
    setup_reader = SetupReader()
    reader = _reader(plan, terms)

    setup = SetupServer(server, terms)
    present = [client for client in plan.clients if client not in plan.missing]
    agreed = hold(
        setup,
        {client: _setup_client(plan, members[client], terms, setup_reader) for client in present},
    )
    return Sides(
        _server(plan, server, agreed),
        {client: _client(plan, members[client], agreed, reader) for client in agreed.roster},
        setup.left_out,
    )


def _setup_client(
    plan: Plan, member: Membership, terms: Agreement, reader: SetupReader
) -> SetupClient:
    return SetupClient(
        member.client,
        Identity(member.key),
        terms,
        draw=lambda attempt: plan.stream_for(SET_UP, member.client, attempt).bytes(SECRET_BYTES),
        monotonic=member.monotonic,
        reader=reader,
    )


def _client(
    plan: Plan, member: Membership, agreed: Agreement, reader: RoundReader, beside: int = -1
) -> MaskedClient:
    return _kind_of_client(plan, member.client, agreed)(
        member.client,
        Identity(member.key),
        agreed,
        stream_for=lambda round: plan.stream_for("rounding", member.client, round),
        monotonic=member.monotonic,
        reader=reader,
        beside=beside,
        share_stream_for=lambda round: plan.stream_for("shares", member.client, round),
    )


def _kind_of_client(plan: Plan, client: int, agreed: Agreement) -> Callable[..., MaskedClient]:
    """Returns the class of a client; in simulation some of them lie about their sketches."""
    if agreed.sketching is None:
        return MaskedClient
    lies = {} if plan.selection is None else plan.selection.lies
    if client in lies:
        return partial(LyingClient, lie=lies[client], liars=lies)
    return SketchingClient


def _server(plan: Plan, identity: Identity, agreed: Agreement) -> MaskedServer:
    if agreed.sketching is None:
        return MaskedServer(identity, agreed)
    if plan.selection is None:
        raise ValueError("these terms choose clients by their sketches, and no rule was given")
    return SelectingServer(identity, agreed, plan.selection)


def _reader(plan: Plan, terms: Agreement) -> RoundReader:
    """Returns what reads the server's requests."""
    return RoundReader(blocks_for(plan.cohort)) if terms.sketching is None else SketchReader()


def _client_apart(plan: Plan, member: Membership, agreed: Agreement) -> MaskedRounds:
    reader = _reader(plan, agreed)

    def client(beside: int) -> MaskedClient:
        return _client(plan, member, agreed, reader, beside)

    return MaskedRounds(client, agreed, reader)


def _setup_server_apart(
    plan: Plan, key: Ed25519PrivateKey, roster: Mapping[int, bytes], **options: Any
) -> SetupServer:
    server = Identity(key)
    return SetupServer(server, masked_terms(plan, roster=roster, server=server.public, **options))


def _setup_client_apart(plan: Plan, member: Membership, **options: Any) -> SetupClient:
    terms = masked_terms(plan, roster=member.roster, server=member.server, **options)
    return _setup_client(plan, member, terms, SetupReader())


def _kept(agreed: Agreement) -> bytes:
    """Returns what the set-up added to the terms: who its members are, and what they drew."""
    return json.dumps({"members": list(agreed.roster), "beacon": agreed.beacon.hex()}).encode()


def _resumed(plan: Plan, member: Membership, kept: bytes, **options: Any) -> Agreement:
    terms = masked_terms(plan, roster=member.roster, server=member.server, **options)
    try:
        content = json.loads(kept)
        roster = {client: terms.roster[client] for client in content["members"]}
        agreed = replace(terms, roster=roster, beacon=bytes.fromhex(content["beacon"]))
    except (ValueError, KeyError, TypeError):
        raise ProtocolError(_NOT_AGREED) from None
    # What is kept may be edited or old. The record of answers says what was agreed on.
    if member.monotonic.last(plan.session).outcome != agreed.digest:
        raise ProtocolError(_NOT_AGREED)
    return agreed


def _integers(plan: Plan, options: Options) -> Options:
    """Returns options whose clip equals its levels, so that a step is 1 and rounding does nothing.

    Words have 32 bits: whole numbers up to 2^24 leave room for a block of 128.
    """
    most = min(plan.cohort, MAX_BLOCK)
    levels = FixedPoint(32, 1.0, "nearest", most=most).levels
    plain = {**_in_one_sum(options), "ring": 32}
    return {**plain, "clip": float(levels), "rounding": "nearest"}


def _long_integers(plan: Plan, options: Options) -> Options:
    """Returns options under which eight coordinates are the digits of one integer, and carry."""
    return {**_in_one_sum(options), "long": True}


def _in_one_sum(options: Options) -> Options:
    """Returns the options of one sum over all clients: nobody groups or chooses counts."""
    of_rules = ("groups", "regroup", "sketch")
    return {key: value for key, value in options.items() if key not in of_rules}


MASKED_APART = Apart(
    server=lambda plan, key, agreed: _server(plan, Identity(key), agreed),
    client=_client_apart,
    set_up=SetUp(
        server=_setup_server_apart,
        client=_setup_client_apart,
        kept=_kept,
        resumed=_resumed,
    ),
    integers=_integers,
    long_integers=_long_integers,
    opening=2,
)


def _fewest(terms: Agreement, cohort: int) -> int:
    """Returns how many updates all sums of a cohort need together."""
    blocks = blocks_for(cohort, terms.groups)
    fewest = blocks * terms.fewest(cohort // blocks)
    return fewest if terms.sketching is None else max(fewest, fewest_answers(terms))


def _described(terms: Agreement, cohort: int) -> str:
    """Says how a cohort is divided into sums, how many may drop out, and what precision costs."""
    blocks = blocks_for(cohort, terms.groups)
    smallest, largest = smallest_and_largest(cohort, blocks)
    divided = f"{blocks} blocks of up to {largest}" if blocks > 1 else f"one sum of {largest}"
    each = ""
    if terms.groups is not None:
        # What a group can spare is least in the smallest one.
        each, largest = " of a group", smallest
        divided = f"{blocks} sums of {range_words(cohort, blocks)} clients, each a row of the rule"
    return (
        f"; {divided}, threshold {terms.threshold(largest)} against {terms.corrupt} corrupt, "
        f"{_drop_outs(terms, largest, each)}"
        f"{_precision(terms)}"
        f"{_noise(terms, largest)}"
    )


def _drop_outs(terms: Agreement, clients: int, each: str) -> str:
    """Says how many may drop out; a choice of clients needs more of them, and says so itself."""
    if terms.sketching is not None:
        return ""
    return f"{clients - terms.fewest(clients)}{each} may drop out; "


def _precision(terms: Agreement) -> str:
    """Says what rounding and clipping cost."""
    if terms.noise is None:
        return f"coordinates clipped at {terms.code.clip:g}, resolution {terms.code.step:.2g}"
    turned = ", rotated" if terms.rotates else ""
    return (
        f"updates clipped to norm {terms.noise.length:g}{turned}, resolution {terms.code.step:.2g}"
    )


def _noise(terms: Agreement, clients: int) -> str:
    """Says how many shares of noise count, and how much more there is if nobody drops out."""
    noise = terms.noise
    if noise is None:
        return ""
    more = math.sqrt(clients / noise.honest)
    return (
        f"; the noise is sized for {noise.honest} honest shares of {clients}, "
        f"and {more:.2f} times as large with everybody present"
    )


def _release(terms: Agreement) -> PrivacyEvent:
    """Returns the cost of one sum. Raises ValueError: the terms have no noise."""
    if terms.noise is None:
        raise ValueError("a masked sum without shares of noise has no cost that bounds anything")
    return terms.noise.event


MASKED = Kind(
    masked_sides,
    terms=masked_terms,
    describe=_described,
    threats=THREATS,
    sees=SEES,
    least_chosen=fewest_chosen,
    choice_threats=CHOICE_THREATS,
    choice_sees=CHOICE_SEES,
    stages=lambda **options: 8 if options.get("sketch") else STAGES,
    trains_in=UPLOAD_STAGE,
    fewest=_fewest,
    rows=lambda cohort, **options: options.get("groups") or 1,
    options={
        "ring": 32,
        "clip": 4.0,
        "rounding": "stochastic",
        "corrupt": 1,
        "secrets": "system",
        "groups": None,
        "regroup": None,
        "sketch": None,
    },
    min_cohort=lambda *, corrupt, **options: corrupt + MIN_HONEST,
    set_up=True,
    lossy=True,
    bounds_weights=True,
    shows_reported_weights=True,
    release=_release,
    grid=lambda terms: terms.code.step,
)
