"""What a malicious server, network or client can do to a masked round: nothing, or stop it.

The malicious server here holds the server's real signing key, so that every request it makes up is correctly signed.

Mutants killed, client: session, round, recipient, repeated request, each stage's order or the last round not checked;
state kept after an illegal request or after the reveal; strangers in the cohort, the key table, the delivery or the
survivors let through, too few of them; its own keys, shares or update not looked for; a key twice; another block,
sender or round of a peer's keys; another model; a second upload; consents of the dropped, fewer than t or t over the
survivors alone, or of another statement; both shares or the wrong one of the two revealed; one too few clients taken.
Server: shares missing or too many; another statement; session, round or sender not compared; another block, one key
for two uses, somebody else's key, a sealing key of low order; seeds of the dropped, keys of survivors, shares beyond
the field; a secret that does not fit its commitment or public key; a share less than the threshold; a second message.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from securefl.channels.masking import shamir
from securefl.channels.masking.agreement import Agreement, digest_of_clients
from securefl.channels.masking.client import MaskedClient
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.keys import Identity, RoundKey, open_signed, seal, tag
from securefl.channels.masking.replies import (
    Advertisement,
    Consent,
    MaskedInput,
    RevealedShares,
    SealedShares,
)
from securefl.channels.masking.requests import (
    Addressed,
    Invitation,
    KeyTable,
    ShareDelivery,
    SurvivorList,
    UnmaskRequest,
)
from securefl.channels.masking.round_secrets import (
    RoundSecrets,
    _route,
    pair_mask_key,
    self_mask_key,
)
from securefl.channels.masking.server import MaskedServer
from securefl.channels.masking.setup_messages import SetupReply
from securefl.channels.masking.stream import add_masks
from securefl.channels.monotonic import MemoryMonotonic
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError, RoundAbandoned
from securefl.rng import system_keystream
from tests.channels.masking.parties import (
    HASH,
    SESSION,
    Session,
    agreement,
    identity,
    make_client,
    update,
)
from tests.paths import VECTORS

PUBLISHED = json.loads((VECTORS / "rfc7748.json").read_text())
SERVER_KEY = RoundKey(bytes(range(32))).public  # of a round's uploads
LOW_ORDER = [point["u"] for point in PUBLISHED["low_order"]]


def signed(message: Any, terms: Agreement, signer: Identity | None = None) -> bytes:
    """A message as its signer (the server by default) would send it."""
    body: bytes = message.to_bytes()
    return body + (signer or identity(-1)).signature(body, terms=terms.digest)


def opened(packet: Packet, sender: int, terms: Agreement) -> memoryview:
    return open_signed(packet, identity(sender).public, terms=terms.digest)


@dataclass
class Puppets:
    """Honest clients in the hands of a server that says what it likes."""

    session: Session
    round: int = 0

    @property
    def terms(self) -> Agreement:
        return self.session.terms

    def say(self, client: int, message: Any) -> Packet:
        """Send one request, addressed to this client; its reply."""
        if isinstance(message, Addressed):
            message = replace(message, recipient=client)
        return self.session.answer(client, signed(message, self.terms))

    def invite(self, cohort: Sequence[int]) -> dict[int, bytes]:
        """Advertisements of everyone in the cohort."""
        self.session.updates = {
            client: update(client, self.terms) for client in self.session.clients
        }
        told = Invitation(SESSION, self.round, SERVER_KEY, tuple(cohort))
        return {client: bytes(self.say(client, told)) for client in cohort}

    def share(self, keys: Mapping[int, bytes]) -> dict[int, Mapping[int, bytes]]:
        """Sealed shares of everyone in the key table: sender -> recipient -> box."""
        table = KeyTable(SESSION, self.round, 0, keys)
        replies = {client: self.say(client, table) for client in keys}
        most = len(keys)
        bodies = {client: opened(reply, client, self.terms) for client, reply in replies.items()}
        return {
            client: SealedShares.from_bytes(body, most=most).sealed
            for client, body in bodies.items()
        }

    def upload(self, boxes: Mapping[int, Mapping[int, bytes]]) -> dict[int, bytes]:
        """Masked inputs of everyone who shared."""
        return {client: bytes(self.say(client, self.delivery(client, boxes))) for client in boxes}

    def delivery(
        self, client: int, boxes: Mapping[int, Mapping[int, bytes]], model: bytes = HASH
    ) -> ShareDelivery:
        return ShareDelivery(
            SESSION, self.round, client, model, {c: boxes[c][client] for c in boxes if c != client}
        )

    def consent(self, client: int, survivors: Sequence[int]) -> bytes:
        return bytes(self.say(client, SurvivorList(SESSION, self.round, 0, tuple(survivors))))

    def reveal(self, client: int, consents: Mapping[int, bytes]) -> RevealedShares:
        reply = self.say(client, UnmaskRequest(SESSION, self.round, 0, consents))
        return RevealedShares.from_bytes(opened(reply, client, self.terms), most=200)


def puppets(
    n: int = 5, *, upto: int = 3, **changes: Any
) -> tuple[Puppets, dict[int, Mapping[int, bytes]]]:
    """Clients that answered the stages 1 to `upto`, and the boxes between them."""
    hands = Puppets(Session(agreement(n, **changes)))
    keys = hands.invite(range(n))
    boxes = hands.share(keys) if upto > 1 else {}
    if upto > 2:
        hands.upload(boxes)
    return hands, boxes


def is_erased(hands: Puppets, client: int) -> bool:
    """Whether nothing more can be asked of the client in this round that it was not asked before."""
    told = [
        KeyTable(SESSION, hands.round, 0, {}),
        ShareDelivery(SESSION, hands.round, client, HASH, {}),
        SurvivorList(SESSION, hands.round, 0, (0,)),
        UnmaskRequest(SESSION, hands.round, 0, {}),
    ]
    for message in told:
        with pytest.raises(ProtocolError, match="is not in progress"):
            hands.say(client, message)
    with pytest.raises(ProtocolError, match="no update was asked for"):
        hands.session.clients[client].submit(hands.session.updates[client])
    return hands.session.clients[client]._state is None


# Who is in the sum


@pytest.mark.parametrize(
    ("survivors", "sentence"),
    [
        ((0, 1, 2), "3 clients are too few for a sum of 5; it takes 4"),
        ((0,), "1 clients are too few"),
        ((1, 2, 3, 4), "left out of the sum"),
        ((0, 1, 2, 9), "clients that were not there before"),
        ((), "left out of the sum"),
    ],
)
def test_an_illegal_survivor_set_is_refused_and_erases_the_round(
    survivors: tuple[int, ...], sentence: str
) -> None:
    hands, _ = puppets()
    with pytest.raises(ProtocolError, match=sentence):
        hands.consent(0, survivors)
    assert is_erased(hands, 0)


@pytest.mark.parametrize("survivors", [(0, 1, 1, 2, 3), (0, 2, 1, 3), (0, 1, 2, 3, 2**31)])
def test_survivors_named_twice_or_out_of_order_are_no_message_and_change_nothing(
    survivors: tuple[int, ...],
) -> None:
    hands, _ = puppets()
    table = struct.pack("<I", len(survivors)) + b"".join(
        struct.pack("<I", client) for client in survivors
    )
    body = SurvivorList(SESSION, 0, 0, ()).head + table
    with pytest.raises(ProtocolError, match="out of order, twice or out of range"):
        hands.session.clients[0].receive(
            body + identity(-1).signature(body, terms=hands.terms.digest)
        )
    assert hands.consent(0, range(5))


def test_survivors_must_have_shared_and_whoever_did_not_share_is_not_masked_with() -> None:
    hands, boxes = puppets(upto=2)
    boxes.pop(4)
    hands.upload(boxes)
    with pytest.raises(ProtocolError, match="clients that were not there before"):
        hands.consent(0, range(5))


def test_of_two_stories_about_the_survivors_at_most_one_gets_shares_however_they_are_told() -> None:
    # Client 4 is corrupt and consents to everything; the other four hear one of two stories, in every division.
    # The threshold is 4: three honest clients and the corrupt one may open theirs, and then nobody opens the other.
    stories = [
        tuple(range(5)),
        (0, 1, 2, 4),
        (0, 1, 3, 4),
        (0, 2, 3, 4),
        (1, 2, 3, 4),
        (0, 1, 2, 3),
    ]
    tried = 0
    for one, other in combinations(stories, 2):
        for size in range(1, 4):
            for group in combinations(range(4), size):
                told = {client: one if client in group else other for client in range(4)}
                if any(client not in story for client, story in told.items()):
                    continue  # refused before: it is left out of its own story
                tried += 1
                hands, _ = puppets()
                consents = {client: hands.consent(client, story) for client, story in told.items()}
                got = {
                    story
                    for client, story in told.items()
                    if reveals(hands, client, told, consents)
                }
                assert len(got) == (size in (1, 3) and 4 in (one if size == 3 else other))
    assert tried > 20


def reveals(
    hands: Puppets, client: int, told: Mapping[int, tuple[int, ...]], consents: Mapping[int, bytes]
) -> bool:
    """Whether the client reveals shares to whoever shows all consents to its story, the corrupt client's included."""
    agreeing = {other: consents[other] for other, story in told.items() if story == told[client]}
    if 4 in told[client]:
        agreeing[4] = forged_consent(hands, consents[client], 4)
    try:
        hands.reveal(client, agreeing)
    except ProtocolError as refused:
        assert "fewer clients than the threshold" in str(refused)  # noqa: PT017 - either outcome is legal
        return False
    finally:
        assert is_erased(hands, client)
    return True


