"""A malicious server cannot name its own survivors, tell two stories or lower a threshold.

It holds the server's real signing key, so that every request it makes up is correctly signed. The
tests follow docs/threat-model.md, which names them.
"""

import struct
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.client import MaskedClient
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.replies import (
    Consent,
    SealedShares,
)
from securefl.channels.masking.requests import (
    Invitation,
    KeyTable,
    ShareDelivery,
    SurvivorList,
)
from securefl.channels.masking.round_secrets import (
    RoundSecrets,
)
from securefl.channels.masking.server import MaskedServer
from securefl.channels.masking.statement import digest_of_clients
from securefl.channels.monotonic import MemoryMonotonic
from securefl.errors import ProtocolError
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
from tests.channels.masking.puppeteer import SERVER_KEY, Puppets, is_erased, opened, puppets, signed


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
    # Client 4 is corrupt and consents to everything; the other four hear one of two stories, in
    # every division. The threshold is 4: three honest clients and the corrupt one may open their
    # story, and then nobody opens the other.
    stories = [
        tuple(range(5)),
        (0, 1, 2, 4),
        (0, 1, 3, 4),
        (0, 2, 3, 4),
        (1, 2, 3, 4),
        (0, 1, 2, 3),
    ]
    divisions = 0
    for first, second in combinations(stories, 2):
        for size in range(1, 4):
            for group in combinations(range(4), size):
                story_of = {client: first if client in group else second for client in range(4)}
                if any(client not in story for client, story in story_of.items()):
                    continue  # refused before: its own story leaves it out
                divisions += 1
                hands, _ = puppets()
                consents = {
                    client: hands.consent(client, story) for client, story in story_of.items()
                }
                opened_stories = {
                    story
                    for client, story in story_of.items()
                    if reveals(hands, client, story_of, consents)
                }
                assert len(opened_stories) == (
                    size in (1, 3) and 4 in (first if size == 3 else second)
                )
    assert divisions > 20


def reveals(
    hands: Puppets,
    client: int,
    story_of: Mapping[int, tuple[int, ...]],
    consents: Mapping[int, bytes],
) -> bool:
    """Whether the client reveals shares for all consents to its story, the corrupt one included."""
    agreeing = {
        other: consents[other] for other, story in story_of.items() if story == story_of[client]
    }
    if 4 in story_of[client]:
        agreeing[4] = forged_consent(hands, consents[client], 4)
    try:
        hands.reveal(client, agreeing)
    except ProtocolError as refused:
        # Either outcome is legal.
        assert "fewer clients than the threshold" in str(refused)  # noqa: PT017
        return False
    finally:
        assert is_erased(hands, client)
    return True


def forged_consent(hands: Puppets, like: bytes, client: int) -> bytes:
    """Returns the consent of a corrupt client to another client's statement."""
    statement = Consent.from_bytes(memoryview(like)[:-64]).statement
    return signed(Consent(SESSION, 0, client, statement), hands.terms, identity(client))


def test_of_two_stories_about_who_shared_at_most_one_gets_shares() -> None:
    # As above, with the sets between which masks are laid: a client outside such a set counts as
    # dropped for nobody.
    stories = [tuple(range(5)), (0, 1, 2, 4), (0, 1, 3, 4), (0, 2, 3, 4), (1, 2, 3, 4)]
    revealed = 0
    for first, second in combinations(stories, 2):
        for size in range(1, 4):
            for group in combinations(range(4), size):
                story_of = {client: first if client in group else second for client in range(4)}
                if any(client not in story for client, story in story_of.items()):
                    continue
                hands, boxes = puppets(upto=2)
                for client, story in story_of.items():
                    shown = {sender: box for sender, box in boxes.items() if sender in story}
                    hands.say(client, hands.delivery(client, shown))
                consents = {
                    client: hands.consent(client, story) for client, story in story_of.items()
                }
                opened_stories = {
                    story
                    for client, story in story_of.items()
                    if reveals(hands, client, story_of, consents)
                }
                assert len(opened_stories) <= 1
                revealed += len(opened_stories)
    assert revealed > 0


def test_all_consents_of_two_stories_together_get_no_share_either() -> None:
    hands, _ = puppets()
    story_of = {0: (0, 1, 2, 3, 4), 1: (0, 1, 2, 3, 4), 3: (0, 1, 3, 4), 4: (0, 1, 3, 4)}
    consents = {client: hands.consent(client, story) for client, story in story_of.items()}
    for client in (0, 3):
        with pytest.raises(
            ProtocolError, match="agreed to other keys, other survivors or another model"
        ):
            hands.reveal(client, consents)
        assert is_erased(hands, client)


@pytest.mark.parametrize(("n", "odd"), [(4, 1), (5, 1), (7, 1), (7, 2), (10, 1), (10, 3)])
def test_what_opens_over_different_models_is_noise(n: int, odd: int) -> None:
    # Pasquini et al.: the odd clients get the true model, the rest a model with which their
    # updates vanish. A threshold of the rest agrees, so that seeds are opened. The pair masks do
    # not cancel, since their keys hold the model's hash.
    session = Session(agreement(n, d=1000)).begin(0).until(3)
    rest = range(odd, n)
    for client in range(n):
        delta = session.updates[client].delta if client < odd else torch.zeros(1000)
        name = b"o" * 32 if client < odd else HASH
        session.updates[client] = replace(session.updates[client], delta=delta, model_hash=name)
    for client, request in session.server.requests().items():
        delivery = ShareDelivery.from_bytes(memoryview(request)[:-64], most=n)
        request = signed(
            replace(delivery, model_hash=session.updates[client].model_hash), session.terms
        )
        assert session.server.absorb(client, session.answer(client, request))
    session.server.close_stage()
    for client, packet in session.answers().items():
        assert session.server.absorb(client, packet) == (
            client in rest
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
        name = HASH if client < 2 else b"o" * 32
        hands.session.updates[client] = replace(hands.session.updates[client], model_hash=name)
        hands.say(client, hands.delivery(client, boxes, model=name))
    consents = {client: hands.consent(client, range(5)) for client in range(5)}
    for client in range(5):
        with pytest.raises(ProtocolError, match="another model"):
            hands.reveal(client, consents)
        assert is_erased(hands, client)


def test_key_tables_that_differ_get_no_share_where_neither_has_a_threshold() -> None:
    # Client 4 is corrupt and advertises twice; the server shows each set of keys to two clients.
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
    for client, (sentence, shown) in enumerate(cases.items()):
        with pytest.raises(ProtocolError, match=sentence):
            hands.reveal(client, shown)
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
        assert hands.reveal(client, consents) == revealed  # the same bytes reveal nothing new
        with pytest.raises(ProtocolError, match="is not in progress"):
            hands.reveal(client, {other: consents[other] for other in range(3)})
        assert is_erased(hands, client)


# What the server may not lower


class Lowered(Agreement):
    """Terms with the honest digest in every signature, and a lower threshold and minimum."""

    def threshold(self, invited: int) -> int:
        return 1

    def fewest(self, invited: int) -> int:
        return 1


def lowered(terms: Agreement) -> Agreement:
    terms_below = Lowered(**{name: getattr(terms, name) for name in Agreement.__dataclass_fields__})
    assert terms_below.digest == terms.digest
    return terms_below


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
    assert hands.invite(range(5))  # the refusal changed nothing


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
