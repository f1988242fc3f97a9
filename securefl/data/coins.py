"""Random numbers that belong to records: they follow from a record's own content alone.

A claim about one training example needs this. Numbers that follow a record's position shift when an
earlier record is removed, so that one removal changes the labels or the membership of many others.
Here, adding or removing one record leaves the numbers of every other record as they were:

    numbers = record_numbers(examples, seeded_keystream(split_seed, "share", client))
    included = coins(numbers[:, 0], probability=0.5)

Copies are counted: the k-th record of the same content draws numbers of its own. Copies are alike,
so it does not matter which of them is removed: the first copies keep their numbers, and the numbers
of the last one go.
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

# Names the version of the canonical form below.
_CONTENT_VERSION = b"securefl record 1\n"
# 64-bit integers in one SHA-256.
NUMBERS_PER_RECORD = 4


def content_hashes(examples: Examples) -> list[bytes]:
    """Returns the SHA-256 of each record's content in a canonical form.

    The form is a version line, then the features, then the label. Each of the two has a line, with
    the numpy name of its type and the shape of one record as decimal numbers, and its values in C
    order, little-endian. Two records are copies where these bytes are the same (0.0 and -0.0 are
    not).
    """
    features = _canonical(examples.features)
    labels = _canonical(examples.labels)
    features_head = _CONTENT_VERSION + _type_line(features)
    label_head = _type_line(labels)
    hashes = []
    for record, label in zip(features, labels, strict=True):
        content = features_head + record.tobytes() + label_head + label.tobytes()
        hashes.append(hashlib.sha256(content).digest())
    return hashes


def record_numbers(examples: Examples, stream: Keystream) -> NDArray[np.uint64]:
    """Returns four uniform 64-bit integers for each record, (n, 4).

    Args:
        examples: n records.
        stream: gives the key that the numbers are drawn under, 32 bytes.

    Guarantees:
        - A record's numbers follow from the key, from its content and from how many copies of it
          come before, and from nothing else.
        - Without the key the numbers cannot be told from random ones (SHA-256 of the key, the hash
          of the content and the number of the copy, all of a fixed length).
    """
    key = stream.bytes(32)
    copies = Counter[bytes]()
    digests = bytearray()
    for content in content_hashes(examples):
        copy_number = struct.pack("<Q", copies[content])
        digests += hashlib.sha256(key + content + copy_number).digest()
        copies[content] += 1
    numbers = np.frombuffer(bytes(digests), dtype="<u8")
    return numbers.reshape(-1, NUMBERS_PER_RECORD)


def coins(numbers: NDArray[np.uint64], *, probability: float) -> Tensor:
    """Turns each number into a coin, (n,) bool, that is True with the probability.

    Args:
        numbers: (n,) uniform 64-bit integers.
        probability: in (0, 1); rounded down to a multiple of 2^-64.

    Raises:
        ValueError: probability is not above 0 and below 1.
    """
    if not 0 < probability < 1:
        raise ValueError(f"a coin needs a probability above 0 and below 1, got {probability}")
    threshold = np.uint64(math.ldexp(probability, 64))
    return torch.from_numpy(numbers < threshold)


def below(numbers: NDArray[np.uint64], bound: int) -> Tensor:
    """Turns each number into an integer below `bound`, (n,) int64.

    The integers are off uniform by at most bound / 2^64.
    """
    integers = numbers % np.uint64(bound)
    return torch.from_numpy(integers.astype(np.int64))


def _canonical(values: Tensor) -> NDArray[np.generic]:
    """Returns the values in C order, little-endian, on every machine."""
    array = values.numpy()
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def _type_line(values: NDArray[np.generic]) -> bytes:
    """Returns the type and the shape of one record, as a line."""
    shape = " ".join(map(str, values.shape[1:]))
    return f"{values.dtype.name} {shape}\n".encode()