def forged_consent(hands: Puppets, like: bytes, client: int) -> bytes:
    """The consent that a corrupt client gives to another one's statement."""
    statement = Consent.from_bytes(memoryview(like)[:-64]).statement
    return signed(Consent(SESSION, 0, client, statement), hands.terms, identity(client))


def test_of_two_stories_about_who_shared_at_most_one_gets_shares() -> None:
    # As above, with the sets between which masks are laid: whoever is left out of one is dropped in nobody's eyes.
    stories = [tuple(range(5)), (0, 1, 2, 4), (0, 1, 3, 4), (0, 2, 3, 4), (1, 2, 3, 4)]
    opened_one = 0
    for one, other in combinations(stories, 2):
        for size in range(1, 4):
            for group in combinations(range(4), size):
                told = {client: one if client in group else other for client in range(4)}
                if any(client not in story for client, story in told.items()):
                    continue
                hands, boxes = puppets(upto=2)
                for client, story in told.items():
                    shown = {sender: box for sender, box in boxes.items() if sender in story}
                    hands.say(client, hands.delivery(client, shown))
                consents = {client: hands.consent(client, story) for client, story in told.items()}
                got = {
                    story
                    for client, story in told.items()
                    if reveals(hands, client, told, consents)
                }
                assert len(got) <= 1
                opened_one += len(got)
    assert opened_one > 0


def test_all_consents_of_two_stories_together_get_no_share_either() -> None:
    hands, _ = puppets()
    told = {0: (0, 1, 2, 3, 4), 1: (0, 1, 2, 3, 4), 3: (0, 1, 3, 4), 4: (0, 1, 3, 4)}
    consents = {client: hands.consent(client, story) for client, story in told.items()}
    for client in (0, 3):
        with pytest.raises(
            ProtocolError, match="agreed to other keys, other survivors or another model"
        ):
            hands.reveal(client, consents)
        assert is_erased(hands, client)


@pytest.mark.parametrize(("n", "odd"), [(4, 1), (5, 1), (7, 1), (7, 2), (10, 1), (10, 3)])
def test_what_opens_over_different_models_is_noise(n: int, odd: int) -> None:
    # Pasquini et al.: the odd ones get the true model, the others one with which their updates vanish. A threshold of
    # others agrees, so seeds are opened; the pair masks do not cancel, since their keys hold the model's hash.
    session = Session(agreement(n, d=1000)).begin(0).until(3)
    others = range(odd, n)
    for client in range(n):
        delta = session.updates[client].delta if client < odd else torch.zeros(1000)
        told = b"o" * 32 if client < odd else HASH
        session.updates[client] = replace(session.updates[client], delta=delta, model_hash=told)
    for client, request in session.server.requests().items():
        delivery = ShareDelivery.from_bytes(memoryview(request)[:-64], most=n)
        request = signed(
            replace(delivery, model_hash=session.updates[client].model_hash), session.terms
        )
        assert session.server.absorb(client, session.answer(client, request))
    session.server.close_stage()
    for client, packet in session.answers().items():
        assert session.server.absorb(client, packet) == (
            client in others
        )  # the odd ones consent to something else
    session.server.close_stage()
    view = session.stage()
    assert view is not None
    (opened_sum,) = [
        o.values for o in session.observed if (o.party, o.kind) == ("server", "sum of updates")
    ]
    assert opened_sum is not None
    victims = sum(session.updates[client].delta.double() for client in range(odd))
    assert float((opened_sum - victims).abs().median()) > session.terms.code.clip / 4
    assert (
        len(np.unique(np.rint(opened_sum.numpy() / session.terms.code.step).astype(np.int64) >> 24))
        > 150
    )


def test_models_that_differ_get_no_share_where_no_model_has_a_threshold() -> None:
    hands, boxes = puppets(upto=2)
    for client in boxes:
        told = HASH if client < 2 else b"o" * 32
        hands.session.updates[client] = replace(hands.session.updates[client], model_hash=told)
        hands.say(client, hands.delivery(client, boxes, model=told))
    consents = {client: hands.consent(client, range(5)) for client in range(5)}
    for client in range(5):
        with pytest.raises(ProtocolError, match="another model"):
            hands.reveal(client, consents)
        assert is_erased(hands, client)


