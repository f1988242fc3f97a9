"""The primitives under the secure channels give the published answers and refuse bad input.

The answers are in `vectors/`, one file for each document; every file names its source. A change of
the `cryptography` package, or of the file of vectors, that alters one bit of an answer fails here.
"""

import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from tests.paths import VECTORS

Case = dict[str, Any]


NAMES = {
    "rfc5869.json": ["A.1", "A.2", "A.3"],
    "rfc7748.json": ["5.2 first", "5.2 second", "5.2 after one iteration", "6.1"],
    "rfc8032.json": ["TEST 1", "TEST 2", "TEST 3", "TEST SHA(abc)"],
    "nist_ctr.json": ["F.5.5 CTR-AES256.Encrypt"],
    "nist_gcm.json": [
        "McGrew-Viega 13",
        "McGrew-Viega 14",
        "McGrew-Viega 15",
        "McGrew-Viega 16",
        "CAVP PTlen 0 AADlen 128 Count 0",
        "CAVP PTlen 128 AADlen 0 Count 0",
        "CAVP PTlen 128 AADlen 128 Count 0",
        "CAVP PTlen 408 AADlen 720 Count 0",
    ],
}


def load(file: str) -> Case:
    document: Case = json.loads((VECTORS / file).read_text(encoding="utf-8"))
    return document


def each(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])


def of_kind(kind: str) -> list[Case]:
    return [case for case in load("rfc7748.json")["cases"] if case["kind"] == kind]


def raw(case: Case, *fields: str) -> list[bytes]:
    return [bytes.fromhex(case[field]) for field in fields]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


hkdf_cases = each(load("rfc5869.json")["cases"])
scalar_mult_cases = each(of_kind("scalar_mult"))
diffie_hellman_cases = each(of_kind("diffie_hellman"))
low_order_points = each(load("rfc7748.json")["low_order"])
ed25519_cases = each(load("rfc8032.json")["cases"])
ctr_cases = each(load("nist_ctr.json")["cases"])
gcm_cases = each(load("nist_gcm.json")["cases"])


@pytest.mark.parametrize("file", NAMES)
def test_every_file_of_vectors_names_its_source_and_holds_its_cases(file: str) -> None:
    document = load(file)
    assert document["source"]
    assert [case["name"] for case in document["cases"]] == NAMES[file]


@hkdf_cases
def test_hkdf_gives_the_rfc_5869_answers(case: Case) -> None:
    ikm, salt, info, okm = raw(case, "ikm", "salt", "info", "okm")
    assert len(okm) == case["length"]
    assert HKDF(hashes.SHA256(), length=case["length"], salt=salt, info=info).derive(ikm) == okm


@hkdf_cases
def test_hkdf_is_an_hmac_then_an_expansion_with_the_rfc_5869_key_between_them(case: Case) -> None:
    ikm, salt, info, prk, okm = raw(case, "ikm", "salt", "info", "prk", "okm")
    extract = hmac.HMAC(salt or bytes(32), hashes.SHA256())
    extract.update(ikm)
    assert extract.finalize() == prk
    assert HKDFExpand(hashes.SHA256(), length=case["length"], info=info).derive(prk) == okm


@scalar_mult_cases
def test_x25519_gives_the_rfc_7748_answers(case: Case) -> None:
    scalar, u, result = raw(case, "scalar", "u", "result")
    assert (
        X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(u))
        == result
    )


@diffie_hellman_cases
def test_both_sides_of_the_rfc_7748_exchange_get_its_public_keys_and_its_secret(case: Case) -> None:
    alice_public, bob_public, shared = raw(case, "alice_public", "bob_public", "shared")
    alice, bob = (
        X25519PrivateKey.from_private_bytes(key)
        for key in raw(case, "alice_private", "bob_private")
    )
    assert alice.public_key().public_bytes_raw() == alice_public
    assert bob.public_key().public_bytes_raw() == bob_public
    assert alice.exchange(X25519PublicKey.from_public_bytes(bob_public)) == shared
    assert bob.exchange(X25519PublicKey.from_public_bytes(alice_public)) == shared


def test_the_low_order_points_are_seven_different_encodings_with_a_named_source() -> None:
    document = load("rfc7748.json")
    assert document["low_order_source"]
    assert len({point["u"] for point in document["low_order"]}) == len(document["low_order"]) == 7


