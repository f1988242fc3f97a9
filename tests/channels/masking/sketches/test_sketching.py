"""A server that breaks the protocol gets one sum of enough clients, and distances, or nothing.

It holds the server's real signing key. The honest clients of a session play the first stages with
an honest server, and then get any request, correctly signed.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from securefl.channels.masking.keys import SEALING, SIGNATURE_BYTES
from securefl.channels.masking.requests import (
    Addressed,
    Invitation,
    SurvivorList,
    UnmaskRequest,
)
from securefl.channels.masking.sketches.context import (
    SEALED_PAIR_SKETCHES,
    SEALED_SKETCHES,
    promise_of,
)
from securefl.channels.masking.sketches.replies import (
    OpeningShares,
)
from securefl.channels.masking.sketches.requests import (
    AcceptanceList,
    BlameRequest,
    Challenge,
    DealingList,
    PromisedInvitation,
    UploadList,
)
from securefl.channels.monotonic import MemoryMonotonic
from securefl.errors import ProtocolError
from tests.channels.masking.parties import SESSION, Session, agreement, identity, update
from tests.channels.masking.puppeteer import SERVER_KEY, signed
from tests.channels.masking.sketches.parties import (
    SketchSession,
    make_sketching_client,
    parsed_dealing,
    resigned,
    sketch_terms,
)

N = 6
LAST = 8


def session_before(stage: int) -> SketchSession:
    """Returns a session of six honest clients, and the server's requests of a stage to come."""
    return SketchSession(sketch_terms(N)).begin(0).until(stage)


def request_of(session: SketchSession, client: int = 0) -> Any:
    """Returns the honest server's request to a client, parsed."""
    packet = session.server.requests()[client]
    return session.clients[client]._member.reader.opened(packet, session.terms).message


def ask(session: SketchSession, message: Any, client: int = 0) -> Any:
    """Sends a client any request, correctly signed by the server."""
    if isinstance(message, Addressed):
        message = replace(message, recipient=client)
    return session.answer(client, signed(message, session.terms))


def state_of(session: SketchSession, client: int) -> Any:
    return session.clients[client]._state


def is_erased(session: SketchSession, client: int = 0) -> bool:
    """Whether a client answers no request of this round any more."""
    state = state_of(session, client)
    head = (SESSION, session.round, client)
    for message in (
        UploadList(*head, bytes(32), {}),
        DealingList(*head, {}, {}),
        AcceptanceList(*head, {}),
        SurvivorList(*head, (0,)),
        UnmaskRequest(*head, {}),
        BlameRequest(*head),
        Challenge(*head, bytes(32), {}, {}),
    ):
        with pytest.raises(ProtocolError, match="is not in progress"):
            ask(session, message, client)
    return state is None


def without(table: Mapping[int, bytes], *clients: int) -> dict[int, bytes]:
    return {client: entry for client, entry in table.items() if client not in clients}


def flipped(entry: bytes, place: int = -1) -> bytes:
    changed = bytearray(entry)
    changed[place] ^= 1
    return bytes(changed)


Change = Callable[[Any], Any]

