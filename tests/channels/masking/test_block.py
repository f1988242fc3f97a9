"""One sum at the server: the shares it accepts, the keys it drops, and the bounds on a liar."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.keys import RoundKey, share_commitment, tag
from securefl.channels.masking.replies import (
    Advertisement,
    MaskedInput,
    RevealedShares,
    SealedShares,
)
from securefl.channels.masking.requests import Invitation
from securefl.channels.masking.round_secrets import RoundSecrets, possession, share_commitments
from securefl.channels.protocol import ClientUpdate, Packet, View
from securefl.errors import RoundAbandoned
from tests.channels.masking.parties import HASH, SESSION, Session, agreement, identity
from tests.channels.masking.puppeteer import SHARE, opened, rebuilt, signed

# Wrong shares.


def revealed(session: Session, client: int, packet: Packet) -> RevealedShares:
    return RevealedShares.from_bytes(
        opened(packet, client, session.terms), most=len(session.terms.roster)
    )


def spoilt(session: Session, client: int, packet: Packet, of: Sequence[int]) -> bytes:
    """Returns a holder's reply with false shares of these dealers' secrets."""
    shares = revealed(session, client, packet)
    seeds = {dealer: SHARE if dealer in of else share for dealer, share in shares.seeds.items()}
    keys = {dealer: SHARE if dealer in of else share for dealer, share in shares.mask_keys.items()}
    return signed(replace(shares, seeds=seeds, mask_keys=keys), session.terms, identity(client))


def last_stage(session: Session, liars: Sequence[int], of: Sequence[int]) -> View | None:
    """Plays stage 5, in which liars reveal wrong shares of these dealers' secrets."""
    for client, packet in session.answers().items():
        reply = spoilt(session, client, packet, of) if client in liars else packet
        assert session.server.absorb(client, reply)
    return session.server.close_stage()


def mean_of(session: Session, clients: Sequence[int]) -> torch.Tensor:
    return torch.stack([session.updates[client].delta for client in clients]).mean(dim=0)


@pytest.mark.parametrize("liars", list(combinations(range(8), 2)))
def test_as_many_wrong_shares_as_may_be_corrupt_do_no_harm_while_a_threshold_of_right_ones_is_there(
    liars: tuple[int, ...],
) -> None:
    # n = 8, c = 2, t = 6: all eight answer, two lie about every secret, and exactly t right shares
    # of each remain.
    session = Session(agreement(8, corrupt=2, min_cohort=4)).begin(0).until(5)
    assert session.terms.threshold(8) == 6
    view = last_stage(session, liars, of=range(8))
    assert view is not None
    assert view.clients == tuple(range(8))
    assert torch.allclose(view.rows[0], mean_of(session, range(8)), atol=1e-6)


def test_wrong_shares_of_a_dropped_clients_key_do_no_harm_either() -> None:
    session = Session(agreement(9, corrupt=2, min_cohort=4)).begin(0).until(5, silent={8: 3})
    assert session.terms.threshold(9) == 6
    view = last_stage(session, (0, 1), of=range(9))
    assert view is not None
    assert view.clients == tuple(range(8))
    assert torch.allclose(view.rows[0], mean_of(session, range(8)), atol=1e-6)


def test_one_wrong_share_too_many_abandons_the_block_and_opens_nothing() -> None:
    session = Session(agreement(8, corrupt=2, min_cohort=4)).begin(0).until(5)
    with pytest.raises(
        RoundAbandoned, match="seed of client 3 has 5 right shares left, it takes 6"
    ):
        last_stage(session, (0, 1, 2), of=[3])
    assert not [o for o in session.observed if o.kind == "sum of updates"]


def test_a_wrong_share_of_its_own_secret_is_not_taken_from_the_dealer_either() -> None:
    session = Session(agreement(5)).begin(0).until(5)
    view = last_stage(session, (0,), of=[0])  # the first of its own holders
    assert view is not None
    assert torch.allclose(view.rows[0], mean_of(session, range(5)), atol=1e-6)


