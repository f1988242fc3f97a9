"""Random numbers that belong to records: they follow from a record's content, and from no other.

A claim about one training example needs this. Numbers that follow a record's position shift when an
earlier record is removed, so that one removal changes the labels or the membership of many others.
Here adding or removing one record leaves the numbers of every other record as they were:

    numbers = record_numbers(examples, seeded_keystream(split_seed, "share", client))
    kept = coins(numbers[:, 0], probability=0.5)

Copies are counted: the k-th record of the same content draws numbers of its own. Copies are alike,
so whichever of them is removed, what remains is the same: the first copies keep their numbers, and
those of the last one go.
"""

import hashlib
import math
import struct
from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.data.task import Examples
from securefl.rng import Keystream

_CONTENT = b"securefl record 1\n"  # the version of the canonical form below
_NUMBERS = 4  # 64-bit integers in one SHA-256


def content_hashes(examples: Examples) -> list[bytes]:
    """SHA-256 of each record's content in a canonical form.

    The form: a version line; then of the features and of the label the numpy name of the type, the
    shape of one record as decimal numbers, a line end, and the values in C order, little-endian. Two
    records are copies where these bytes are the same (0.0 and -0.0 are not).
    """
    features, labels = _canonical(examples.features), _canonical(examples.labels)
    head = _CONTENT + _described(features), _described(labels)
    return [
        hashlib.sha256(head[0] + record.tobytes() + head[1] + label.tobytes()).digest()
        for record, label in zip(features, labels, strict=True)
    ]


def record_numbers(examples: Examples, stream: Keystream) -> NDArray[np.uint64]:
    """Uniform 64-bit integers of each record, (n, 4).

    Args:
        examples: n records.
        stream: gives the key that the numbers are drawn under, 32 bytes.

    Guarantees:
        - A record's numbers follow from the key, from its content and from how many copies of it
          come before, and from nothing else.
        - Without the key the numbers cannot be told from random ones (SHA-256 of the key, the hash
          of the content and the number of the copy, all of a fixed length).
    """
    key, copies = stream.bytes(32), Counter[bytes]()
    drawn = bytearray()
    for content in content_hashes(examples):
        drawn += hashlib.sha256(key + content + struct.pack("<Q", copies[content])).digest()
        copies[content] += 1
    return np.frombuffer(bytes(drawn), dtype="<u8").reshape(-1, _NUMBERS)


def coins(numbers: NDArray[np.uint64], *, probability: float) -> Tensor:
    """One coin a number, (n,) bool: True with `probability`, in (0, 1), cut to a multiple of 2^-64.

    Raises:
        ValueError: probability is not above 0 and below 1.
    """
    if not 0 < probability < 1:
        raise ValueError(f"a coin needs a probability above 0 and below 1, got {probability}")
    return torch.from_numpy(numbers < np.uint64(math.ldexp(probability, 64)))


def below(numbers: NDArray[np.uint64], bound: int) -> Tensor:
    """One integer below `bound` a number, (n,) int64; off uniform by at most bound / 2^64."""
    return torch.from_numpy((numbers % np.uint64(bound)).astype(np.int64))


def _canonical(values: Tensor) -> NDArray[np.generic]:
    """The values in C order, little-endian."""
    array = values.numpy()
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def _described(values: NDArray[np.generic]) -> bytes:
    """The type and the shape of one record, as a line."""
    return f"{values.dtype.name} {' '.join(map(str, values.shape[1:]))}\n".encode()