ILLEGAL: dict[str, tuple[int, str, Change]] = {
    "4, without this client": (
        4,
        "does not hold this client's own",
        lambda m: replace(m, digests=without(m.digests, 0)),
    ),
    "4, another upload of this client": (
        4,
        "does not hold this client's own",
        lambda m: replace(m, digests={**m.digests, 0: flipped(m.digests[0])}),
    ),
    "4, another nonce": (
        4,
        "not the one that was promised",
        lambda m: replace(m, nonce=flipped(m.nonce)),
    ),
    "4, too few uploads": (
        4,
        "3 clients are too few for a sum of 6; it takes 4",
        lambda m: replace(m, digests=without(m.digests, 3, 4, 5)),
    ),
    "5, without this client's dealing": (
        5,
        "do not hold this client's own",
        lambda m: replace(m, dealings=without(m.dealings, 0)),
    ),
    "5, this client's dealing changed": (
        5,
        "does not verify",
        lambda m: replace(m, dealings={**m.dealings, 0: flipped(m.dealings[0])}),
    ),
    "5, a forged dealing": (
        5,
        "does not verify",
        lambda m: replace(m, dealings={**m.dealings, 3: flipped(m.dealings[3], 40)}),
    ),
    "5, somebody else's dealing": (
        5,
        "does not verify",
        lambda m: replace(m, dealings={**m.dealings, 3: m.dealings[4]}),
    ),
    "5, a box too few": (
        5,
        "not one box for each dealing",
        lambda m: replace(m, boxes=without(m.boxes, 3)),
    ),
    "5, a box too many": (
        5,
        "not one box for each dealing",
        lambda m: replace(m, dealings=without(m.dealings, 3)),
    ),
    "6, too few acceptances": (
        6,
        "fewer clients than the threshold saw the same dealings",
        lambda m: replace(m, acceptances=without(m.acceptances, 0, 1, 2)),
    ),
    "6, a forged acceptance": (
        6,
        "does not verify",
        lambda m: replace(m, acceptances={**m.acceptances, 3: flipped(m.acceptances[3], 40)}),
    ),
    "6, somebody else's acceptance": (
        6,
        "does not verify",
        lambda m: replace(m, acceptances={**m.acceptances, 3: m.acceptances[4]}),
    ),
    "7, too few chosen": (
        7,
        "2 chosen clients are too few for a sum; it takes 3",
        lambda m: replace(m, survivors=(0, 1)),
    ),
    "7, nobody chosen": (
        7,
        "0 chosen clients are too few",
        lambda m: replace(m, survivors=()),
    ),
    "7, a stranger chosen": (
        7,
        "chooses clients that did not deal",
        lambda m: replace(m, survivors=(0, 1, 2, 3, 9)),
    ),
    "8, too few consents": (
        8,
        "fewer clients than the threshold agreed",
        lambda m: replace(m, consents=without(m.consents, 0, 1, 2)),
    ),
    "8, a forged consent": (
        8,
        "does not verify",
        lambda m: replace(m, consents={**m.consents, 3: flipped(m.consents[3])}),
    ),
}


@pytest.mark.parametrize(("stage", "sentence", "change"), ILLEGAL.values(), ids=ILLEGAL.keys())
def test_an_illegal_request_is_refused_and_erases_the_round(
    stage: int, sentence: str, change: Change
) -> None:
    session = session_before(stage)
    with pytest.raises(ProtocolError, match=sentence):
        ask(session, change(request_of(session)))
    assert is_erased(session)


def as_of_client_five(dealing: bytes) -> bytes:
    """Returns a dealing of client 4 that client 5 signed as its own."""
    terms = sketch_terms(N)
    return resigned(5, dealing, terms, lambda body: body[:25] + b"\5\0\0\0" + body[29:])


STRANGERS: dict[str, tuple[int, int, str, Change]] = {
    "4, an upload": (
        4,
        2,
        "clients that were not there before",
        lambda m: replace(m, digests={**m.digests, 5: bytes(32)}),
    ),
    "5, a dealing": (
        5,
        3,
        "a dealing came from a client whose update did not arrive",
        lambda m: replace(
            m,
            dealings={**m.dealings, 5: as_of_client_five(m.dealings[4])},
            boxes={**m.boxes, 5: m.boxes[4]},
        ),
    ),
    "6, an acceptance": (
        6,
        4,
        "came from a client that did not deal",
        lambda m: replace(m, acceptances={**m.acceptances, 5: m.acceptances[4]}),
    ),
    "7, a chosen client": (
        7,
        4,
        "chooses clients that did not deal",
        lambda m: replace(m, survivors=(0, 1, 2, 3, 5)),
    ),
    "8, a consent": (
        8,
        4,
        "came from a client that did not deal",
        lambda m: replace(m, consents={**m.consents, 5: m.consents[4]}),
    ),
}


@pytest.mark.parametrize(
    ("stage", "silent", "sentence", "change"), STRANGERS.values(), ids=STRANGERS.keys()
)
def test_nobody_takes_part_who_was_silent_before(
    stage: int, silent: int, sentence: str, change: Change
) -> None:
    session = SketchSession(sketch_terms(N)).begin(0).until(stage, silent={5: silent})
    with pytest.raises(ProtocolError, match=sentence):
        ask(session, change(request_of(session)))
    assert is_erased(session)