@pytest.mark.parametrize("dropped", [False, True])
def test_a_dealer_that_commits_to_shares_of_something_else_loses_its_block_and_is_named(
    dropped: bool,
) -> None:
    session = Session(agreement(5)).begin(0).until(2)
    state = session.clients[3]._state
    assert state is not None
    forged = RoundSecrets(RoundKey(b"f" * 32), state.secrets.sealing, b"f" * 32)
    session.clients[3]._state = replace(state, secrets=forged)  # it advertised others
    session.stage()
    session.stage(silent=[3] if dropped else [])
    session.stage()
    secret = "mask key" if dropped else "seed"
    with pytest.raises(
        RoundAbandoned, match=f"the shares that client 3 dealt do not give its {secret}"
    ):
        session.stage()


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: reply.pop(1),
        lambda reply: reply.pop(0),  # of its own share
        lambda reply: reply.update({9: bytes(32)}),
        lambda reply: reply.clear(),
    ],
)
def test_shares_without_a_commitment_to_each_are_dropped(
    change: Callable[[dict[int, bytes]], object],
) -> None:
    session = Session(agreement(5)).begin(0).until(2)
    packet = session.answers()[0]
    reply = SealedShares.from_bytes(opened(packet, 0, session.terms), most=5)
    commitments = dict(reply.commitments)
    change(commitments)
    assert not session.server.absorb(
        0, signed(replace(reply, commitments=commitments), session.terms, identity(0))
    )
    assert session.server.absorb(0, packet)


def test_commitments_differ_by_share_session_round_dealer_holder_and_secret() -> None:
    base: dict[str, Any] = {"session": SESSION, "round": 3, "dealer": 4, "holder": 5, "place": 0}
    changes: list[dict[str, Any]] = [
        {},
        {"session": b"o" * 16},
        {"round": 4},
        {"dealer": 5, "holder": 4},
        {"dealer": 6},
        {"holder": 6},
        {"place": 1},
    ]
    commitments = {share_commitment(SHARE, **(base | change)) for change in changes} | {
        share_commitment(bytes(33), **base)
    }
    assert len(commitments) == len(changes) + 1
    assert all(len(commitment) == 16 for commitment in commitments)


def test_each_half_of_a_commitment_is_of_its_own_share() -> None:
    block, server = b"b" * 32, RoundKey(b"s" * 32).public
    dealer = RoundSecrets.fresh().advertisement(SESSION, 7, 4, block=block, server_key=server)
    place: dict[str, Any] = {"session": SESSION, "round": 7, "dealer": 4, "holder": 9}
    both = share_commitments(dealer, {9: SHARE + bytes(33)})[9]
    assert both == share_commitment(SHARE, **place, place=0) + share_commitment(
        bytes(33), **place, place=1
    )


# Copied keys.


def keys_of(packet: Packet) -> Advertisement:
    return Advertisement.from_bytes(memoryview(packet)[:-64])


COPIES: Mapping[str, Callable[[Advertisement], dict[str, bytes]]] = {
    "its mask key": lambda keys: {"mask_key": keys.mask_key},
    "its sealing key": lambda keys: {"sealing_key": keys.sealing_key},
    "its mask key as a sealing key": lambda keys: {"sealing_key": keys.mask_key},
    "its sealing key as a mask key": lambda keys: {"mask_key": keys.sealing_key},
    "both": lambda keys: {"mask_key": keys.mask_key, "sealing_key": keys.sealing_key},
}


@pytest.mark.parametrize("proof", ["its own", "copied"])
@pytest.mark.parametrize("copy", COPIES)
def test_who_copies_a_key_first_is_dropped_and_the_honest_client_is_not(
    copy: str, proof: str
) -> None:
    session = Session(agreement(5)).begin(0)
    answers = {client: bytes(message) for client, message in session.answers().items()}
    victim = keys_of(answers[2])
    changes = COPIES[copy](victim) | ({"proof": victim.proof} if proof == "copied" else {})
    assert not session.server.absorb(
        1, rebuilt(answers[1], session.terms, 1, **changes)
    )  # before the honest one
    for client in (0, 2, 3, 4):
        assert session.server.absorb(client, answers[client])
    session.server.close_stage()
    view = session.until(4).stage()
    assert view is not None
    assert view.clients == (0, 2, 3, 4)


def test_of_two_that_share_a_private_key_the_second_is_dropped() -> None:
    session = Session(agreement(5)).begin(0)
    answers = {client: bytes(message) for client, message in session.answers().items()}
    state, key = (
        session.clients[2]._state,
        Invitation.from_bytes(memoryview(session.server.requests()[0])[:-64], most=5).key,
    )
    assert state is not None
    secrets = RoundSecrets(state.secrets.mask, RoundKey.generate(), bytes(32))
    twin = secrets.advertisement(SESSION, 0, 1, block=state.own.block, server_key=key)
    assert session.server.absorb(2, answers[2])
    assert not session.server.absorb(1, signed(twin, session.terms, identity(1)))


