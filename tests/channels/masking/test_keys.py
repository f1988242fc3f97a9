"""Round keys, signatures, boxes and a block's masks, against the standard library and by hand."""

import hashlib
import hmac
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from securefl.channels.masking import keys, shamir
from securefl.channels.masking.keys import (
    PAIR_MASK,
    SEALING,
    SELF_MASK,
    Identity,
    Info,
    RoundKey,
    commitment,
    derive,
    is_reduced,
    open_sealed,
    open_signed,
    seal,
    share_commitment,
)
from securefl.channels.masking.replies import Advertisement
from securefl.channels.masking.round_secrets import (
    RoundSecrets,
    pair_mask_key,
    self_mask_key,
    upload_key,
)
from securefl.channels.masking.stream import WORDS, add_masks, chunks
from securefl.errors import ProtocolError
from tests.paths import VECTORS

deterministic = settings(derandomize=True, max_examples=25, deadline=None, database=None)
SESSION, ROUND, BLOCK = bytes(range(100, 116)), 0x01020304, b"b" * 32
TERMS, MESSAGE, KEY = b"t" * 32, b"a message of some length", bytes(range(32))
INFO = Info(SESSION, ROUND, 5, 0x0A0B0C0D, b"1" * 32, b"2" * 32)
CLIENTS = (2, 5, 9, 70_000)

MODEL = b"m" * 32
SERVER_KEY = RoundKey(bytes(range(32, 64))).public


def pair_key(agreed: bytes, one: Advertisement, other: Advertisement) -> bytes:
    return pair_mask_key(agreed, one, other, model_hash=MODEL)