@pytest.mark.parametrize("stage", range(2, LAST + 1))
def test_a_stage_asked_for_twice_with_another_content_erases_the_round(stage: int) -> None:
    session = session_before(stage)
    message = request_of(session)
    first = ask(session, message)
    if stage == 3:
        return  # the second delivery meets a client that has submitted: see stage 4
    assert ask(session, message) == first  # the same bytes get the same bytes
    others: dict[int, Change] = {
        2: lambda m: replace(m, advertisements=without(m.advertisements, 5)),
        4: lambda m: replace(m, digests=without(m.digests, 5)),
        5: lambda m: replace(m, dealings=without(m.dealings, 5), boxes=without(m.boxes, 5)),
        6: lambda m: replace(m, acceptances=without(m.acceptances, 5)),
        7: lambda m: replace(m, survivors=(0, 1, 2, 3, 4)),
        8: lambda m: replace(m, consents=without(m.consents, 5)),
    }
    with pytest.raises(ProtocolError, match="twice or out of order"):
        ask(session, others[stage](message))
    assert is_erased(session)


@pytest.mark.parametrize("stage", range(2, LAST))
def test_no_stage_is_answered_before_its_turn(stage: int) -> None:
    for later in {stage + 1, LAST} - {stage}:
        session = session_before(stage)
        with pytest.raises(ProtocolError, match="twice or out of order"):
            ask(session, request_of(session_before(later)))
        assert is_erased(session)


@pytest.mark.parametrize("stage", range(2, LAST + 1))
@pytest.mark.parametrize(
    "message", [BlameRequest(SESSION, 0, 0), Challenge(SESSION, 0, 0, bytes(32), {}, {})], ids=repr
)
def test_nobody_is_blamed_before_the_sum_is_open(stage: int, message: Any) -> None:
    session = session_before(stage)
    with pytest.raises(ProtocolError, match="twice or out of order"):
        ask(session, message)
    assert is_erased(session)


def test_requests_that_are_foreign_forged_or_malformed_change_nothing() -> None:
    session = SketchSession(sketch_terms(N)).begin(0)
    for _ in range(LAST):
        answers = {}
        for client, request in session.server.requests().items():
            message = request_of(session, client)
            wrong = [
                b"",
                request[:-1],
                flipped(request),
                flipped(request, 40),
                signed(message, session.terms, identity(3)),
                signed(replace(message, session=bytes(16)), session.terms),
            ]
            if isinstance(message, Addressed):
                wrong.append(signed(replace(message, recipient=client + 1), session.terms))
                wrong.append(signed(replace(message, round=1), session.terms))
            for packet in wrong:
                with pytest.raises(ProtocolError, match=r"message|another session|meant|progress"):
                    session.clients[client].receive(packet)
            answers[client] = session.answer(client, request)
        for client, answer in answers.items():
            assert session.server.absorb(client, answer)
        view = session.server.close_stage()
    assert view is not None
    assert view.clients == tuple(range(N))


def test_a_dealing_of_a_stranger_is_refused_as_any_other_illegal_request() -> None:
    session = SketchSession(sketch_terms(N)).begin(0).until(5)
    message = request_of(session, 0)
    assert isinstance(message, DealingList)
    dealings, boxes = dict(message.dealings), dict(message.boxes)
    dealings[77], boxes[77] = dealings.pop(N - 1), boxes.pop(N - 1)
    with pytest.raises(ProtocolError, match="a client whose update did not arrive"):
        session.clients[0].receive(
            signed(replace(message, dealings=dealings, boxes=boxes), session.terms)
        )


def test_an_invitation_without_a_promise_is_no_message_of_such_a_session() -> None:
    session = SketchSession(sketch_terms(N))
    with pytest.raises(ProtocolError, match="a message of this kind is not for a client"):
        ask(session, Invitation(SESSION, 0, SERVER_KEY, tuple(range(N))))
    session.updates = {0: update(0, session.terms)}
    promised = PromisedInvitation(SESSION, 0, SERVER_KEY, tuple(range(N)), bytes(32))
    assert ask(session, promised)


def test_the_promise_is_the_sha_256_of_the_nonce() -> None:
    session = session_before(1)
    promise = request_of(session).promise
    for _ in range(3):
        session.stage()
    assert hashlib.sha256(request_of(session).nonce).digest() == promise


def test_every_round_has_a_nonce_of_its_own() -> None:
    session = session_before(4)
    first = request_of(session).nonce
    session.begin(1).until(4)
    assert request_of(session).nonce != first