@low_order_points
@pytest.mark.parametrize("top_bit", [0, 0x80], ids=["top bit clear", "top bit set"])
def test_x25519_refuses_every_low_order_point(case: Case, top_bit: int) -> None:
    encoding = bytearray.fromhex(case["u"])
    encoding[31] |= top_bit
    peer = X25519PublicKey.from_public_bytes(bytes(encoding))
    (exchange,) = of_kind("diffie_hellman")
    for key in raw(exchange, "alice_private", "bob_private"):
        private = X25519PrivateKey.from_private_bytes(key)
        with pytest.raises(ValueError, match="shared key"):
            private.exchange(peer)


@ed25519_cases
def test_ed25519_signs_as_rfc_8032_says(case: Case) -> None:
    secret, public, message, signature = raw(case, "secret", "public", "message", "signature")
    private = Ed25519PrivateKey.from_private_bytes(secret)
    assert private.public_key().public_bytes_raw() == public
    assert private.sign(message) == signature


@ed25519_cases
def test_ed25519_accepts_the_rfc_8032_signatures(case: Case) -> None:
    public, message, signature = raw(case, "public", "message", "signature")
    Ed25519PublicKey.from_public_bytes(public).verify(signature, message)


@ed25519_cases
def test_ed25519_refuses_a_signature_with_any_one_bit_flipped(case: Case) -> None:
    public, message, signature = raw(case, "public", "message", "signature")
    key = Ed25519PublicKey.from_public_bytes(public)
    for bit in range(8 * len(signature)):
        with pytest.raises(InvalidSignature):
            key.verify(flipped(signature, bit), message)


@ed25519_cases
def test_ed25519_refuses_a_message_with_any_one_bit_flipped_or_one_byte_more(case: Case) -> None:
    public, message, signature = raw(case, "public", "message", "signature")
    key = Ed25519PublicKey.from_public_bytes(public)
    for changed in [message + b"\0", *(flipped(message, bit) for bit in range(8 * len(message)))]:
        with pytest.raises(InvalidSignature):
            key.verify(signature, changed)


@ctr_cases
def test_aes_256_ctr_gives_the_sp_800_38a_answers(case: Case) -> None:
    key, counter = raw(case, "key", "counter")
    plaintext, ciphertext = (
        [bytes.fromhex(block) for block in case[name]] for name in ("plaintext", "ciphertext")
    )
    cipher = Cipher(algorithms.AES256(key), modes.CTR(counter))
    encryptor, decryptor = cipher.encryptor(), cipher.decryptor()
    assert [encryptor.update(block) for block in plaintext] == ciphertext
    assert [decryptor.update(block) for block in ciphertext] == plaintext


@ctr_cases
def test_aes_256_ctr_gives_the_same_stream_in_one_piece(case: Case) -> None:
    key, counter = raw(case, "key", "counter")
    plaintext, ciphertext = (
        bytes.fromhex("".join(case[name])) for name in ("plaintext", "ciphertext")
    )
    encryptor = Cipher(algorithms.AES256(key), modes.CTR(counter)).encryptor()
    assert encryptor.update(plaintext) + encryptor.finalize() == ciphertext


@gcm_cases
def test_aes_256_gcm_encrypts_to_the_known_answers(case: Case) -> None:
    key, iv, plaintext, aad, ciphertext, tag = raw(
        case, "key", "iv", "plaintext", "aad", "ciphertext", "tag"
    )
    assert len(key) == 32
    assert AESGCM(key).encrypt(iv, plaintext, aad) == ciphertext + tag


@gcm_cases
def test_aes_256_gcm_decrypts_the_known_answers(case: Case) -> None:
    key, iv, plaintext, aad, ciphertext, tag = raw(
        case, "key", "iv", "plaintext", "aad", "ciphertext", "tag"
    )
    assert AESGCM(key).decrypt(iv, ciphertext + tag, aad) == plaintext


@gcm_cases
def test_aes_256_gcm_refuses_a_ciphertext_or_tag_with_any_one_bit_flipped(case: Case) -> None:
    key, iv, aad, ciphertext, tag = raw(case, "key", "iv", "aad", "ciphertext", "tag")
    aead = AESGCM(key)
    for bit in range(8 * len(ciphertext + tag)):
        with pytest.raises(InvalidTag):
            aead.decrypt(iv, flipped(ciphertext + tag, bit), aad)


@gcm_cases
def test_aes_256_gcm_refuses_associated_data_with_any_one_bit_flipped_or_one_byte_more(
    case: Case,
) -> None:
    key, iv, aad, ciphertext, tag = raw(case, "key", "iv", "aad", "ciphertext", "tag")
    aead = AESGCM(key)
    for changed in [aad + b"\0", *(flipped(aad, bit) for bit in range(8 * len(aad)))]:
        with pytest.raises(InvalidTag):
            aead.decrypt(iv, ciphertext + tag, changed)
