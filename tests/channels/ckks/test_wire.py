"""Ciphertexts from a malicious sender: only coefficients are believed.

A refusal changes nothing and reveals nothing.
"""

from dataclasses import replace

import numpy as np
import pytest
import tenseal
import torch
from numpy.typing import NDArray

from securefl.channels.ckks.cipher import Ciphertexts, KeyHolder
from securefl.channels.ckks.client import CkksClient
from securefl.channels.ckks.messages import EncryptedSum, EncryptedUpdate
from securefl.channels.ckks.server import CkksServer
from securefl.channels.ckks.terms import DEGREE, SLOTS, CkksTerms
from securefl.channels.ckks.wire import CIPHERTEXT_BYTES, Wire
from securefl.channels.messages import UpdateRequest
from securefl.channels.protocol import ClientUpdate, View
from securefl.errors import ProtocolError
from tests.channels.contract import EVERYONE, HASH, SESSION

MODULUS = 2**54 - 172031  # SEAL's prime of 54 bits for N = 4096
TERMS = CkksTerms(
    session=SESSION,
    clients=EVERYONE,
    d=2 * SLOTS - 1,
    clip=4.0,
    cohort=5,
    min_cohort=2,
    weights=None,
    max_weight=1000,
)
HOLDER = KeyHolder.generate()


def server_of(terms: CkksTerms = TERMS) -> CkksServer:
    server = CkksServer(terms, key_id=HOLDER.key_id, public_parameters=HOLDER.public_parameters())
    server.begin(0, EVERYONE, HASH)
    return server


def update(client: int, *ciphertexts: bytes) -> bytes:
    return EncryptedUpdate(SESSION, 0, client, HOLDER.key_id, list(ciphertexts)).to_bytes()


def honest(client: int, value: float = 1.0) -> bytes:
    return update(client, *HOLDER.encrypt(np.full(2 * SLOTS, value)))


def coefficients(ciphertext: bytes) -> NDArray[np.uint64]:
    """Returns the coefficients (2, 4096) of a ciphertext as it travels."""
    padded = np.zeros((2 * DEGREE, 8), np.uint8)
    padded[:, :7] = np.frombuffer(ciphertext, np.uint8).reshape(-1, 7)
    return padded.view("<u8").reshape(2, DEGREE)


def travelling(numbers: NDArray[np.uint64]) -> bytes:
    """Returns the ciphertext of these coefficients (2, 4096)."""
    return numbers.astype("<u8").reshape(-1, 1).view(np.uint8)[:, :7].tobytes()


def opened(server: CkksServer) -> NDArray[np.float64]:
    """Returns every slot of the sum that the server would send."""
    server.close_stage()
    sum_ = EncryptedSum.from_bytes(next(iter(server.requests().values())), chunks=2, most=5)
    loader = HOLDER.ciphertexts()
    return HOLDER.open([loader.load(ciphertext) for ciphertext in sum_.ciphertexts])


def test_a_ciphertext_travels_in_7_bytes_a_coefficient_and_comes_back_whole() -> None:
    values = np.random.default_rng(0).normal(size=SLOTS)
    (ciphertext,) = HOLDER.encrypt(values)
    assert len(ciphertext) == CIPHERTEXT_BYTES == 2 * 4096 * 7
    assert travelling(coefficients(ciphertext)) == ciphertext
    loader = HOLDER.ciphertexts()
    assert loader.dump([loader.load(ciphertext)]) == [ciphertext]
    assert HOLDER.open([loader.load(ciphertext)]) == pytest.approx(values, abs=1e-8)


@pytest.mark.parametrize(
    "length", [0, 1, CIPHERTEXT_BYTES - 1, CIPHERTEXT_BYTES + 1, CIPHERTEXT_BYTES + 56]
)
def test_a_ciphertext_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ProtocolError, match=f"a ciphertext has 57344 bytes here, got {length}"):
        HOLDER.ciphertexts().load(bytes(length))