@pytest.mark.parametrize(
    "message",
    [
        PromisedInvitation(SESSION, 0, SERVER_KEY, tuple(range(5)), bytes(32)),
        UploadList(SESSION, 0, 0, bytes(32), {}),
        DealingList(SESSION, 0, 0, {}, {}),
        AcceptanceList(SESSION, 0, 0, {}),
        BlameRequest(SESSION, 0, 0),
        Challenge(SESSION, 0, 0, bytes(32), {}, {}),
    ],
    ids=lambda message: type(message).__name__,
)
def test_clients_of_other_masked_sessions_read_no_such_request(message: Any) -> None:
    session = Session(agreement(5)).begin(0).until(4)
    with pytest.raises(ProtocolError, match="a message of this kind is not for a client"):
        session.clients[0].receive(signed(message, session.terms))
    assert session.stage() is None
    assert session.stage() is not None


def test_a_block_with_more_sketches_than_the_words_have_room_for_is_refused() -> None:
    terms = sketch_terms(N)
    tight = replace(terms, code=replace(terms.code, most=8 * N - 1))
    client = make_sketching_client(0, tight)
    promised = PromisedInvitation(SESSION, 0, SERVER_KEY, tuple(range(N)), bytes(32))
    with pytest.raises(ProtocolError, match="6 sketches are more than the terms have room for"):
        client.receive(signed(promised, tight))


def test_a_box_of_one_purpose_does_not_open_as_one_of_another() -> None:
    session = session_before(3)
    zero, one = state_of(session, 0), state_of(session, 1)
    labels = (SEALING, SEALED_SKETCHES, SEALED_PAIR_SKETCHES)
    for label in labels:
        (box,) = zero.secrets.seal(zero.own, zero.peers, {1: b"shares"}, label=label).values()
        for other in labels:
            opened_box = one.secrets.opened(one.own, one.peers, {0: box}, label=other)
            assert opened_box == ({0: b"shares"} if other == label else {})


# Two stories.


def replies(session: SketchSession, messages: Mapping[int, Any]) -> dict[int, Any]:
    return {client: ask(session, message, client) for client, message in messages.items()}


def test_clients_with_different_lists_of_uploads_never_accept_each_others_dealings() -> None:
    session = session_before(4)
    terms, full = session.terms, request_of(session)
    changed = replace(full, digests={**full.digests, 5: flipped(full.digests[5])})
    dealt = replies(session, {0: full, 1: full, 4: changed})
    parsed = {
        client: parsed_dealing(bytes(reply)[:-SIGNATURE_BYTES], terms, holders=N)
        for client, reply in dealt.items()
    }
    dealings = {client: dealing.signed for client, dealing in parsed.items()}
    boxes = {client: parsed[client].boxes[0] for client in (1, 4)}
    with pytest.raises(ProtocolError, match="about other uploads"):
        ask(session, DealingList(SESSION, 0, 0, dealings, boxes))
    assert is_erased(session)


@pytest.mark.parametrize("story", ["nonce", "model"])
def test_sketches_under_another_matrix_or_of_another_model_are_never_compared(story: str) -> None:
    # Distances to them would show norms: |A u - B v|^2 is about |A u|^2 + |B v|^2, and an update of
    # a model that makes it zero leaves the norm of the other one.
    session = session_before(1)
    promised = request_of(session)
    other = replace(promised, promise=promise_of(bytes(32))) if story == "nonce" else promised
    for client in range(N):
        answer = ask(session, promised if client else other, client)
        assert session.server.absorb(client, answer)
    session.server.close_stage()
    session.stage()
    for client in range(N):
        delivery = request_of(session, client)
        if client == 0 and story == "model":
            delivery = replace(delivery, model_hash=b"m" * 32)
            session.updates[0] = replace(session.updates[0], model_hash=b"m" * 32)
        assert session.server.absorb(client, ask(session, delivery, client))
    session.server.close_stage()
    request = request_of(session)
    if story == "nonce":
        request = replace(request, nonce=bytes(32))
    dealt = {0: ask(session, request)}
    dealt |= {client: ask(session, request_of(session, client), client) for client in (1, 2, 3)}
    parsed = {
        client: parsed_dealing(bytes(reply)[:-SIGNATURE_BYTES], session.terms, holders=N)
        for client, reply in dealt.items()
    }
    for client in (0, 1):
        dealings = {dealer: dealing.signed for dealer, dealing in parsed.items()}
        boxes = {d: dealing.boxes[client] for d, dealing in parsed.items() if d != client}
        with pytest.raises(ProtocolError, match="about other uploads"):
            ask(session, DealingList(SESSION, 0, client, dealings, boxes), client)
        assert is_erased(session, client)


