"""Regressions of the masked channel: changes to the code that no other test notices."""

from itertools import combinations
from typing import Literal

import pytest
import torch

from securefl.channels.masking import shamir
from securefl.channels.masking.build import masked_sides
from securefl.channels.masking.client import MaskedClient
from securefl.channels.masking.keys import TAG_BYTES, open_tagged, tag
from securefl.channels.masking.requests import Invitation
from securefl.channels.protocol import ClientUpdate, Plan, Sides
from securefl.errors import ProtocolError
from securefl.rng import Keystream, StreamFor, seeded_keystream
from tests.channels import contract
from tests.channels.masking.parties import SESSION, Session, agreement
from tests.channels.masking.puppeteer import SERVER_KEY, Puppets, is_erased


@pytest.mark.parametrize(("n", "corrupt"), [(5, 1), (6, 2)])
def test_one_share_below_the_threshold_opens_no_secret_that_a_client_dealt(
    n: int, corrupt: int
) -> None:
    session = Session(agreement(n, corrupt=corrupt, min_cohort=corrupt + 2)).begin(0).until(3)
    threshold = session.terms.threshold(n)
    dealer = session.clients[0]._state
    assert dealer is not None
    held = {1: dealer.own_shares}
    for client in range(1, n):
        state = session.clients[client]._state
        assert state is not None
        box = session.server._blocks[0]._sealed[0][client]
        held[1 + client] = state.secrets.open(state.own, state.peers, {0: box})[0]
    for size, opens in ((threshold - 1, False), (threshold, True)):
        for chosen in combinations(held, size):
            seed = shamir.reconstruct({point: held[point][:33] for point in chosen})
            key = shamir.reconstruct({point: held[point][33:] for point in chosen})
            assert (seed == dealer.secrets.seed) is opens
            assert (key == dealer.secrets.mask.private) is opens


def test_a_bit_changed_anywhere_in_a_long_upload_drops_it() -> None:
    session = Session(agreement(5, d=100_000)).begin(0).until(3)
    packet = bytes(session.answers()[0])
    assert len(packet) > 400_000
    places = [
        0,
        29,
        40,
        4_095,
        4_096,
        4_097,
        65_536,
        262_143,
        262_144,
        262_184,
        len(packet) - 17,
        len(packet) - 1,
    ]
    for place in [*places, *range(5_000, len(packet), 40_001)]:
        broken = bytearray(packet)
        broken[place] ^= 1
        assert not session.server.absorb(0, broken), place
    assert session.server.absorb(0, packet)


def test_a_tag_is_over_the_last_byte_and_the_length() -> None:
    message = bytes(5_000)
    tagged = message + tag(b"k" * 32, message)
    assert bytes(open_tagged(b"k" * 32, tagged)) == message
    for other in (message[:-1] + b"\1", message + b"\0", message[:-1]):
        with pytest.raises(ProtocolError, match="does not verify"):
            open_tagged(b"k" * 32, other + tagged[-TAG_BYTES:])


def seeded(purpose: str, client: int, round: int) -> Keystream:
    return seeded_keystream(0, purpose, client, round)


def sides(
    session: bytes = SESSION,
    *,
    rounding: Literal["nearest", "stochastic"] = "nearest",
    stream_for: StreamFor = seeded,
) -> Sides:
    plan = Plan(
        session=session,
        d=3,
        clients=(0, 1, 2),
        cohort=3,
        min_cohort=3,
        weights=dict.fromkeys(range(3), 1),
        max_weight=1,
        rounds=10,
        stream_for=stream_for,
    )
    return masked_sides(plan, ring=32, clip=1.0, rounding=rounding, corrupt=1)


def test_every_client_rounds_by_a_stream_of_its_own_in_each_round() -> None:
    # Clients that rounded alike would move a sum by as many steps as there are clients.
    drawn: list[tuple[str | int, ...]] = []

    def stream_for(purpose: str, client: int, round: int) -> Keystream:
        drawn.append((purpose, client, round))
        return seeded_keystream(0, purpose, client, round)

    built = sides(rounding="stochastic", stream_for=stream_for)
    drawn.clear()  # what the set-up drew
    update = ClientUpdate(torch.tensor([0.1, 0.2, 0.3]), 1, None, contract.HASH)
    updates = dict.fromkeys(range(3), update)
    for round in (0, 4):
        both = contract.Sides(built.server, built.clients)
        stages = contract.Stages(both, round, (0, 1, 2), updates)
        while stages.view is None:
            stages.deliver(stages.answers())
            stages.close()
    assert drawn == [("rounding", client, round) for round in (0, 4) for client in range(3)]


def test_identities_are_made_anew_for_every_session_even_of_the_same_name() -> None:
    keys: list[bytes] = []
    for session in (sides(), sides(), sides(b"another session!")):
        terms = [
            client._terms for client in session.clients.values() if isinstance(client, MaskedClient)
        ]
        assert len(terms) == 3
        keys += [terms[0].server, *terms[0].roster.values()]
    assert len(set(keys)) == len(keys) == 3 * 4


def test_a_delivery_from_a_client_of_the_block_that_never_advertised_is_refused() -> None:
    # Client 5 was invited into the block and advertised nothing: no key of it is in the table.
    hands = Puppets(Session(agreement(6)))
    keys = hands.invite(range(6))
    del keys[5]
    boxes = hands.share(keys)
    honest = hands.delivery(0, boxes)
    forged = type(honest)(SESSION, 0, 0, honest.model_hash, {**honest.sealed, 5: honest.sealed[1]})
    with pytest.raises(ProtocolError, match="names clients that were not there before"):
        hands.say(0, forged)
    assert is_erased(hands, 0)


def test_a_client_refuses_an_invitation_into_a_block_below_the_minimum() -> None:
    # 130 clients are dealt into two blocks of 65; one sum of these terms takes 70.
    hands = Puppets(Session(agreement(130, min_cohort=70, cohort=130, beacon=b"drawn")))
    invitation = Invitation(SESSION, 0, SERVER_KEY, tuple(range(130)))
    with pytest.raises(ProtocolError, match="65 clients are too few for a sum of 65; it takes 70"):
        hands.say(0, invitation)
    assert hands.session.clients[0]._state is None
