"""What a masked round hides, what it does not, and that no secret is printed or used twice."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from securefl.channels.masking import shamir
from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.replies import (
    MaskedInput,
    RevealedShares,
)
from securefl.channels.masking.requests import (
    Invitation,
)
from securefl.channels.masking.round_secrets import (
    pair_mask_key,
    self_mask_key,
)
from securefl.channels.masking.setup_messages import SetupReply
from securefl.channels.masking.stream import add_masks
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError
from tests.channels.masking.parties import (
    HASH,
    SESSION,
    Session,
    agreement,
)
from tests.channels.masking.puppeteer import opened

# Updates that cannot be masked


@pytest.mark.parametrize(
    ("bad", "sent"), [(float("nan"), 0.0), (float("inf"), 8.0), (-float("inf"), -8.0)]
)
def test_an_update_that_is_not_finite_is_masked_as_any_other(bad: float, sent: float) -> None:
    # A refusal would be one bit about a client's records: the server can choose weights that
    # overflow for some records only.
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
    # It is the number of a client's records: a refusal would reveal on which side of the range it
    # lies.
    session = Session(agreement(5, weights=None, max_weight=1000)).begin(0)
    session.updates = {
        client: replace(honest, weight=1) for client, honest in session.updates.items()
    }
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
    # The server learns the dead client's mask key, and takes all pair masks off its late upload.
    # Update + self mask remain, whose seed nobody reveals.
    session = Session(agreement(5, d=1000)).begin(0).until(3)
    before = session.clients[4]._state
    assert before is not None
    key, seed = before.secrets.mask, before.secrets.seed  # forgotten after the upload
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
        set(shares.seeds) == {0, 1, 2, 3} and set(shares.mask_keys) == {4}
        for shares in revealed.values()
    )
    held = {1 + client: shares.mask_keys[4] for client, shares in revealed.items()}
    dead = session.clients[4]._state
    assert dead is not None
    assert (dead.secrets.mask.private, dead.secrets.seed) == (b"", b"")
    assert shamir.reconstruct(held) == key.private  # so the server does learn the key
    words = words_of(late, 4, session.terms)
    for client, agreed in zip(
        range(4), key.agree([dead.peers[c].mask_key for c in range(4)]), strict=True
    ):
        key_of_pair = pair_mask_key(agreed, dead.own, dead.peers[client], model_hash=HASH)
        add_masks(words, plus=[key_of_pair])  # 4 subtracted them
    assert not np.array_equal(words, encoded(session, 4))
    assert len(np.unique(words >> 24)) > 200  # looks uniform: 1000 words in 256 classes
    add_masks(words, minus=[self_mask_key(seed, dead.own)])
    assert np.array_equal(words, encoded(session, 4))  # nothing but the self mask hid it


def test_n_minus_1_colluders_learn_exactly_the_victims_update() -> None:
    # Nothing in the channel protects against that; the victim's own noise does.
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
    drawn: set[bytes] = set()
    for round in range(3):
        session.begin(round)
        session.stage()
        for client in session.clients.values():
            assert client._state is not None
            secrets = client._state.secrets
            drawn |= {secrets.seed, secrets.mask.private, secrets.sealing.private}
    assert len(drawn) == 3 * 5 * 3


def test_the_servers_key_of_uploads_is_fresh_in_every_round() -> None:
    session, keys = Session(agreement(5)), set()
    for round in range(3):
        request = session.begin(round).server.requests()[0]
        keys.add(Invitation.from_bytes(memoryview(request)[:-64], most=5).key)
    assert len(keys) == 3