def test_clients_that_saw_different_dealings_multiply_no_shares() -> None:
    session = session_before(5)
    full = request_of(session)
    fewer = replace(full, dealings=without(full.dealings, 5), boxes=without(full.boxes, 5))
    messages: dict[int, Any] = {}
    for client in range(5):
        own = request_of(session, client)
        messages[client] = (
            own
            if client < 2
            else replace(own, dealings=without(own.dealings, 5), boxes=without(own.boxes, 5))
        )
    acceptances = {c: bytes(reply) for c, reply in replies(session, messages).items()}
    assert fewer.dealings != full.dealings
    # 2 and 3 clients, where it takes 4: neither story has a threshold behind it.
    for client in (0, 4):
        with pytest.raises(ProtocolError, match="was shown other dealings"):
            ask(session, AcceptanceList(SESSION, 0, client, acceptances), client)
        assert is_erased(session, client)
    for client, group in ((1, (0, 1)), (2, (2, 3, 4))):
        own = {member: acceptances[member] for member in group}
        with pytest.raises(ProtocolError, match="fewer clients than the threshold"):
            ask(session, AcceptanceList(SESSION, 0, client, own), client)
        assert is_erased(session, client)


def test_two_sets_of_chosen_clients_never_both_get_a_threshold_of_consents() -> None:
    session = session_before(7)
    first, second = (0, 1, 2, 3, 4, 5), (0, 1, 2, 3)
    head = (SESSION, 0, 0)
    messages: dict[int, Any] = {
        client: SurvivorList(*head, first if client < 3 else second) for client in range(N)
    }
    consents = {c: bytes(reply) for c, reply in replies(session, messages).items()}
    for client, group in ((0, (0, 1, 2)), (3, (3, 4, 5))):
        own = {member: consents[member] for member in group}
        with pytest.raises(ProtocolError, match="fewer clients than the threshold"):
            ask(session, UnmaskRequest(*head, own), client)
    with pytest.raises(ProtocolError, match="agreed to other keys"):
        ask(session, UnmaskRequest(*head, consents), 1)
    # Another choice after the first one is refused.
    with pytest.raises(ProtocolError, match="twice or out of order"):
        ask(session, SurvivorList(*head, first), 4)
    assert all(is_erased(session, client) for client in (0, 1, 3, 4))


def test_of_each_client_a_share_of_the_seed_or_of_the_mask_key_is_revealed_and_never_both() -> None:
    session = SketchSession(sketch_terms(N), lambda squared, f: [1, 1, 1, 1, 0, 0])
    session.begin(0).until(8)
    for client, reply in session.answers().items():
        body = memoryview(reply)[:-SIGNATURE_BYTES]
        shares = OpeningShares.from_bytes(body, size=16, most=N)
        assert set(shares.seeds) == {0, 1, 2, 3}
        assert set(shares.mask_keys) == {4, 5}
        assert session.server.absorb(client, reply)
    view = session.server.close_stage()
    assert view is not None
    assert (view.clients, view.left_out) == ((0, 1, 2, 3), (4, 5))


def test_clients_that_were_not_chosen_consent_and_reveal_so_that_refusals_stop_nothing() -> None:
    # Four are chosen, and one of them is silent from stage 7 on: only three of the chosen sign.
    session = SketchSession(sketch_terms(N), lambda squared, f: [1, 1, 1, 1, 0, 0])
    view = session.play(0, silent={2: 7})
    assert view.clients == (0, 1, 2, 3)


# Blame.


def opened() -> SketchSession:
    """Returns a session after an honest round: its clients have revealed."""
    session = SketchSession(sketch_terms(N), lambda squared, f: [1, 1, 1, 1, 0, 0])
    session.play(0)
    return session


def test_blame_without_a_failed_check_opens_zeros_and_nothing_twice() -> None:
    session = opened()
    head = (SESSION, 0, 0)
    first = ask(session, BlameRequest(*head))
    assert ask(session, BlameRequest(*head)) == first
    state = state_of(session, 0)
    own = {0: state.pair_public}
    answer = ask(session, Challenge(*head, bytes(32), own, {}))
    assert ask(session, Challenge(*head, bytes(32), own, {})) == answer
    # Another challenge would open another combination.
    assert state_of(session, 0) is None
    with pytest.raises(ProtocolError, match="is not in progress"):
        ask(session, Challenge(*head, b"\1" * 32, own, {}))