def test_key_tables_that_differ_get_no_share_where_neither_has_a_threshold() -> None:
    # Client 4 is corrupt and advertises twice; the server shows the others different keys of it.
    hands = Puppets(Session(agreement(5)))
    keys = hands.invite(range(5))
    second = RoundSecrets.fresh().advertisement(
        SESSION, 0, 4, block=digest_of_clients(tuple(range(5))), server_key=SERVER_KEY
    )
    other = keys | {4: signed(second, hands.terms, identity(4))}
    boxes = {}
    for client in range(4):
        reply = hands.say(client, KeyTable(SESSION, 0, 0, keys if client < 2 else other))
        boxes[client] = SealedShares.from_bytes(opened(reply, client, hands.terms), most=5).sealed
    for client in range(4):
        hands.say(client, hands.delivery(client, boxes))
    consents = {client: hands.consent(client, range(4)) for client in range(4)}
    for client in range(4):
        with pytest.raises(ProtocolError, match="agreed to other keys"):
            hands.reveal(client, consents)


@pytest.mark.parametrize("asking", [(0, 1, 2), (0,), ()])
def test_fewer_consents_than_the_threshold_get_no_share(asking: tuple[int, ...]) -> None:
    hands, _ = puppets()
    consents = {client: hands.consent(client, range(5)) for client in range(5)}
    with pytest.raises(ProtocolError, match="fewer clients than the threshold"):
        hands.reveal(0, {client: consents[client] for client in asking})
    assert is_erased(hands, 0)


def test_consents_of_strangers_of_the_dropped_or_under_another_name_get_no_share() -> None:
    hands, boxes = puppets(upto=2)
    for client in range(4):
        hands.say(client, hands.delivery(client, boxes))
    consents = {client: hands.consent(client, range(4)) for client in range(4)}
    cases = {
        "outside the survivors": consents | {4: forged_consent(hands, consents[0], 4)},
        "does not verify": consents | {3: consents[2]},
        "agreed to other": consents
        | {3: signed(Consent(SESSION, 0, 2, b"s" * 32), hands.terms, identity(3))},
    }
    for client, (sentence, told) in enumerate(cases.items()):
        with pytest.raises(ProtocolError, match=sentence):
            hands.reveal(client, told)
        assert is_erased(hands, client)


def test_shares_are_revealed_once_of_the_seed_or_of_the_key_and_never_both() -> None:
    hands, boxes = puppets(upto=2)
    for client in range(4):
        hands.say(client, hands.delivery(client, boxes))
    consents = {client: hands.consent(client, range(4)) for client in range(4)}
    for client in range(4):
        revealed = hands.reveal(client, consents)
        assert set(revealed.seeds) == {0, 1, 2, 3}
        assert set(revealed.mask_keys) == {4}
        assert hands.reveal(client, consents) == revealed  # the bytes that left are no news
        with pytest.raises(ProtocolError, match="is not in progress"):
            hands.reveal(client, {other: consents[other] for other in range(3)})
        assert is_erased(hands, client)


# What the server may not lower


class Lowered(Agreement):
    """Terms that name the honest ones in every signature and ask for less."""

    def threshold(self, invited: int) -> int:
        return 1

    def fewest(self, invited: int) -> int:
        return 1


def lowered(terms: Agreement) -> Agreement:
    made = Lowered(**{name: getattr(terms, name) for name in Agreement.__dataclass_fields__})
    assert made.digest == terms.digest
    return made


@pytest.mark.parametrize("silent_from", [2, 3, 4])
def test_a_server_that_lowers_threshold_and_minimum_gets_no_sum(silent_from: int) -> None:
    terms = agreement(5)
    session = Session(terms, server_terms=lowered(terms)).begin(0)
    session.until(silent_from)
    session.stage(silent=(2, 3, 4))
    with pytest.raises(
        ProtocolError, match=r"too few for a sum of 5|fewer clients than the threshold"
    ):
        session.stage()


def test_a_server_that_lowers_the_threshold_of_consents_gets_no_share() -> None:
    terms = agreement(5)
    session = Session(terms, server_terms=lowered(terms)).begin(0)
    for _ in range(3):
        session.stage()
    session.stage(silent=(1, 2, 3, 4))
    with pytest.raises(ProtocolError, match="fewer clients than the threshold"):
        session.stage()


@pytest.mark.parametrize("cohort", [(0,), (0, 1)])
def test_a_client_refuses_a_cohort_below_its_minimum(cohort: tuple[int, ...]) -> None:
    hands = Puppets(Session(agreement(5)))
    with pytest.raises(
        ProtocolError, match=f"{len(cohort)} clients are not a cohort of this session"
    ):
        hands.invite(cohort)
    assert hands.invite(range(5))  # nothing had changed


@pytest.mark.parametrize(
    ("cohort", "sentence"),
    [((1, 2, 3), "does not hold this client"), ((0, 1, 9), "not in the roster")],
)
def test_a_client_refuses_a_cohort_without_it_or_with_strangers(
    cohort: tuple[int, ...], sentence: str
) -> None:
    hands = Puppets(Session(agreement(5)))
    with pytest.raises(ProtocolError, match=sentence):
        hands.say(0, Invitation(SESSION, 0, SERVER_KEY, cohort))
    assert hands.invite(range(5))


def test_a_server_cannot_invite_fewer_than_were_agreed_on() -> None:
    hands = Puppets(Session(agreement(8, cohort=8)))
    with pytest.raises(ProtocolError, match="7 clients are not a cohort of this session"):
        hands.invite(range(7))
    assert hands.invite(range(8))


def test_a_sum_of_more_clients_than_the_ring_has_room_for_is_refused_on_both_sides() -> None:
    terms = agreement(10, code=FixedPoint(ring=16, clip=1.0, rounding="nearest", most=5))
    with pytest.raises(ProtocolError, match="10 clients are not a cohort of this session"):
        Puppets(Session(terms)).invite(range(10))
    with pytest.raises(ValueError, match="10 clients are more than the terms have room for"):
        Session(terms).begin(0)


def test_clients_told_of_different_cohorts_do_not_share() -> None:
    hands = Puppets(Session(agreement(6)))
    hands.session.updates = {client: update(client, hands.terms) for client in range(6)}
    keys = {}
    for client in range(4):
        cohort = (0, 1, 2, 3) if client == 0 else (0, 1, 2, 3, 4, 5)
        keys[client] = bytes(hands.say(client, Invitation(SESSION, 0, SERVER_KEY, cohort)))
    with pytest.raises(ProtocolError, match="client 1 was invited into another block"):
        hands.say(0, KeyTable(SESSION, 0, 0, keys))