def test_whatever_the_coefficients_the_frame_is_our_own() -> None:
    """A sender cannot choose size, form (NTT), scale or slots: the frame is always the same."""
    sample = tenseal.ckks_vector(tenseal.context_from(HOLDER.to_bytes()), [1.0] * SLOTS).serialize()
    wire = Wire(sample)
    framed = [
        wire.unpack(data)
        for data in (b"\xff" * CIPHERTEXT_BYTES, bytes(CIPHERTEXT_BYTES), wire.pack(sample))
    ]
    assert {len(ciphertext) for ciphertext in framed} == {len(framed[0])}
    start = len(framed[0]) - 9 - 8 * 2 * DEGREE
    assert {(ciphertext[:start], ciphertext[-9:]) for ciphertext in framed} == {
        (framed[0][:start], sample[-9:])
    }
    assert np.frombuffer(framed[0][start:-9], "<u8").tolist() == [2**56 - 1] * (2 * DEGREE)


def test_a_library_that_writes_another_form_is_noticed_before_anything_leaves() -> None:
    context = tenseal.context_from(HOLDER.to_bytes())
    sample = tenseal.ckks_vector(context, [1.0] * SLOTS).serialize()
    wire = Wire(sample)
    with pytest.raises(AssertionError, match="of another form than the sample"):
        wire.pack(tenseal.ckks_vector(context, [1.0] * SLOTS, scale=2.0**30).serialize())
    for strange in (wire.unpack(wire.pack(sample)), b"\x0a\x01\x05" + sample[4:]):
        with pytest.raises(AssertionError, match="of a form that this module does not know"):
            Wire(strange)


@pytest.mark.parametrize("place", [0, 7, 8, DEGREE, 2 * DEGREE - 1])
def test_a_coefficient_that_is_not_below_the_modulus_is_refused(place: int) -> None:
    numbers = coefficients(HOLDER.encrypt(np.ones(SLOTS))[0]).copy()
    numbers.flat[place] = MODULUS - 1
    assert HOLDER.ciphertexts().load(travelling(numbers)) is not None
    numbers.flat[place] = MODULUS
    with pytest.raises(ProtocolError, match="not a ciphertext of our parameters"):
        HOLDER.ciphertexts().load(travelling(numbers))


def test_a_ciphertext_that_hides_nothing_is_refused() -> None:
    numbers = coefficients(HOLDER.encrypt(np.ones(SLOTS))[0]).copy()
    numbers[1] = 0
    with pytest.raises(ProtocolError, match="can be read by everybody"):
        Ciphertexts.without_key(HOLDER.public_parameters()).load(travelling(numbers))


def test_the_negation_of_an_update_is_dropped_and_the_sum_stays() -> None:
    """Anybody can negate a ciphertext; SEAL overwrites a sum that becomes zero, then raises."""
    server = server_of()
    first = HOLDER.encrypt(np.full(2 * SLOTS, 3.0))
    negated = [
        travelling((np.uint64(MODULUS) - coefficients(ciphertext)) % np.uint64(MODULUS))
        for ciphertext in first
    ]
    assert server.absorb(0, update(0, *first)) is True
    assert server.absorb(1, update(1, *negated)) is False
    assert server.absorb(1, update(1, HOLDER.encrypt(np.ones(SLOTS))[0], negated[1])) is False
    assert server.absorb(2, honest(2)) is True
    assert opened(server) == pytest.approx(np.full(2 * SLOTS, 4.0), abs=1e-7)


def test_a_refused_update_leaves_no_trace_though_its_first_part_was_good() -> None:
    server = server_of()
    assert server.absorb(0, honest(0)) is True
    good = HOLDER.encrypt(np.full(SLOTS, 50.0))[0]
    for bad in (
        b"\xff" * CIPHERTEXT_BYTES,
        travelling(coefficients(good) * np.array([[1], [0]], np.uint64)),
    ):
        assert server.absorb(1, update(1, good, bad)) is False
    assert server.absorb(1, honest(1)) is True
    assert opened(server) == pytest.approx(np.full(2 * SLOTS, 2.0), abs=1e-7)


