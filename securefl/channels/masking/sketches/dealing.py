"""Dealing: shares of integers, with a proof that all holders' shares lie on low polynomials.

A dealer hides every value in a polynomial of degree c, and adds sharings of zero of degree 2c.
Holders of shares check them without seeing more: the dealer publishes a hash of each holder's
shares (the table), derives a challenge from these hashes, and publishes the polynomial of the
challenge's combination plus one random blind.

**Why the challenge comes from the dealer's own table.** The proof of one challenge shows nothing,
since its blind is used once. The difference of two proofs has no blind: each further challenge
opens one more linear combination of the values. A challenge that the server chose, or that hung on
a message of the server, could differ from holder to holder. The table is fixed before its hash is
known, so that no dealer can choose shares to suit a challenge.

Source: Shamir, "How to share a secret", CACM 1979; the check of many sharings by one blinded random
combination as in Ben-Or, Goldwasser and Wigderson, STOC 1988, and Cascudo and David, "SCRAPE",
ACNS 2017, section 3; the challenge as in Fiat and Shamir, CRYPTO 1986.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from securefl.channels.masking.sketches.field import (
    ELEMENT_BYTES,
    MAX_POINT,
    P,
    dot,
    expanded,
    packed,
    random_elements,
    unpacked,
    value_at,
)
from securefl.errors import ProtocolError

CONTEXT_BYTES = 32
ENTRY_BYTES = 32

# One label a purpose: shares of sketches never pass for shares of masks' sketches.
SKETCHES = b"securefl masking 1, dealing of a sketch"
PAIR_SKETCHES = b"securefl masking 1, dealing of pair masks' sketches"
_CONTEXT = b"securefl masking 1, context of a dealing"
_DEALT = b"securefl masking 1, dealt share"
_CHALLENGE = b"securefl masking 1, challenge of a dealing"


@dataclass(frozen=True)
class Dealing:
    """What a dealer publishes, and what it seals for each holder.

    Args:
        table: holder -> 32 bytes that fix its shares.
        proof: the polynomials of the challenge's combinations.
        shares: holder -> its share vector; secret.
    """

    table: dict[int, bytes]
    proof: bytes
    shares: dict[int, bytes] = field(repr=False)


@dataclass(frozen=True)
class Shares:
    """The shares of one dealing that one holder accepted.

    Args:
        values: one element a value.
        zeros: one element a sharing of zero.
    """

    values: list[int] = field(repr=False)
    zeros: list[int] = field(repr=False)


def context_of(label: bytes, *, session: bytes, round: int, uploads: bytes) -> bytes:
    """Returns 32 bytes that bind a dealing to its purpose, session, round and uploads.

    Args:
        label: `SKETCHES` or `PAIR_SKETCHES`.
        session: 16 bytes that name the session.
        round: its number.
        uploads: 32 bytes, the digest of the list of uploads.
    """
    purpose = hashlib.sha256(label).digest()
    exchange = session + struct.pack("<I", round) + uploads
    return hashlib.sha256(_CONTEXT + purpose + exchange).digest()


def share_bytes(values: int, zeros: int) -> int:
    """Returns the bytes of a share vector: values and blind, zeros and blind, a random salt."""
    return ELEMENT_BYTES * (values + 1 + (zeros + 1 if zeros else 0) + 1)


def proof_bytes(degree: int, zeros: int) -> int:
    """Returns the bytes of a proof: one polynomial for the values, another one for zeros."""
    return ELEMENT_BYTES * (degree + 1 + (2 * degree if zeros else 0))


def deal(
    values: Sequence[int],
    *,
    zeros: int,
    degree: int,
    points: Mapping[int, int],
    context: bytes,
    sender: int,
) -> Dealing:
    """Returns shares of integers and of zeros for every holder, with table and proof.

    Any `degree` holders learn nothing about the values from their shares, table and proof.

    Args:
        values: integers between -p / 2 and p / 2; a negative one is shared as its residue.
        zeros: sharings of zero of twice the degree; 0 for none, without a second blind.
        degree: of the values' polynomials, at least 1: the colluders that the shares withstand.
        points: holder -> its point, distinct, 1 to 2^31 - 1; more holders than the degree.
        context: 32 bytes, see `context_of`.
        sender: the dealer's id.

    Raises:
        ValueError: a value, degree, point or context out of range.
    """
    _check(values, zeros, degree, points, context)
    of_values = _polynomials([value % P for value in values], degree)
    of_values.append(random_elements(degree + 1))
    of_zeros = _polynomials([0] * zeros, 2 * degree)
    if zeros:
        of_zeros.append([0, *random_elements(2 * degree)])
    polynomials = of_values + of_zeros
    salts = random_elements(len(points))
    shares = {
        holder: packed([*[value_at(polynomial, point) for polynomial in polynomials], salt])
        for (holder, point), salt in zip(points.items(), salts, strict=True)
    }
    table = {
        holder: _entry(share, context=context, sender=sender, holder=holder)
        for holder, share in shares.items()
    }
    challenge = _challenge(
        table, context=context, sender=sender, values=len(values), zeros=zeros, degree=degree
    )
    proof = _combined(of_values, challenge[: len(values)])
    if zeros:
        proof += _combined(of_zeros, challenge[len(values) :])[1:]
    return Dealing(table, packed(proof), shares)


def check_dealing(
    share: bytes,
    *,
    holder: int,
    point: int,
    sender: int,
    context: bytes,
    table: Mapping[int, bytes],
    proof: bytes,
    values: int,
    zeros: int,
    degree: int,
) -> Shares | None:
    """Returns this holder's shares; None, and never a reason, if it must reject the dealing.

    Of holders that accept, all have shares of the same polynomials of the right degree, and their
    zeros are sharings of zero, except with probability about 2^-127 for each try of the dealer.

    Args:
        share: what the sealed box held.
        holder: this holder's id.
        point: its point.
        sender: the dealer's id.
        context: 32 bytes, see `context_of`.
        table: the dealer's published table.
        proof: its published proof.
        values: how many values are dealt.
        zeros: how many sharings of zero.
        degree: of the values' polynomials.
    """
    if len(share) != share_bytes(values, zeros) or len(proof) != proof_bytes(degree, zeros):
        return None
    if any(len(entry) != ENTRY_BYTES for entry in table.values()):
        return None
    if table.get(holder) != _entry(share, context=context, sender=sender, holder=holder):
        return None
    try:
        elements = unpacked(share, len(share) // ELEMENT_BYTES)
        coefficients = unpacked(proof, len(proof) // ELEMENT_BYTES)
    except ProtocolError:
        return None
    challenge = _challenge(
        table, context=context, sender=sender, values=values, zeros=zeros, degree=degree
    )
    of_values = elements[: values + 1]
    of_zeros = elements[values + 1 : -1]
    if not _fits(of_values, challenge[:values], coefficients[: degree + 1], point):
        return None
    # The proof has no room for a constant: combinations of zeros vanish at 0.
    if zeros and not _fits(of_zeros, challenge[values:], [0, *coefficients[degree + 1 :]], point):
        return None
    return Shares(of_values[:-1], of_zeros[:-1])


def _check(
    values: Sequence[int], zeros: int, degree: int, points: Mapping[int, int], context: bytes
) -> None:
    if any(not -P // 2 < value <= P // 2 for value in values):
        raise ValueError("a dealt integer must lie between -p / 2 and p / 2")
    if zeros < 0:
        raise ValueError(f"the number of zeros must be at least 0, got {zeros}")
    if not 1 <= degree < len(points):
        raise ValueError(f"the degree must be 1 to {len(points) - 1}, got {degree}")
    if len(set(points.values())) < len(points):
        raise ValueError("points must be distinct")
    if not all(1 <= point <= MAX_POINT for point in points.values()):
        raise ValueError("a point must be 1 to 2^31 - 1; the secret itself lies at 0")
    if len(context) != CONTEXT_BYTES:
        raise ValueError(f"a context takes {CONTEXT_BYTES} bytes, got {len(context)}")


def _polynomials(constants: Sequence[int], degree: int) -> list[list[int]]:
    """Returns a polynomial for each constant; its other coefficients are random."""
    drawn = random_elements(degree * len(constants))
    return [
        [constant, *drawn[degree * i : degree * (i + 1)]] for i, constant in enumerate(constants)
    ]


def _entry(share: bytes, *, context: bytes, sender: int, holder: int) -> bytes:
    """Returns the hash of one holder's share vector.

    The salt hides it. Without one, whoever holds `degree` shares could confirm a guess of all
    values: guess and proof give every other share, and that of the blind.
    """
    return hashlib.sha256(_DEALT + context + struct.pack("<II", sender, holder) + share).digest()


def _challenge(
    table: Mapping[int, bytes], *, context: bytes, sender: int, values: int, zeros: int, degree: int
) -> list[int]:
    """Returns the coefficients of the combination that the dealer must open."""
    shape = struct.pack("<IIII", sender, values, zeros, degree)
    entries = [struct.pack("<I", holder) + table[holder] for holder in sorted(table)]
    seed = hashlib.sha256(_CHALLENGE + context + shape + b"".join(entries)).digest()
    return expanded(seed, values + zeros)


def _combined(polynomials: list[list[int]], challenge: Sequence[int]) -> list[int]:
    """Returns the combination of polynomials plus the last of them, the blind."""
    weights = [*challenge, 1]
    return [dot(weights, terms) for terms in zip(*polynomials, strict=True)]


def _fits(
    elements: Sequence[int], challenge: Sequence[int], coefficients: Sequence[int], point: int
) -> bool:
    """Whether the combination of shares lies on the polynomial; the last share is the blind's."""
    return dot([*challenge, 1], elements) == value_at(coefficients, point)