def test_terms_that_differ_in_one_client_make_no_signature_verify() -> None:
    terms = agreement(5)
    odd = replace(terms, corrupt=2, cohort=4, min_cohort=4)
    session = Session(terms).begin(0)
    with pytest.raises(ProtocolError, match="does not verify"):
        make_client(0, odd).receive(session.server.requests()[0])


def test_neither_side_is_built_for_an_identity_that_the_roster_does_not_list() -> None:
    terms = agreement(5)
    with pytest.raises(ValueError, match="does not list client 3 under this identity"):
        MaskedClient(
            3,
            identity(4),
            terms,
            stream_for=lambda round: system_keystream(),
            monotonic=MemoryMonotonic(),
        )
    with pytest.raises(ValueError, match="names another server"):
        MaskedServer(identity(0), terms)


# Keys


def test_a_key_table_must_hold_this_clients_own_keys_as_it_sent_them() -> None:
    for change in (lambda keys: keys.pop(0), lambda keys: keys.update({0: keys[1]})):
        hands = Puppets(Session(agreement(5)))
        keys = hands.invite(range(5))
        change(keys)  # type: ignore[no-untyped-call]
        with pytest.raises(ProtocolError, match="does not hold this client's own keys"):
            hands.say(0, KeyTable(SESSION, 0, 0, keys))
        assert is_erased(hands, 0)


def rebuilt(keys: bytes, terms: Agreement, signer: int, **changes: Any) -> bytes:
    """An advertisement with other fields, signed by `signer`."""
    told = Advertisement.from_bytes(memoryview(keys)[:-64])
    return signed(replace(told, **changes), terms, identity(signer))


def test_a_key_table_that_is_too_small_or_holds_uninvited_clients_is_refused() -> None:
    for cohort, shown, sentence in (
        (range(6), (0, 1, 2), "3 clients are too few for a sum of 6; it takes 4"),
        (range(4), (0, 1, 2, 5), "clients that were not there before"),
    ):
        hands = Puppets(Session(agreement(6)))
        keys = hands.invite(cohort)
        keys[5] = keys.get(5, keys[3])
        with pytest.raises(ProtocolError, match=sentence):
            hands.say(0, KeyTable(SESSION, 0, 0, {client: keys[client] for client in shown}))
        assert is_erased(hands, 0)


def test_a_delivery_of_shares_from_the_client_itself_is_refused() -> None:
    hands, boxes = puppets(upto=2)
    honest = hands.delivery(0, boxes)
    with pytest.raises(ProtocolError, match="shares from this client itself"):
        hands.say(0, replace(honest, sealed={0: bytes(94), **honest.sealed}))
    assert is_erased(hands, 0)


@pytest.mark.parametrize(
    ("senders", "sentence"),
    [
        ((1, 2), "3 clients are too few for a sum of 5; it takes 4"),
        ((1, 2, 3, 9), "that were not there before"),
    ],
)
def test_a_delivery_from_too_few_or_from_strangers_is_refused(
    senders: tuple[int, ...], sentence: str
) -> None:
    hands, _ = puppets(upto=2)
    with pytest.raises(ProtocolError, match=sentence):
        hands.say(0, ShareDelivery(SESSION, 0, 0, HASH, dict.fromkeys(senders, bytes(94))))
    assert is_erased(hands, 0)