def test_a_key_that_is_not_reduced_is_dropped_whatever_it_proves() -> None:
    session = Session(agreement(5)).begin(0)
    request = session.server.requests()[1]
    honest = bytes(session.answers()[1])
    state, server = (
        session.clients[1]._state,
        Invitation.from_bytes(memoryview(request)[:-64], most=5).key,
    )
    assert state is not None
    other = bytearray(state.own.mask_key)
    other[31] |= 0x80  # X25519 does not read this bit, so that the secrets are the same
    keys = replace(state.own, mask_key=bytes(other))
    agreed = state.secrets.mask.agree([server]) + state.secrets.sealing.agree([server])
    advertisement = replace(keys, proof=possession(agreed, keys, server))
    assert not session.server.absorb(1, signed(advertisement, session.terms, identity(1)))
    assert session.server.absorb(1, honest)


def test_a_proof_of_possession_is_bound_to_both_keys_the_sender_the_round_and_the_server() -> None:
    server, other = RoundKey(b"s" * 32), RoundKey(b"t" * 32)
    secrets = RoundSecrets(RoundKey(b"m" * 32), RoundKey(b"k" * 32), bytes(32))
    keys = secrets.advertisement(SESSION, 3, 4, block=HASH, server_key=server.public)
    agreed = server.agree([keys.mask_key, keys.sealing_key])
    assert keys.proof == possession(agreed, keys, server.public)
    other_proofs = [
        possession(agreed[::-1], keys, server.public),
        possession([agreed[0], agreed[0]], keys, server.public),
        possession([agreed[1], agreed[1]], keys, server.public),
        possession(agreed, replace(keys, sender=5), server.public),
        possession(agreed, replace(keys, round=4), server.public),
        possession(agreed, replace(keys, session=b"o" * 16), server.public),
        possession(agreed, replace(keys, mask_key=HASH), server.public),
        possession(agreed, replace(keys, sealing_key=HASH), server.public),
        possession(agreed, keys, other.public),
    ]
    assert len({keys.proof, *other_proofs}) == 1 + len(other_proofs)
    assert len(keys.proof) == 16


# Lies about the update and its weight.


def wrapped(session: Session, client: int, packet: Packet, add: int) -> bytes:
    """Returns an upload with `add` added to each word, past every check of honest code."""
    upload = bytearray(packet)
    words = np.frombuffer(memoryview(upload)[-16 - 4 * session.terms.d : -16], dtype="<u4")
    words += np.array(add % 2**32, dtype="<u4")
    return retagged(session, client, upload)


def retagged(session: Session, client: int, upload: bytearray) -> bytes:
    state = session.clients[client]._state
    assert state is not None
    body = bytes(upload[:-16])
    return body + tag(state.secrets.upload_key(state.own, state.server_key), body)


@pytest.mark.parametrize("add", [2**31 - 1, -(2**31), 2**30, -(2**30)])
def test_a_client_whose_coordinates_wrap_around_moves_the_mean_no_further_than_the_clip(
    add: int,
) -> None:
    # Client 0 carries a thousand times the weight of the others and drops out: the ring has room
    # for far more than the others can have.
    weights = {0: 1000, 1: 1, 2: 1, 3: 1, 4: 1}
    session = (
        Session(agreement(5, weights=weights, max_weight=1000)).begin(0).until(3, silent={0: 3})
    )
    session.stage(
        silent=[0],
        change=lambda client, packet: wrapped(session, 1, packet, add) if client == 1 else packet,
    )
    session.stage(silent=[0])
    view = session.stage(silent=[0])
    assert view is not None
    assert float(view.rows.abs().max()) == session.terms.code.clip == 8.0
    (opened_sum,) = [
        o.values for o in session.observed if (o.party, o.kind) == ("server", "sum of updates")
    ]
    assert opened_sum is not None
    assert float(opened_sum.abs().max()) > 8.0  # what was opened is recorded as it was


def test_honest_updates_at_the_clip_are_not_changed_by_what_holds_liars() -> None:
    code = FixedPoint(ring=16, clip=8.0, rounding="stochastic", most=5)
    session = Session(agreement(5, weights=None, max_weight=7, code=code)).begin(0)
    session.updates = {
        client: ClientUpdate(
            torch.tensor([8.0, -8.0, 8.0 if client < 3 else -8.0]), 7 - client, None, HASH
        )
        for client in range(5)
    }
    view = session.until(5).stage()
    assert view is not None
    assert view.weights.tolist() == [25.0]
    assert torch.allclose(view.rows[0, :2], torch.tensor([8.0, -8.0]), atol=5 * code.step)
    assert abs(float(view.rows[0, 2]) - 8.0 * (7 + 6 + 5 - 4 - 3) / 25) <= 5 * code.step * 7 / 25