@pytest.mark.parametrize(
    ("total", "weight", "row", "stated"),
    [
        (0.0, 0.0, 0.0, 2.0),
        (0.001, -5.0, 0.5, 2.0),
        (1.0, 1e-7, 4.0, 2.0),
        (1.0, 5000.0, 0.5, 2000.0),
        (-4000.0, 2.0, -4.0, 2000.0),
    ],
    ids=[
        "no weight",
        "a negative one",
        "next to none",
        "more than there can be",
        "a sum beyond every clip",
    ],
)
def test_a_sum_that_honest_clients_cannot_have_sent_is_opened_and_held_to_what_they_can(
    total: float, weight: float, row: float, stated: float
) -> None:
    """A refusal would tell the server something about decrypted numbers, and so about the key."""
    client = CkksClient(3, TERMS, HOLDER)
    assert client.receive(UpdateRequest(SESSION, 0, HASH).to_bytes()) is None
    client.check_model(0, HASH)
    ciphertexts = HOLDER.encrypt(np.append(np.full(TERMS.d, total), weight))
    view = client.receive(EncryptedSum(SESSION, 0, HOLDER.key_id, (0, 1), ciphertexts).to_bytes())
    assert isinstance(view, View)
    assert view.rows[0].tolist() == pytest.approx([row] * TERMS.d, abs=1e-6)
    assert view.weights.item() == pytest.approx(stated, abs=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_coefficients_of_anybody_are_opened_without_an_error(seed: int) -> None:
    """Random numbers below the modulus, and constants as an attacker on the key would take them."""
    client = CkksClient(3, TERMS, HOLDER)
    client.receive(UpdateRequest(SESSION, 0, HASH).to_bytes())
    client.check_model(0, HASH)
    draw = np.random.default_rng(seed)
    shape = (2, DEGREE) if seed % 2 else (2, 1)
    ciphertexts = [
        travelling(np.broadcast_to(draw.integers(1, MODULUS, shape), (2, DEGREE))) for _ in range(2)
    ]
    view = client.receive(EncryptedSum(SESSION, 0, HOLDER.key_id, (0, 1), ciphertexts).to_bytes())
    assert isinstance(view, View)
    assert view.rows.abs().max() <= TERMS.clip
    assert 2.0 <= view.weights.item() <= 2000.0


def test_a_client_whose_weight_is_a_lie_moves_the_mean_no_further_than_a_clip() -> None:
    server = server_of()
    clients = {c: CkksClient(c, TERMS, HOLDER) for c in EVERYONE}
    for c in range(4):
        assert clients[c].receive(UpdateRequest(SESSION, 0, HASH).to_bytes()) is None
        assert server.absorb(
            c, clients[c].submit(ClientUpdate(torch.full((TERMS.d,), 0.5), 100, None, HASH))
        )
    lie = HOLDER.encrypt(np.append(np.zeros(TERMS.d), -0.4 + 1e-6))
    assert server.absorb(4, update(4, *lie)) is True
    server.close_stage()
    view = clients[0].receive(server.requests()[0])
    assert isinstance(view, View)
    assert view.rows.abs().max() <= TERMS.clip
    assert view.weights.item() == pytest.approx(5.0)


def test_an_update_that_cannot_be_encrypted_leaves_the_client_able_to_send_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = CkksClient(0, replace(TERMS, d=1), HOLDER)
    client.receive(UpdateRequest(SESSION, 0, HASH).to_bytes())
    with monkeypatch.context() as patched:
        patched.setattr(KeyHolder, "encrypt", lambda self, values: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            client.submit(ClientUpdate(torch.zeros(1), 1, None, HASH))
    assert client.submit(ClientUpdate(torch.zeros(1), 1, None, HASH))


def test_whoever_changes_a_ciphertext_can_make_one_record_decide_where_a_number_wraps() -> None:
    # So central noise claims nothing against a server, or a line, that changes ciphertexts.
    near, far = np.full(SLOTS, 0.3), np.full(SLOTS, 0.31)
    # Equal slots are a constant polynomial, whose transform has one value in all coefficients.
    middle = round(0.305 * 2.0**40)
    shift = np.uint64(MODULUS // 2 - middle)

    def received(values: NDArray[np.float64], shift: np.uint64) -> NDArray[np.float64]:
        (ciphertext,) = HOLDER.encrypt(values)
        changed = coefficients(ciphertext).copy()
        changed[0] = (changed[0] + shift) % np.uint64(MODULUS)
        return HOLDER.open([HOLDER.ciphertexts().load(travelling(changed))])

    honest_distance = np.linalg.norm(received(far, np.uint64(0)) - received(near, np.uint64(0)))
    assert honest_distance == pytest.approx(0.01 * SLOTS**0.5, rel=1e-3)
    # The client holds what it opens to +-clip, which leaves the sign.
    two = [np.clip(received(values, shift), -TERMS.clip, TERMS.clip) for values in (near, far)]
    assert np.linalg.norm(two[1] - two[0]) == pytest.approx(2 * TERMS.clip * SLOTS**0.5)