def vectors(file: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((VECTORS / file).read_text(encoding="utf-8"))
    return document


X25519 = vectors("rfc7748.json")
low_order_points = pytest.mark.parametrize(
    "point", X25519["low_order"], ids=lambda point: str(point["name"])
)


def flipped(data: bytes, at: int, mask: int = 1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= mask
    return bytes(changed)


def hkdf(secret: bytes, info: bytes, *, salt: bytes = b"", length: int = 32) -> bytes:
    """Returns RFC 5869 by the standard library's HMAC."""
    prk = hmac.digest(salt or bytes(32), secret, "sha256")
    block, okm = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        okm += block
    return okm[:length]


def exchange(private: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(
        X25519PublicKey.from_public_bytes(public)
    )


def identity(number: int = 1) -> Identity:
    return Identity(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def signed_message(
    message: bytes = MESSAGE, *, by: Identity | None = None, terms: bytes = TERMS
) -> bytes:
    return message + (by or identity()).signature(message, terms=terms)


class Block:
    """Clients with fresh secrets and their advertisements."""

    def __init__(self, *, clients: tuple[int, ...] = CLIENTS, round: int = ROUND) -> None:
        self.secrets = {client: RoundSecrets.fresh() for client in clients}
        self.peers = {
            client: self.secrets[client].advertisement(
                SESSION, round, client, block=BLOCK, server_key=SERVER_KEY
            )
            for client in clients
        }

    def sealed(self, client: int) -> dict[int, bytes]:
        """Returns boxes from a client to each other one; their content names both ends."""
        shares = {other: content(client, other) for other in self.peers if other != client}
        return self.secrets[client].seal(self.peers[client], self.peers, shares)

    def opened(self, client: int, sealed: dict[int, bytes]) -> dict[int, bytes]:
        return self.secrets[client].open(self.peers[client], self.peers, sealed)


def content(sender: int, recipient: int) -> bytes:
    return (
        b"\0" + struct.pack("<II", sender, recipient).ljust(32, b"s") + b"\0" + b"s" * 32
    )  # two field elements


# Identities and signatures


@pytest.mark.parametrize(
    "case", vectors("rfc8032.json")["cases"], ids=lambda case: str(case["name"])
)
def test_an_identitys_public_key_is_rfc_8032s(case: dict[str, str]) -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(case["secret"]))
    assert Identity(private).public.hex() == case["public"]


@pytest.mark.parametrize("message", [b"", b"m", MESSAGE, bytes(100_000)], ids=len)
def test_a_signature_covers_the_label_the_terms_and_the_digest_of_the_message(
    message: bytes,
) -> None:
    signature = identity().signature(message, terms=TERMS)
    part = b"securefl masking 1, signed message" + TERMS + hashlib.sha256(message).digest()
    assert len(signature) == 64
    Ed25519PublicKey.from_public_bytes(identity().public).verify(signature, part)


@deterministic
@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32))
def test_a_signed_message_is_opened_to_itself(message: bytes, terms: bytes) -> None:
    data = signed_message(message, terms=terms)
    for packet in (data, bytearray(data)):
        assert bytes(open_signed(packet, identity().public, terms=terms)) == message
    assert identity().signature(memoryview(message), terms=terms) == data[len(message) :]


def test_an_opened_message_is_a_view_and_no_copy() -> None:
    packet = bytearray(signed_message())
    message = open_signed(packet, identity().public, terms=TERMS)
    packet[0] = 255
    assert message[0] == 255


def assert_refused(data: bytes, *, public: bytes | None = None, terms: bytes = TERMS) -> None:
    with pytest.raises(
        ProtocolError, match=r"^the signature of a message of the masked channel does not verify$"
    ):
        open_signed(data, identity().public if public is None else public, terms=terms)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_signed_message_with_any_byte_changed_is_refused(mask: int) -> None:
    data = signed_message()
    for at in range(len(data)):
        assert_refused(flipped(data, at, mask))


def test_a_signed_message_that_is_longer_or_shorter_is_refused() -> None:
    data = signed_message()
    cut = [data[:length] for length in range(len(data))]
    for changed in [*cut, data + b"\0", b"\0" + data, data[1:], data[:5] + data[6:]]:
        assert_refused(changed)


def test_a_signed_message_is_refused_under_other_terms_or_another_key() -> None:
    data = signed_message()
    for at in range(32):
        assert_refused(data, terms=flipped(TERMS, at))
    for public in (identity(2).public, b"", b"\xff" * 32, bytes(32), identity().public[:31]):
        assert_refused(data, public=public)


def test_a_plain_ed25519_signature_of_the_message_is_refused() -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
    for part in (
        MESSAGE,
        hashlib.sha256(MESSAGE).digest(),
        TERMS + hashlib.sha256(MESSAGE).digest(),
    ):
        assert_refused(MESSAGE + private.sign(part))


def test_generated_identities_differ_and_sign() -> None:
    generated = [Identity.generate() for _ in range(20)]
    assert len({signer.public for signer in generated}) == 20
    for signer in generated:
        assert open_signed(signed_message(by=signer), signer.public, terms=TERMS) == MESSAGE


# Key derivation


@pytest.mark.parametrize(
    "case", vectors("rfc5869.json")["cases"], ids=lambda case: str(case["name"])
)
def test_the_oracle_of_these_tests_is_rfc_5869(case: dict[str, Any]) -> None:
    ikm, salt, info = (bytes.fromhex(case[name]) for name in ("ikm", "salt", "info"))
    assert hkdf(ikm, info, salt=salt, length=case["length"]).hex() == case["okm"]


def test_the_labels_are_those_written_down() -> None:
    # Typed out: two parties of different versions must not agree by accident.
    assert PAIR_MASK == b"securefl masking 1, pair mask"
    assert SELF_MASK == b"securefl masking 1, self mask"
    assert SEALING == b"securefl masking 1, sealing"


def test_the_info_of_a_derived_key_is_laid_out_as_typed_here() -> None:
    ids = bytes.fromhex("04030201" + "05000000" + "0d0c0b0a")
    assert INFO.to_bytes() == SESSION + ids + b"1" * 32 + b"2" * 32
    assert len(INFO.to_bytes()) == 92


@pytest.mark.parametrize("label", [PAIR_MASK, SELF_MASK, SEALING])
def test_a_derived_key_is_hkdf_of_the_standard_library(label: bytes) -> None:
    for secret in (KEY, bytes(32), b"\xff" * 32):
        assert derive(secret, label, INFO) == hkdf(secret, label + INFO.to_bytes())


def test_every_change_of_what_a_key_is_bound_to_changes_the_key() -> None:
    changes: list[dict[str, Any]] = [
        {"session": flipped(SESSION, 0)},
        {"session": flipped(SESSION, 15)},
        {"round": ROUND + 1},
        {"round": ROUND + 2**24},
        {"one": 6},
        {"one": 5 + 2**16},
        {"other": 0x0A0B0C0E},
        {"key_of_one": flipped(b"1" * 32, 31)},
        {"key_of_other": flipped(b"2" * 32, 0)},
        {"key_of_other": flipped(b"2" * 32, 31)},
        {"one": INFO.other, "other": INFO.one},
        {"key_of_one": INFO.key_of_other, "key_of_other": INFO.key_of_one},
        {"one": INFO.other, "other": INFO.one, "key_of_one": b"2" * 32, "key_of_other": b"1" * 32},
    ]
    derived = {derive(KEY, SEALING, replace(INFO, **change)) for change in [{}, *changes]}
    derived |= {
        derive(KEY, PAIR_MASK, INFO),
        derive(KEY, SELF_MASK, INFO),
        derive(flipped(KEY, 0), SEALING, INFO),
    }
    assert len(derived) == len(changes) + 4


# Key agreement


def diffie_hellman() -> tuple[bytes, bytes, bytes, bytes, bytes]:
    (case,) = [case for case in X25519["cases"] if case["kind"] == "diffie_hellman"]
    names = ("alice_private", "alice_public", "bob_private", "bob_public", "shared")
    a, a_public, b, b_public, shared = (bytes.fromhex(case[name]) for name in names)
    return a, a_public, b, b_public, shared


def test_round_keys_agree_as_alice_and_bob_in_rfc_7748() -> None:
    a, a_public, b, b_public, shared = diffie_hellman()
    assert (RoundKey(a).public, RoundKey(b).public) == (a_public, b_public)
    assert RoundKey(a).agree([b_public]) == RoundKey(b).agree([a_public]) == [shared]


@pytest.mark.parametrize(
    "case", [case for case in X25519["cases"] if case["kind"] == "scalar_mult"][:2]
)
def test_round_keys_agree_on_the_scalar_products_of_rfc_7748(case: dict[str, str]) -> None:
    assert (
        RoundKey(bytes.fromhex(case["scalar"])).agree([bytes.fromhex(case["u"])])[0].hex()
        == case["result"]
    )


def test_both_ends_agree_and_every_pair_on_a_secret_of_its_own() -> None:
    everyone = [RoundKey.generate() for _ in range(5)]
    publics = [key.public for key in everyone]
    table = [key.agree(publics) for key in everyone]
    assert all(table[i][j] == table[j][i] for i in range(5) for j in range(5))
    assert len({secret for row in table for secret in row}) == 15
    assert RoundKey.generate().agree([]) == []


@low_order_points
@pytest.mark.parametrize("top_bit", [0, 0x80], ids=["top bit clear", "top bit set"])
def test_a_point_of_low_order_is_unusable_wherever_it_stands(
    point: dict[str, str], top_bit: int
) -> None:
    public = flipped(bytes.fromhex(point["u"]), 31, top_bit)
    usual = RoundKey(KEY).public
    for publics in ([public], [usual, public], [public, usual]):
        with pytest.raises(
            ProtocolError, match=r"^a public key of the masked channel is unusable$"
        ):
            RoundKey.generate().agree(publics)


def test_keys_below_the_prime_are_reduced_and_others_are_not() -> None:
    assert is_reduced(diffie_hellman()[1])
    assert all(is_reduced(RoundKey.generate().public) for _ in range(20))
    for number, reduced in (
        (9, True),
        (2**255 - 20, True),
        (2**255 - 19, False),
        (9 + 2**255, False),
    ):
        assert is_reduced(number.to_bytes(32, "little")) is reduced


def test_keys_of_another_length_are_unusable() -> None:
    for length in (0, 31, 33):
        with pytest.raises(
            ProtocolError, match=r"^a public key of the masked channel is unusable$"
        ):
            RoundKey(KEY).agree([b"\5" * length])


def test_generated_round_keys_differ() -> None:
    assert len({RoundKey.generate().private for _ in range(50)}) == 50


# Commitments


def test_a_commitment_is_the_digest_typed_here() -> None:
    hashed = (
        b"securefl masking 1, self mask commitment"
        + SESSION
        + bytes.fromhex("04030201" + "09000000")
        + KEY
    )
    assert (
        commitment(KEY, session=SESSION, round=ROUND, client=9) == hashlib.sha256(hashed).digest()
    )


def test_a_commitment_fixes_seed_session_round_and_client() -> None:
    commitments = {
        commitment(KEY, session=SESSION, round=ROUND, client=9),
        commitment(flipped(KEY, 31), session=SESSION, round=ROUND, client=9),
        commitment(KEY, session=flipped(SESSION, 0), round=ROUND, client=9),
        commitment(KEY, session=SESSION, round=ROUND + 1, client=9),
        commitment(KEY, session=SESSION, round=ROUND, client=8),
        commitment(KEY, session=SESSION, round=9, client=ROUND),
    }
    assert len(commitments) == 6


# Sealed boxes


@pytest.mark.parametrize(
    "case", vectors("nist_gcm.json")["cases"], ids=lambda case: str(case["name"])
)
def test_a_box_is_opened_as_published_for_gcm(case: dict[str, str]) -> None:
    names = ("key", "iv", "ciphertext", "tag", "aad", "plaintext")
    key, iv, ciphertext, tag, aad, plaintext = (bytes.fromhex(case[name]) for name in names)
    assert open_sealed(key, iv + ciphertext + tag, associated=aad) == plaintext


@deterministic
@given(st.binary(max_size=100), st.binary(max_size=20), st.binary(min_size=32, max_size=32))
def test_what_is_sealed_opens_to_itself(plaintext: bytes, associated: bytes, key: bytes) -> None:
    box = seal(key, plaintext, associated=associated)
    assert len(box) == 12 + len(plaintext) + 16
    assert open_sealed(key, box, associated=associated) == plaintext
    assert AESGCM(key).decrypt(box[:12], box[12:], associated) == plaintext


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_box_with_any_byte_changed_does_not_open(mask: int) -> None:
    box = seal(KEY, b"shares", associated=b"a to b")
    assert [
        open_sealed(KEY, flipped(box, at, mask), associated=b"a to b") for at in range(len(box))
    ] == [None] * 34


def test_a_box_does_not_open_for_another_route_or_under_another_key() -> None:
    box = seal(KEY, b"shares", associated=b"a to b")
    for associated in (b"", b"b to a", b"a to b ", b"a to "):
        assert open_sealed(KEY, box, associated=associated) is None
    for at in range(32):
        assert open_sealed(flipped(KEY, at), box, associated=b"a to b") is None


def test_a_box_that_is_empty_cut_or_longer_does_not_open() -> None:
    box = seal(KEY, b"shares", associated=b"")
    for changed in [
        *(box[:length] for length in range(len(box))),
        box + b"\0",
        b"\0" + box,
        box + box,
    ]:
        assert open_sealed(KEY, changed, associated=b"") is None


def test_two_boxes_of_the_same_text_differ_in_nonce_and_text() -> None:
    boxes = [seal(KEY, bytes(66), associated=b"") for _ in range(50)]
    assert len({box[:12] for box in boxes}) == len({box[12:] for box in boxes}) == 50


# Round secrets


def test_fresh_secrets_differ_in_everything() -> None:
    fresh = [RoundSecrets.fresh() for _ in range(20)]
    parts = [
        part
        for secrets in fresh
        for part in (secrets.mask.private, secrets.sealing.private, secrets.seed)
    ]
    assert len(set(parts)) == 60
    assert {len(part) for part in parts} == {32}


def test_no_secret_is_shown() -> None:
    for shown in (repr, str, "{}".format):
        secret = RoundSecrets(RoundKey(b"M" * 32), RoundKey(b"S" * 32), b"E" * 32)
        assert shown(secret) == "RoundSecrets()"
        assert shown(secret.mask) == "RoundKey()"
        assert "\\x01" not in shown(identity())


def test_an_advertisement_tells_public_keys_and_the_commitment_to_the_seed() -> None:
    a, a_public, b, b_public, _ = diffie_hellman()
    secrets = RoundSecrets(RoundKey(a), RoundKey(b), KEY)
    advertisement = secrets.advertisement(SESSION, ROUND, 9, block=BLOCK, server_key=SERVER_KEY)
    committed = commitment(KEY, session=SESSION, round=ROUND, client=9)
    assert replace(advertisement, proof=b"") == Advertisement(
        SESSION, ROUND, 9, a_public, b_public, committed, BLOCK, b""
    )
    packed = advertisement.to_bytes()
    assert all(secret not in packed for secret in (a, b, KEY))


@pytest.mark.parametrize("threshold", [1, 3, 4])
def test_shares_give_what_the_advertisement_committed_to(threshold: int) -> None:
    points = {9: 1, 2: 4, 70_000: 3, 5: 2}
    secrets = RoundSecrets.fresh()
    advertisement = secrets.advertisement(SESSION, ROUND, 5, block=BLOCK, server_key=SERVER_KEY)
    dealt = secrets.shares(points, threshold=threshold)
    assert set(dealt) == set(points)
    assert {len(both) for both in dealt.values()} == {66}
    for chosen in (list(points)[:threshold], list(points)[-threshold:]):
        seed = shamir.reconstruct({points[client]: dealt[client][:33] for client in chosen})
        private = shamir.reconstruct({points[client]: dealt[client][33:] for client in chosen})
        assert seed is not None
        assert private is not None
        assert commitment(seed, session=SESSION, round=ROUND, client=5) == advertisement.commitment
        assert RoundKey(private).public == advertisement.mask_key
        assert (seed, private) == (secrets.seed, secrets.mask.private)


def test_one_share_fewer_gives_neither_secret() -> None:
    secrets = RoundSecrets.fresh()
    dealt = secrets.shares({2: 1, 5: 2, 9: 3}, threshold=3)
    assert shamir.reconstruct({1: dealt[2][:33], 2: dealt[5][:33]}) != secrets.seed
    assert shamir.reconstruct({1: dealt[2][33:], 2: dealt[5][33:]}) != secrets.mask.private


def test_every_box_opens_at_its_recipient() -> None:
    block = Block()
    boxes = {client: block.sealed(client) for client in CLIENTS}
    for client in CLIENTS:
        to_it = {sender: boxes[sender][client] for sender in CLIENTS if sender != client}
        assert block.opened(client, to_it) == {sender: content(sender, client) for sender in to_it}


def test_a_box_is_sealed_under_its_route_with_the_key_of_its_direction() -> None:
    block = Block()
    boxes = block.sealed(5)
    assert set(boxes) == {2, 9, 70_000}
    for other, box in boxes.items():
        start, end = block.peers[5], block.peers[other]
        agreed = exchange(block.secrets[5].sealing.private, end.sealing_key)
        ids = struct.pack("<III", ROUND, 5, other)
        key = hkdf(
            agreed,
            b"securefl masking 1, sealing" + SESSION + ids + start.sealing_key + end.sealing_key,
        )
        route = struct.pack("<III", 5, other, ROUND)
        assert AESGCM(key).decrypt(box[:12], box[12:], route) == content(5, other)


def test_boxes_that_fail_are_left_out_and_the_others_opened() -> None:
    block = Block()
    boxes = {sender: block.sealed(sender)[5] for sender in (2, 9, 70_000)}
    spoilt: list[Callable[[bytes], bytes]] = [
        lambda box: b"",
        lambda box: box[:-1],
        lambda box: flipped(box, 40),
    ]
    for spoil in spoilt:
        opened = block.opened(5, {**boxes, 9: spoil(boxes[9])})
        assert opened == {2: content(2, 5), 70_000: content(70_000, 5)}
    assert block.opened(5, dict.fromkeys(boxes, b"")) == {}
    assert block.opened(5, {}) == {}


def test_a_box_opens_for_nobody_else_and_from_nobody_else() -> None:
    block = Block()
    box = block.sealed(2)[5]
    assert block.opened(9, {2: box}) == {}
    assert block.opened(5, {9: box}) == {}
    assert block.opened(2, {5: box}) == {}  # sent back to where it came from


def test_a_box_does_not_open_in_another_round_of_the_same_keys() -> None:
    block = Block()
    boxes = {2: block.sealed(2)[5]}
    later = {client: replace(peer, round=ROUND + 1) for client, peer in block.peers.items()}
    assert block.secrets[5].open(later[5], block.peers, boxes) == {
        2: content(2, 5)
    }  # the sender's round is in it
    assert block.secrets[5].open(later[5], later, boxes) == {}


@low_order_points
def test_shares_are_not_sealed_for_a_key_of_low_order(point: dict[str, str]) -> None:
    block = Block()
    block.peers[9] = replace(block.peers[9], sealing_key=bytes.fromhex(point["u"]))
    with pytest.raises(ProtocolError, match="is unusable"):
        block.sealed(2)


# Masks


def test_a_pair_mask_key_is_the_same_from_both_ends_and_hkdf_in_order_of_ids() -> None:
    block = Block()
    for low in CLIENTS:
        for high in [client for client in CLIENTS if client > low]:
            one, other = block.peers[low], block.peers[high]
            (agreed,) = block.secrets[low].mask.agree([other.mask_key])
            ids = struct.pack("<III", ROUND, low, high)
            info = (
                b"securefl masking 1, pair mask"
                + MODEL
                + SESSION
                + ids
                + one.mask_key
                + other.mask_key
            )
            assert (
                pair_key(agreed, one, other) == pair_key(agreed, other, one) == hkdf(agreed, info)
            )


def test_a_self_mask_key_is_hkdf_of_the_seed_bound_to_the_mask_key() -> None:
    own = Block().peers[9]
    ids = struct.pack("<III", ROUND, 9, 9)
    info = b"securefl masking 1, self mask" + SESSION + ids + own.mask_key + own.mask_key
    assert self_mask_key(KEY, own) == hkdf(KEY, info)


def test_pair_mask_self_mask_and_sealing_keys_differ_even_of_one_secret() -> None:
    block = Block()
    one, other = block.peers[2], block.peers[5]
    same = replace(other, sender=2, mask_key=one.mask_key)
    ends = Info(SESSION, ROUND, 2, 2, one.mask_key, one.mask_key)
    assert len({pair_key(KEY, one, same), self_mask_key(KEY, one), derive(KEY, SEALING, ends)}) == 3


@pytest.mark.parametrize(
    "change", [{"session": bytes(16)}, {"round": 7}, {"mask_key": b"k" * 32}, {"sender": 3}]
)
def test_mask_keys_are_bound_to_session_round_key_and_client(change: dict[str, Any]) -> None:
    block = Block()
    low, high = block.peers[2], block.peers[5]
    assert self_mask_key(KEY, replace(low, **change)) != self_mask_key(KEY, low)
    assert pair_key(KEY, replace(low, **change), high) != pair_key(KEY, low, high)


def add_masks_of(block: Block, client: int, words: NDArray[Any], others: list[int]) -> None:
    masks = block.secrets[client].masks(block.peers[client], block.peers, others, model_hash=MODEL)
    for chunk, part in enumerate(chunks(words)):
        masks.add_to(part, chunk=chunk)


def stream_of(key: bytes, m: int, ring: int) -> NDArray[Any]:
    vector = np.zeros(m, dtype=WORDS[ring])
    add_masks(vector, plus=[key])
    return vector


@pytest.mark.parametrize("ring", list(WORDS))
def test_a_clients_masks_are_its_own_plus_those_to_higher_and_less_those_to_lower_ids(
    ring: int,
) -> None:
    block, m = Block(), 50
    words = np.arange(m).astype(WORDS[ring])
    add_masks_of(block, 9, words, [70_000, 2, 5])
    own = self_mask_key(block.secrets[9].seed, block.peers[9])
    expected = np.arange(m).astype(WORDS[ring]) + stream_of(own, m, ring)
    for other in (2, 5, 70_000):
        agreed = exchange(block.secrets[9].mask.private, block.peers[other].mask_key)
        masked = stream_of(pair_key(agreed, block.peers[9], block.peers[other]), m, ring)
        expected = expected + masked if other > 9 else expected - masked
    assert np.array_equal(words, expected)


@pytest.mark.parametrize("ring", list(WORDS))
def test_the_masks_of_all_clients_cancel_but_for_the_self_masks(ring: int) -> None:
    block, m = Block(), 200_000  # chunks' borders included
    total = np.zeros(m, dtype=WORDS[ring])
    for client in CLIENTS:
        words = np.zeros(m, dtype=WORDS[ring])
        others = [other for other in CLIENTS if other != client]
        add_masks_of(block, client, words, others)
        total += words
    assert np.count_nonzero(total) > m / 2
    for client in CLIENTS:
        add_masks(total, minus=[self_mask_key(block.secrets[client].seed, block.peers[client])])
    assert not total.any()


def test_a_dropped_clients_masks_are_taken_away_with_its_key() -> None:
    # 9 drops out after the others have masked towards it; its private key gives the rest.
    block, m, stayed = Block(), 500, (2, 5, 70_000)
    total = np.zeros(m, dtype=WORDS[32])
    for client in stayed:
        words = np.full(m, client, dtype=WORDS[32])
        others = [other for other in CLIENTS if other != client]
        add_masks_of(block, client, words, others)
        total += words
    for client in stayed:
        add_masks(total, minus=[self_mask_key(block.secrets[client].seed, block.peers[client])])
        (agreed,) = RoundKey(block.secrets[9].mask.private).agree([block.peers[client].mask_key])
        key = pair_key(agreed, block.peers[9], block.peers[client])
        own_part = stream_of(key, m, 32)
        total = (
            total - own_part if client < 9 else total + own_part
        )  # 2 and 5 added towards 9, 70,000 took away
    assert (total == sum(stayed)).all()


def test_a_client_alone_adds_its_self_mask_only() -> None:
    block = Block(clients=(3,))
    words = np.zeros(40, dtype=WORDS[32])
    add_masks_of(block, 3, words, [])
    assert np.array_equal(
        words, stream_of(self_mask_key(block.secrets[3].seed, block.peers[3]), 40, 32)
    )


@low_order_points
def test_nothing_is_masked_towards_a_key_of_low_order(point: dict[str, str]) -> None:
    block = Block()
    block.peers[9] = replace(block.peers[9], mask_key=bytes.fromhex(point["u"]))
    with pytest.raises(ProtocolError, match="is unusable"):
        add_masks_of(block, 2, np.zeros(4, dtype=WORDS[32]), [5, 9])


def test_the_sizes_are_those_of_the_primitives() -> None:
    assert (keys.KEY_BYTES, keys.SIGNATURE_BYTES, keys.NONCE_BYTES, keys.TAG_BYTES) == (
        32,
        64,
        12,
        16,
    )


def test_the_key_of_an_upload_is_hkdf_by_hand_and_the_same_from_both_ends() -> None:
    block, server = Block(), RoundKey(bytes(range(32)))
    own = block.peers[5]
    agreed = exchange(server.private, own.sealing_key)
    ids = struct.pack("<III", ROUND, 5, 2**32 - 1)
    info = b"securefl masking 1, upload" + SESSION + ids + own.sealing_key + server.public
    assert block.secrets[5].upload_key(own, server.public) == hkdf(agreed, info)
    assert upload_key(agreed, own, server.public) == hkdf(agreed, info)


def test_a_proof_of_possession_is_the_derived_key_by_hand() -> None:
    server = RoundKey(bytes(range(32)))
    secrets = RoundSecrets(RoundKey(b"m" * 32), RoundKey(b"k" * 32), KEY)
    own = secrets.advertisement(SESSION, ROUND, 5, block=BLOCK, server_key=server.public)
    agreed = exchange(b"m" * 32, server.public) + exchange(b"k" * 32, server.public)
    ends = (
        SESSION
        + struct.pack("<III", ROUND, 5, 2**32 - 1)
        + own.mask_key
        + own.sealing_key
        + server.public
    )
    assert own.proof == hkdf(agreed, b"securefl masking 1, possession of both keys" + ends)[:16]


def test_a_commitment_to_a_share_is_the_hash_by_hand() -> None:
    given = share_commitment(b"s" * 33, session=SESSION, round=ROUND, dealer=5, holder=9, place=1)
    label = b"securefl masking 1, share commitment"
    by_hand = hashlib.sha256(
        label + SESSION + struct.pack("<IIIB", ROUND, 5, 9, 1) + b"s" * 33
    ).digest()
    assert given == by_hand[:16]