def test_a_liar_moves_no_more_of_the_mean_than_its_own_blocks_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("securefl.channels.masking.lots.MAX_BLOCK", 5)
    session = Session(agreement(10, beacon=b"drawn")).begin(0).until(3)
    session.updates = {
        client: ClientUpdate(torch.full((3,), 7.0), 1, None, HASH) for client in session.updates
    }
    session.stage(
        change=lambda client, packet: (
            wrapped(session, 1, packet, 1 - 2**31) if client == 1 else packet
        )
    )
    session.stage()
    view = session.stage()
    assert view is not None
    assert torch.allclose(
        view.rows[0], torch.full((3,), (7.0 - 8.0) / 2), atol=1e-5
    )  # the liar's block is at -clip


def reporting(lie: int | None) -> tuple[Session, View]:
    """Plays a round of five clients with 1, 101, ... 401 records and updates of .01.

    Client 4 states the weight `lie`, unless that is None.
    """
    session = Session(agreement(5, weights=None, max_weight=1000)).begin(0)
    session.updates = {
        client: ClientUpdate(torch.full((3,), 0.01), 100 * client + 1, None, HASH)
        for client in range(5)
    }

    def lied(client: int, packet: Packet) -> Packet:
        if client != 4 or lie is None:
            return packet
        upload = bytearray(packet)
        upload[29:33] = (lie % 2**32).to_bytes(4, "little")
        return retagged(session, 4, upload)

    session.until(3).stage(change=lied)
    session.stage()
    view = session.stage()
    assert view is not None
    return session, view


@pytest.mark.parametrize("lie", [1, 2, 401, 1000])
def test_a_liar_about_its_weight_counts_as_much_as_the_largest_weight_and_no_more(lie: int) -> None:
    # The honest four weigh 604, and everyone moved by .01. While the total was a word of the sum,
    # it wrapped around, and one liar made the mean 200 times too large.
    _, view = reporting(lie)
    honest, own = 604 * 0.01, 401 * 0.01
    assert torch.allclose(view.rows[0], torch.full((3,), (honest + own) / (604 + lie)), atol=1e-5)
    assert float(view.rows.max()) <= 0.01 * 1005 / 605 + 1e-5
    assert view.weights.tolist() == [604 + lie]


@pytest.mark.parametrize("lie", [0, 1001, 2**31, 2**32 - 604 + 5, -1])
def test_a_weight_that_no_client_can_have_is_dropped_with_its_upload(lie: int) -> None:
    session, view = reporting(lie)
    assert view.clients == (0, 1, 2, 3)
    assert view.weights.tolist() == [604]
    assert torch.allclose(view.rows[0], torch.full((3,), 0.01), atol=1e-5)
    assert 4 not in {
        client for o in session.observed if o.kind == "masked update" for client in o.about
    }


@pytest.mark.parametrize("lie", [1, 9, 11])
def test_a_weight_that_is_not_the_public_one_is_dropped_with_its_upload(lie: int) -> None:
    weights = dict.fromkeys(range(5), 10)
    session = Session(agreement(5, weights=weights, max_weight=11)).begin(0).until(3)
    packet = session.answers()[2]
    assert MaskedInput.from_bytes(packet[:-16], m=3, word=session.terms.code.word).weight == 10
    upload = bytearray(packet)
    upload[29:33] = lie.to_bytes(4, "little")
    assert not session.server.absorb(2, retagged(session, 2, upload))
    assert session.server.absorb(2, packet)


@pytest.mark.parametrize("stage", [4, 5])
def test_the_weight_of_a_client_that_falls_silent_after_its_upload_counts(stage: int) -> None:
    weights = {0: 1, 1: 2, 2: 4, 3: 8, 4: 16}
    view = Session(agreement(5, weights=weights, max_weight=16)).play(0, silent={3: stage})
    assert view.clients == (0, 1, 2, 3, 4)
    assert view.weights.tolist() == [31]


def test_the_words_of_a_sum_are_let_go_once_it_is_opened() -> None:
    # A large model leaves no room for words, numbers and mean at once.
    session = Session(agreement(5)).begin(0).until(5)
    block = session.server._blocks[0]
    session.stage()
    assert block._total is None
    with pytest.raises(ValueError, match="no upload was added to this sum"):
        block.opened()