def test_a_client_that_was_not_chosen_deals_no_pair_sketches() -> None:
    session = opened()
    with pytest.raises(ProtocolError, match="was not chosen"):
        ask(session, BlameRequest(SESSION, 0, 0), 5)
    assert is_erased(session, 5)


def test_a_chosen_client_answers_no_challenge_before_it_dealt() -> None:
    session = opened()
    with pytest.raises(ProtocolError, match="twice or out of order"):
        ask(session, Challenge(SESSION, 0, 0, bytes(32), {}, {}))
    assert is_erased(session)


def test_a_challenge_without_the_own_dealing_or_with_a_strangers_is_refused() -> None:
    for change, sentence in (
        (lambda own: {}, "do not hold this client's own"),
        (lambda own: {0: flipped(own)}, "does not verify"),
        (lambda own: {0: own, 1: own}, "does not verify"),
    ):
        session = opened()
        ask(session, BlameRequest(SESSION, 0, 0))
        dealings = change(state_of(session, 0).pair_public)
        with pytest.raises(ProtocolError, match=sentence):
            ask(session, Challenge(SESSION, 0, 0, bytes(32), dealings, {}))
        assert is_erased(session)


def test_a_dealing_of_a_sketch_is_none_of_pair_sketches() -> None:
    session = opened()
    sketch = {0: state_of(session, 0).public}
    with pytest.raises(ProtocolError, match="a message of kind 49"):
        ask(session, Challenge(SESSION, 0, 5, bytes(32), sketch, {0: bytes(600)}), 5)
    assert is_erased(session, 5)


# Memory.


def test_a_client_keeps_its_words_until_it_has_dealt_and_no_secret_that_is_used_up() -> None:
    session = session_before(4)
    assert state_of(session, 0).words is not None
    assert state_of(session, 0).secrets.seed == b""
    session.stage()
    assert state_of(session, 0).words is None
    session.stage()
    session.stage()
    assert all(not shares.zeros for shares in state_of(session, 0).accepted.values())
    session.stage()
    session.stage()
    assert state_of(session, 0).own_shares == b""
    assert state_of(session, 0).sealed == {}


def test_after_a_round_a_client_holds_what_finding_liars_takes_and_no_private_key() -> None:
    session = opened()  # the clients 4 and 5 were not chosen
    for client in range(N):
        held = state_of(session, client)
        assert held.secrets == held.secrets.forgotten()
        assert (held.own_shares, held.sealed, held.own_sketch, held.words) == (b"", {}, b"", None)
        assert set(held.accepted) == {0, 1, 2, 3}
        assert all(shares.zeros == [] for shares in held.accepted.values())
        assert set(held.keys_from) == {0, 1, 2, 3} - {client}
        is_chosen = client < 4
        assert set(held.pair_keys) == ({0, 1, 2, 3} - {client} if is_chosen else set())
        assert set(held.keys_to) == (set(range(N)) - {client} if is_chosen else set())


def test_a_client_that_dealt_pair_sketches_holds_no_key_of_a_mask() -> None:
    session = opened()
    ask(session, BlameRequest(SESSION, 0, 0))
    held = state_of(session, 0)
    assert (held.pair_keys, held.keys_to) == ({}, {})
    assert set(held.keys_from) == {1, 2, 3}


def test_a_restarted_client_takes_no_further_part_in_a_round_at_any_stage() -> None:
    for stage in range(2, LAST + 1):
        terms = sketch_terms(N)
        session = SketchSession(terms)
        monotonic = MemoryMonotonic()
        session.clients[0] = make_sketching_client(0, terms, monotonic)
        session.begin(0).until(stage)
        request = session.server.requests()[0]
        session.clients[0] = make_sketching_client(0, terms, monotonic)
        with pytest.raises(ProtocolError, match="is not in progress"):
            session.clients[0].receive(request)


def test_a_client_put_back_to_an_earlier_state_gives_no_second_answer() -> None:
    for stage in range(4, LAST + 1):
        terms = sketch_terms(N)
        session = SketchSession(terms)
        client = make_sketching_client(0, terms)
        session.clients[0] = client
        session.begin(0).until(stage)
        request = session.server.requests()[0]
        state, replies_before = client._state, client._replies
        assert client.receive(request)
        client._state, client._replies = state, replies_before
        with pytest.raises(ProtocolError, match="was answered before"):
            client.receive(request)
        assert client._state is None