TAMPERED: dict[str, tuple[Callable[[dict[int, bytes], Agreement], bytes], str]] = {
    "somebody else's keys under this name": (lambda keys, terms: keys[2], "does not verify"),
    "keys signed by somebody else": (
        lambda keys, terms: rebuilt(keys[1], terms, 2),
        "does not verify",
    ),
    "keys changed after signing": (
        lambda keys, terms: keys[1][:40] + bytes([keys[1][40] ^ 1]) + keys[1][41:],
        "does not verify",
    ),
    "keys of another round": (
        lambda keys, terms: rebuilt(keys[1], terms, 1, round=7),
        "another session, round or sender",
    ),
    "keys of another session": (
        lambda keys, terms: rebuilt(keys[1], terms, 1, session=b"x" * 16),
        "another session, round or sender",
    ),
    "keys that name another sender": (
        lambda keys, terms: rebuilt(keys[1], terms, 1, sender=2),
        "another session, round",
    ),
    "keys for another block": (
        lambda keys, terms: rebuilt(keys[1], terms, 1, block=b"b" * 32),
        "invited into another block",
    ),
    "a copy of somebody's mask key": (
        lambda keys, terms: rebuilt(
            keys[1], terms, 1, mask_key=Advertisement.from_bytes(memoryview(keys[2])[:-64]).mask_key
        ),
        "appears twice in the key table",
    ),
    "one key for both uses": (
        lambda keys, terms: rebuilt(
            keys[1],
            terms,
            1,
            mask_key=Advertisement.from_bytes(memoryview(keys[1])[:-64]).sealing_key,
        ),
        "appears twice in the key table",
    ),
    "a sealing key of low order": (
        lambda keys, terms: rebuilt(keys[1], terms, 1, sealing_key=bytes.fromhex(LOW_ORDER[2])),
        "unusable",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_keys_are_dropped_by_the_server_and_refused_by_every_client(case: str) -> None:
    tamper, sentence = TAMPERED[case]
    session = Session(agreement(5)).begin(0)
    answers = {client: bytes(message) for client, message in session.answers().items()}
    bad = tamper(answers, session.terms)
    for client in (0, 2, 3, 4):
        assert session.server.absorb(client, answers[client])
    assert not session.server.absorb(1, bad)
    assert session.server.absorb(1, answers[1])  # one forged packet does not stop a round
    hands = Puppets(session)
    with pytest.raises(ProtocolError, match=sentence):
        hands.say(0, KeyTable(SESSION, 0, 0, answers | {1: bad}))
    assert is_erased(hands, 0)


@pytest.mark.parametrize("point", LOW_ORDER)
@pytest.mark.parametrize("field", ["mask_key", "sealing_key"])
def test_points_of_low_order_are_dropped_by_the_server(point: str, field: str) -> None:
    session = Session(agreement(5)).begin(0)
    answers = {client: bytes(message) for client, message in session.answers().items()}
    for high_bit in (0, 0x80):
        key = bytearray.fromhex(point)
        key[31] |= high_bit
        assert not session.server.absorb(
            1, rebuilt(answers[1], session.terms, 1, **{field: bytes(key)})
        )
    assert session.server.absorb(1, answers[1])


def test_a_mask_key_of_low_order_that_the_server_passes_on_stops_the_client_before_it_uploads() -> (
    None
):
    hands = Puppets(Session(agreement(5)))
    keys = hands.invite(range(5))
    keys[1] = rebuilt(keys[1], hands.terms, 1, mask_key=bytes.fromhex(LOW_ORDER[0]))
    boxes = {}
    for client in (0, 2, 3, 4):
        reply = hands.say(client, KeyTable(SESSION, 0, 0, keys))
        boxes[client] = SealedShares.from_bytes(opened(reply, client, hands.terms), most=5).sealed
    boxes[1] = {client: bytes(94) for client in (0, 2, 3, 4)}
    with pytest.raises(ProtocolError, match="unusable"):
        hands.say(0, hands.delivery(0, boxes))
    assert is_erased(hands, 0)


# Order, replay, direction


def test_requests_that_come_twice_get_the_same_bytes_and_nothing_is_drawn_masked_or_opened_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_draw(size: int) -> bytes:
        raise AssertionError("a repeated request drew something")

    session = Session(agreement(5)).begin(0)
    heard: dict[int, dict[bytes, bytes]] = {client: {} for client in range(5)}
    for stage in range(1, 6):
        for client, request in session.server.requests().items():
            reply = session.answer(client, request)
            assert session.server.absorb(client, reply)
            if stage != 3:
                heard[client][request] = bytes(reply)
            with monkeypatch.context() as patch:
                patch.setattr("secrets.token_bytes", no_draw)
                for old, bytes_sent in heard[client].items():
                    assert session.clients[client].receive(old) == bytes_sent
                if stage == 3:
                    with pytest.raises(ProtocolError, match="asked for before, and left"):
                        session.clients[client].receive(request)
                    with pytest.raises(ProtocolError, match="no update was asked for"):
                        session.clients[client].submit(session.updates[client])
        view = session.server.close_stage()
    assert view is not None
    assert view.clients == (0, 1, 2, 3, 4)


def test_a_client_that_was_told_twice_to_train_trains_as_long_as_it_has_not_uploaded() -> None:
    session = Session(agreement(5)).begin(0).until(3)
    request = session.server.requests()[0]
    assert session.clients[0].receive(request) is None
    assert session.clients[0].receive(request) is None
    assert session.server.absorb(0, session.clients[0].submit(session.updates[0]))


def test_requests_of_the_round_before_are_forgotten_with_it() -> None:
    session = Session(agreement(5)).begin(0)
    first = session.server.requests()[0]
    session.play(1)
    session.begin(2).until(2)
    with pytest.raises(ProtocolError, match="round 0 was asked for before"):
        session.clients[0].receive(first)
    assert len(session.clients[0]._replies) == 1


def test_an_erased_round_gives_no_reply_again_either() -> None:
    session = Session(agreement(5)).begin(0)
    first = session.server.requests()[0]
    assert session.clients[0].receive(first) == session.clients[0].receive(first)
    with pytest.raises(ProtocolError, match="out of order"):
        Puppets(session).say(0, SurvivorList(SESSION, 0, 0, (0, 1, 2, 3)))
    with pytest.raises(ProtocolError, match="asked for before"):
        session.clients[0].receive(first)


# Which rounds there are, and who is summed with whom in them


def test_no_choice_of_round_numbers_gives_the_server_another_deal_into_blocks() -> None:
    # 14 corrupt clients of 130, while c = 12 in one sum: 13 in one block could open one update there. The server asks
    # an honest client for one round after the other and looks for a number that puts 13 of them into its block.
    terms = agreement(
        130, beacon=hashlib.sha256(b"beacon").digest(), corrupt=12, min_cohort=14, cohort=130
    )
    client, corrupt = make_client(0, terms), set(range(1, 15))
    blocks = set()
    for round in range(1000):
        reply = client.receive(
            signed(Invitation(SESSION, round, SERVER_KEY, tuple(range(130))), terms)
        )
        assert reply is not None
        blocks.add(Advertisement.from_bytes(opened(reply, 0, terms)).block)
    dealt = terms.block_of(0, tuple(range(130)))
    assert blocks == {digest_of_clients(dealt)}
    assert all(len(corrupt & set(block)) <= 12 for block in terms.blocks(tuple(range(130))))


def test_a_client_answers_no_more_rounds_than_were_agreed_on_and_each_number_once() -> None:
    hands = Puppets(Session(agreement(5, rounds=4)))
    for round, sentence in (
        (0, None),
        (0, "round 0 was asked for before"),
        (2, None),  # of round 1 it heard nothing
        (1, "round 1 was asked for before"),
        (4, "round 4 is beyond the 4 rounds that were agreed on"),
        (2**32 - 1, "beyond the 4 rounds"),
        (3, None),
        (3, "round 3 was asked for before"),
        (4, "beyond the 4 rounds"),
    ):
        told = Invitation(SESSION, round, RoundKey.generate().public, tuple(range(5)))
        if sentence is None:
            assert hands.say(0, told)
        else:
            with pytest.raises(ProtocolError, match=sentence):
                hands.say(0, told)


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_a_request_that_comes_out_of_order_erases_the_round(stage: int) -> None:
    session = Session(agreement(5)).begin(0).until(stage)
    session.stage()
    hands = Puppets(session)
    told: dict[int, Any] = {
        2: KeyTable(SESSION, 0, 0, {}),
        3: ShareDelivery(SESSION, 0, 2, HASH, {1: bytes(94)}),
        4: SurvivorList(SESSION, 0, 0, (0, 1, 2, 3)),
        5: UnmaskRequest(SESSION, 0, 0, {}),
    }
    for wrong, message in told.items():
        if wrong == stage + 1:
            continue
        client = wrong - 1
        with pytest.raises(ProtocolError, match="twice or out of order"):
            hands.say(client, message)
        assert is_erased(hands, client)


def test_survivors_are_not_signed_before_the_upload() -> None:
    hands, boxes = puppets(upto=2)
    request = signed(hands.delivery(0, boxes), hands.terms)
    assert hands.session.clients[0].receive(request) is None
    with pytest.raises(ProtocolError, match="twice or out of order"):
        hands.consent(0, range(5))
    with pytest.raises(ProtocolError, match="no update was asked for"):
        hands.session.clients[0].submit(hands.session.updates[0])


def test_requests_that_the_server_did_not_sign_change_nothing() -> None:
    session = Session(agreement(5)).begin(0)
    view = None
    for _ in range(5):
        for client, request in session.server.requests().items():
            for forger in (identity(0), identity(-2)):
                body = request[:-64]
                with pytest.raises(ProtocolError, match="does not verify"):
                    session.clients[client].receive(
                        body + forger.signature(body, terms=session.terms.digest)
                    )
            for position in (3, 4, 10, 22, len(request) - 70, len(request) - 1):
                broken = (
                    request[:position] + bytes([request[position] ^ 4]) + request[position + 1 :]
                )
                with pytest.raises(ProtocolError, match="does not verify"):
                    session.clients[client].receive(broken)
            session.server.absorb(client, session.answer(client, request))
        view = session.server.close_stage()
    assert view is not None


def test_replies_cannot_be_sent_back_as_requests() -> None:
    session = Session(agreement(5)).begin(0)
    for client, reply in session.answers().items():
        with pytest.raises(ProtocolError, match="does not verify"):
            session.clients[client].receive(bytes(reply))
    told = session.clients[0]._state
    assert told is not None
    with pytest.raises(ProtocolError, match="not for a client"):
        Puppets(session).say(0, told.own)


def test_a_request_of_another_session_or_round_changes_nothing() -> None:
    hands, _ = puppets()
    with pytest.raises(ProtocolError, match="another session"):
        hands.say(0, SurvivorList(b"x" * 16, 0, 0, (0, 1, 2, 3)))
    with pytest.raises(ProtocolError, match="round 5 is not in progress"):
        hands.say(0, SurvivorList(SESSION, 5, 0, (0, 1, 2, 3)))
    assert hands.consent(0, range(5))


def test_an_upload_with_the_tag_of_another_client_or_of_no_key_is_dropped() -> None:
    session = Session(agreement(5)).begin(0).until(3)
    packets = {client: bytes(message) for client, message in session.answers().items()}
    state, other = session.clients[0]._state, session.clients[1]._state
    assert state is not None
    assert other is not None
    body = packets[0][:-16]
    keys = {
        "another client's": other.secrets.upload_key(other.own, other.server_key),
        "its own key of another purpose": self_mask_key(b"k" * 32, state.own),
        "with another server": state.secrets.upload_key(state.own, SERVER_KEY),
    }
    for key in keys.values():
        assert not session.server.absorb(0, body + tag(key, body))
    signature = identity(0).signature(body, terms=session.terms.digest)
    assert not session.server.absorb(0, body + signature)
    right = state.secrets.upload_key(state.own, state.server_key)
    assert body + tag(right, body) == packets[0]
    assert session.server.absorb(0, packets[0])


def test_an_invitation_with_a_server_key_of_low_order_is_refused_and_changes_nothing() -> None:
    hands = Puppets(Session(agreement(5)))
    hands.session.updates = {client: update(client, hands.terms) for client in range(5)}
    told = Invitation(SESSION, 0, bytes.fromhex(LOW_ORDER[0]), (0, 1, 2, 3, 4))
    with pytest.raises(ProtocolError, match="unusable"):
        hands.say(0, told)
    assert hands.invite(range(5))  # nothing had changed


def test_every_forged_reply_is_dropped_and_the_round_goes_on() -> None:
    session = Session(agreement(5)).begin(0)
    view = None
    for stage in range(1, 6):
        for client, message in session.answers().items():
            packet = bytes(message)
            body, other = packet[:-64], identity((client + 1) % 5)
            assert not session.server.absorb(
                client, body + other.signature(body, terms=session.terms.digest)
            )
            assert not session.server.absorb((client + 1) % 5, packet)
            for position in (0, 5, 22, 26, 40, len(packet) - 1):
                broken = packet[:position] + bytes([packet[position] ^ 1]) + packet[position + 1 :]
                assert not session.server.absorb(client, broken), (stage, position)
            assert session.server.absorb(client, packet)
        view = session.server.close_stage()
    assert view is not None
    assert view.clients == (0, 1, 2, 3, 4)


def test_a_request_that_was_meant_for_another_client_changes_nothing() -> None:
    # With 130 clients there are two blocks: client 0 hears the requests of its own and of the other block.
    session = Session(agreement(130, beacon=b"drawn")).begin(0).until(2)
    blocks = session.terms.blocks(tuple(range(130)))
    own, other = sorted(blocks, key=lambda block: 0 not in block)
    for _ in range(4):
        requests = session.server.requests()
        for meant_for in (own[1], other[0]):
            with pytest.raises(ProtocolError, match=f"meant for client {meant_for}"):
                session.clients[0].receive(requests[meant_for])
        for client, request in requests.items():
            assert session.server.absorb(client, session.answer(client, request))
        view = session.server.close_stage()
    assert view is not None
    assert 0 in view.clients


# Lying holders and unusual shares


def lying(
    session: Session, client: int, change: Callable[[RevealedShares], RevealedShares]
) -> bytes:
    """The last reply of a client that changes what it reveals and signs it."""
    packet = session.answers()[client]
    honest = RevealedShares.from_bytes(opened(packet, client, session.terms), most=5)
    return signed(change(honest), session.terms, identity(client))


SHARE = bytes(32) + b"\5"


@pytest.mark.parametrize(
    "change",
    [
        lambda told: replace(told, mask_keys={**told.mask_keys, 0: SHARE}),  # both of one id
        lambda told: replace(told, seeds={**told.seeds, 4: SHARE}),  # the seed of a dropped client
        lambda told: replace(told, seeds={**told.seeds, 9: SHARE}),  # an unknown client
        lambda told: replace(told, mask_keys={9: SHARE}),
        lambda told: replace(told, seeds={**told.seeds, 0: b"\xff" * 33}),  # no field element
        lambda told: replace(told, sender=1),
        lambda told: replace(told, round=1),
    ],
)
def test_illegal_revelations_are_dropped(
    change: Callable[[RevealedShares], RevealedShares],
) -> None:
    session = Session(agreement(5)).begin(0).until(5, silent={4: 3})
    assert not session.server.absorb(0, lying(session, 0, change))


@pytest.mark.parametrize(
    ("kind", "of", "sentence"),
    [("seeds", 2, "seed of client 2"), ("mask_keys", 4, "mask key of client 4")],
)
def test_one_wrong_share_abandons_the_round_and_names_whose_secret_failed(
    kind: str, of: int, sentence: str
) -> None:
    session = Session(agreement(5)).begin(0).until(5, silent={4: 3})

    def wrong(told: RevealedShares) -> RevealedShares:
        if kind == "seeds":
            return replace(told, seeds={**told.seeds, of: SHARE})
        return replace(told, mask_keys={**told.mask_keys, of: SHARE})

    packets = {client: bytes(message) for client, message in session.answers().items()}
    honest = RevealedShares.from_bytes(opened(packets[1], 1, session.terms), most=5)
    packets[1] = signed(wrong(honest), session.terms, identity(1))
    for client, packet in packets.items():
        assert session.server.absorb(client, packet)
    with pytest.raises(RoundAbandoned, match=f"the {sentence} has 3 right shares left, it takes 4"):
        session.server.close_stage()
    assert not [o for o in session.observed if o.kind == "sum of updates"]


def test_a_box_that_does_not_open_is_left_out_and_the_others_suffice() -> None:
    session = Session(agreement(7)).begin(0).until(2)

    def spoil(client: int, packet: Packet) -> bytes:
        told = SealedShares.from_bytes(opened(packet, client, session.terms), most=7)
        if client != 3:
            return bytes(packet)
        return signed(
            replace(told, sealed={**told.sealed, 0: bytes(94)}), session.terms, identity(client)
        )

    session.stage(change=spoil)
    for _ in range(2):
        session.stage()
    packets = session.answers()
    assert 3 not in RevealedShares.from_bytes(opened(packets[0], 0, session.terms), most=7).seeds
    for client, packet in packets.items():
        assert session.server.absorb(client, packet)
    view = session.server.close_stage()
    assert view is not None
    assert view.clients == tuple(range(7))


def test_a_client_that_seals_junk_for_too_many_holders_stops_the_round_and_is_named() -> None:
    session = Session(agreement(5)).begin(0).until(2)

    def spoil(client: int, packet: Packet) -> bytes:
        if client != 3:
            return bytes(packet)
        told = SealedShares.from_bytes(opened(packet, client, session.terms), most=5)
        spoilt = replace(told, sealed={**told.sealed, 0: bytes(94), 1: bytes(94)})
        return signed(spoilt, session.terms, identity(client))

    session.stage(change=spoil)
    for _ in range(2):
        session.stage()
    with pytest.raises(
        RoundAbandoned, match="the seed of client 3 has 3 right shares left, it takes 4"
    ):
        session.stage()


@pytest.mark.parametrize("drops_out", [False, True])
def test_a_dealer_of_impossible_shares_does_not_make_honest_holders_look_guilty(
    drops_out: bool,
) -> None:
    # The half of its box for client 0 that will be asked for is no field element.
    session = Session(agreement(7)).begin(0).until(2)
    dealer = session.clients[3]
    state = dealer._state
    assert state is not None
    honest = dict(session.server.requests())
    for client, request in honest.items():
        packet = session.answer(client, request)
        if client == 3:
            after = dealer._state
            assert after is not None
            keys = state.secrets._sealing_keys(after.own, after.peers, [0], outgoing=True)
            told = SealedShares.from_bytes(opened(packet, 3, session.terms), most=7)
            boxes = dict(told.sealed)
            for holder, key in keys.items():
                both = bytes(33) + b"\xff" * 33 if drops_out else b"\xff" * 33 + bytes(33)
                boxes[holder] = seal(key, both, associated=_route(after.own, after.peers[holder]))
            packet = signed(replace(told, sealed=boxes), session.terms, identity(3))
        assert session.server.absorb(client, packet)
    session.server.close_stage()
    session.stage(silent=[3] if drops_out else [])
    session.stage()
    packets = session.answers()
    shares = RevealedShares.from_bytes(opened(packets[0], 0, session.terms), most=7)
    assert 3 not in {**shares.seeds, **shares.mask_keys}
    assert all(session.server.absorb(client, packet) for client, packet in packets.items())
    view = session.server.close_stage()
    assert view is not None
    assert view.clients == tuple(client for client in range(7) if client != 3 or not drops_out)


def test_one_wrong_share_does_no_harm_while_there_is_one_to_spare() -> None:
    session = Session(agreement(5)).begin(0).until(5)
    for client, packet in session.answers().items():
        if client == 1:
            told = RevealedShares.from_bytes(opened(packet, 1, session.terms), most=5)
            packet = signed(
                replace(told, seeds=dict.fromkeys(told.seeds, SHARE)), session.terms, identity(1)
            )
        assert session.server.absorb(client, packet)
    view = session.server.close_stage()
    assert view is not None
    assert view.clients == (0, 1, 2, 3, 4)
    mean = torch.stack([session.updates[client].delta for client in range(5)]).mean(dim=0)
    assert torch.allclose(view.rows[0], mean, atol=1e-6)


def test_shares_swapped_between_recipients_do_not_open() -> None:
    hands, boxes = puppets(upto=2)
    swapped = {sender: dict(told) for sender, told in boxes.items()}
    swapped[1][0], swapped[1][2] = boxes[1][2], boxes[1][0]
    for client in range(5):
        hands.say(client, hands.delivery(client, swapped))
    consents = {client: hands.consent(client, range(5)) for client in range(5)}
    assert set(hands.reveal(0, consents).seeds) == {0, 2, 3, 4}
    assert set(hands.reveal(3, consents).seeds) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    "change", [lambda boxes: boxes.pop(1), lambda boxes: boxes.update({9: bytes(94)})]
)
def test_shares_go_to_every_other_client_once(change: Callable[[dict[int, bytes]], object]) -> None:
    session = Session(agreement(5)).begin(0).until(2)
    packet = session.answers()[0]
    told = SealedShares.from_bytes(opened(packet, 0, session.terms), most=5)
    boxes = dict(told.sealed)
    change(boxes)
    assert not session.server.absorb(
        0, signed(replace(told, sealed=boxes), session.terms, identity(0))
    )
    assert session.server.absorb(0, packet)


def test_a_consent_to_another_statement_is_dropped_by_the_server() -> None:
    session = Session(agreement(5)).begin(0).until(4)
    packet = session.answers()[0]
    other = Consent(SESSION, 0, 0, b"o" * 32)
    assert not session.server.absorb(0, signed(other, session.terms, identity(0)))
    assert session.server.absorb(0, packet)


def test_a_key_with_another_writing_of_the_same_point_is_dropped() -> None:
    session = Session(agreement(5)).begin(0)
    answers = {client: bytes(message) for client, message in session.answers().items()}
    key = bytearray(Advertisement.from_bytes(memoryview(answers[2])[:-64]).mask_key)
    assert key[31] < 0x80
    key[31] |= 0x80  # X25519 does not read this bit
    assert session.server.absorb(2, answers[2])
    assert not session.server.absorb(1, rebuilt(answers[1], session.terms, 1, mask_key=bytes(key)))


def test_a_cohort_may_be_named_in_any_order() -> None:
    session = Session(agreement(5)).begin(0, (4, 0, 2, 1, 3))
    assert list(session.server.requests()) == [0, 1, 2, 3, 4]
    view = session.until(5).stage()
    assert view is not None
    assert view.clients == (0, 1, 2, 3, 4)


def test_a_cohort_with_strangers_is_not_begun() -> None:
    with pytest.raises(ValueError, match="client 7 is not in the roster"):
        Session(agreement(5)).begin(0, (0, 1, 2, 7))


# Updates that cannot be masked


@pytest.mark.parametrize(
    ("bad", "sent"), [(float("nan"), 0.0), (float("inf"), 8.0), (-float("inf"), -8.0)]
)
def test_an_update_that_is_not_finite_is_masked_as_any_other(bad: float, sent: float) -> None:
    # A refusal would be one bit about a client's records: the server can choose weights that overflow for some.
    session = Session(agreement(5)).begin(0)
    others = sum(session.updates[client].delta for client in (1, 2, 3, 4))
    session.updates[0] = replace(session.updates[0], delta=torch.tensor([0.25, bad, 1.0]))
    view = session.until(5).stage()
    assert view is not None
    assert torch.allclose(view.rows[0], (others + torch.tensor([0.25, sent, 1.0])) / 5, atol=1e-6)


@pytest.mark.parametrize(("weight", "counted"), [(0, 1), (-3, 1), (1001, 1000), (1000, 1000)])
def test_a_reported_weight_out_of_range_is_held_to_the_range_and_nobody_refuses(
    weight: int, counted: int
) -> None:
    # It is the number of a client's records: a refusal would tell on which side of the range it lies.
    session = Session(agreement(5, weights=None, max_weight=1000)).begin(0)
    session.updates = {client: replace(one, weight=1) for client, one in session.updates.items()}
    session.updates[0] = replace(session.updates[0], weight=weight)
    view = session.until(5).stage()
    assert view is not None
    assert view.weights.tolist() == [counted + 4]


def test_a_weight_that_is_not_the_public_one_is_refused() -> None:
    session = (
        Session(agreement(5, weights=dict.fromkeys(range(5), 1), max_weight=1000)).begin(0).until(3)
    )
    session.clients[0].receive(session.server.requests()[0])
    with pytest.raises(ProtocolError, match="the weight is not the public one"):
        session.clients[0].submit(replace(session.updates[0], weight=2))


def test_an_update_of_another_shape_is_refused() -> None:
    session = Session(agreement(5)).begin(0).until(3)
    session.clients[0].receive(session.server.requests()[0])
    with pytest.raises(ProtocolError, match="3 coordinates here"):
        session.clients[0].submit(replace(session.updates[0], delta=torch.zeros(2)))


# What stays hidden, and what does not


def words_of(packet: Packet, sender: int, terms: Agreement) -> np.ndarray[Any, Any]:
    return MaskedInput.from_bytes(
        memoryview(packet)[:-16], m=terms.d, word=terms.code.word
    ).words.copy()


def encoded(session: Session, client: int) -> np.ndarray[Any, Any]:
    words = np.empty(session.terms.d, dtype=session.terms.code.word)
    delta = session.updates[client].delta.numpy()
    session.terms.code.encode(delta, scale=1.0, stream=None, out=words)  # type: ignore[arg-type]
    return words


def test_the_late_upload_of_a_client_declared_dead_stays_hidden() -> None:
    # The server learns the dead client's mask key, takes all pair masks off its late upload, and is left with
    # update + self mask, whose seed nobody reveals.
    session = Session(agreement(5, d=1000)).begin(0).until(3)
    before = session.clients[4]._state
    assert before is not None
    key, seed = before.secrets.mask, before.secrets.seed  # what it forgets once it has uploaded
    packets = session.answers()
    late = packets.pop(4)
    for client, packet in packets.items():
        session.server.absorb(client, packet)
    session.server.close_stage()
    assert not session.server.absorb(4, late)
    session.stage()
    revealed = {
        client: RevealedShares.from_bytes(opened(packet, client, session.terms), most=5)
        for client, packet in session.answers().items()
    }
    assert all(
        set(told.seeds) == {0, 1, 2, 3} and set(told.mask_keys) == {4} for told in revealed.values()
    )
    held = {1 + client: told.mask_keys[4] for client, told in revealed.items()}
    dead = session.clients[4]._state
    assert dead is not None
    assert (dead.secrets.mask.private, dead.secrets.seed) == (b"", b"")
    assert shamir.reconstruct(held) == key.private  # this much the server does learn
    words = words_of(late, 4, session.terms)
    for client, agreed in zip(
        range(4), key.agree([dead.peers[c].mask_key for c in range(4)]), strict=True
    ):
        key_of_pair = pair_mask_key(agreed, dead.own, dead.peers[client], model_hash=HASH)
        add_masks(words, plus=[key_of_pair])  # 4 subtracted them
    assert not np.array_equal(words, encoded(session, 4))
    assert len(np.unique(words >> 24)) > 200  # looks uniform: 1000 words in 256 classes
    add_masks(words, minus=[self_mask_key(seed, dead.own)])
    assert np.array_equal(words, encoded(session, 4))  # the self mask is all that hid it


def test_n_minus_1_colluders_learn_exactly_the_victims_update() -> None:
    # Nothing in the channel protects against that; noise of the victim's own does.
    session = Session(agreement(5, d=50))
    view = session.play(0)
    colluders = sum(
        encoded(session, client).astype(np.int32).astype(np.int64) for client in (1, 2, 3, 4)
    )
    (opened_sum,) = [
        o.values for o in session.observed if (o.party, o.kind) == ("server", "sum of updates")
    ]
    assert opened_sum is not None
    total = np.rint(opened_sum.numpy() / session.terms.code.step).astype(np.int64)
    victim = encoded(session, 0).astype(np.int32).astype(np.int64)
    assert np.array_equal(total - colluders, victim)
    error = torch.from_numpy(victim * session.terms.code.step) - session.updates[0].delta.double()
    assert float(error.abs().max()) <= session.terms.code.step / 2
    assert view.clients == (0, 1, 2, 3, 4)


def test_messages_that_carry_secrets_and_shares_print_none() -> None:
    secret = bytes(range(200, 232))
    for message in (
        SetupReply(SESSION, 0, 1, secret),
        RevealedShares(SESSION, 0, 1, {2: secret}, {}),
        RevealedShares(SESSION, 0, 1, {}, {2: secret}),
    ):
        assert repr(secret)[2:-1] not in repr(message)


def test_the_state_of_a_client_prints_no_secret() -> None:
    session = Session(agreement(5)).begin(0).until(3)
    state = session.clients[0]._state
    assert state is not None
    for secret in (
        state.secrets.seed,
        state.secrets.mask.private,
        state.secrets.sealing.private,
        state.own_shares,
    ):
        assert secret.hex() not in repr(state)
        assert repr(secret)[2:-1] not in repr(state)


def test_round_secrets_are_fresh_in_every_round() -> None:
    session = Session(agreement(5))
    seen: set[bytes] = set()
    for round in range(3):
        session.begin(round)
        session.stage()
        for client in session.clients.values():
            assert client._state is not None
            secrets = client._state.secrets
            seen |= {secrets.seed, secrets.mask.private, secrets.sealing.private}
    assert len(seen) == 3 * 5 * 3


def test_the_servers_key_of_uploads_is_fresh_in_every_round() -> None:
    session, keys = Session(agreement(5)), set()
    for round in range(3):
        request = session.begin(round).server.requests()[0]
        keys.add(Invitation.from_bytes(memoryview(request)[:-64], most=5).key)
    assert len(keys) == 3
