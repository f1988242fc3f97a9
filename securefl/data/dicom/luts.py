"""Lookup tables of a header (PS3.3, C.11.1 and C.11.2): for modalities, and for windows."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.data.dicom.files import Flaw
from securefl.data.dicom.reading import is_big_endian

MAX_LUT_ENTRIES = 2**16
LUT_BITS = range(8, 17)


class Lut(NamedTuple):
    """A table of values (PS3.3, C.11.1): entry 0 is for `first` and everything below it."""

    first: int
    entries: NDArray[np.float64]
    bits: int

    def of(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Returns the entry of each value."""
        places = np.clip(np.rint(values).astype(np.int64) - self.first, 0, len(self.entries) - 1)
        chosen: NDArray[np.float64] = self.entries[places]
        return chosen


def read_lut(item: Any, order: str, *, is_signed: bool, keeps_sign: bool) -> Lut:
    """Returns a table of values.

    Args:
        item: of the sequence.
        order: of the bytes of a word, "<" or ">".
        is_signed: whether the inputs can be negative, so that the first of them is in two's
            complement (PS3.3, C.11.1.1.1 and C.11.2.1.1).
        keeps_sign: whether a first input that the file states as negative is negative in any case.

    Raises:
        Flaw: its data are not what its descriptor says.
    """
    descriptor = numbers_of_words(item.get("LUTDescriptor"), order)
    if len(descriptor) != 3:
        raise Flaw("has a damaged LUT")
    count, first, bits = (int(number) for number in descriptor)
    # A count of 0 stands for 2^16, which 16 bits cannot hold.
    count = (count % MAX_LUT_ENTRIES) or MAX_LUT_ENTRIES
    if not (keeps_sign and first < 0):
        first %= MAX_LUT_ENTRIES
    if is_signed and first >= MAX_LUT_ENTRIES // 2:
        first -= MAX_LUT_ENTRIES
    if bits not in LUT_BITS:
        raise Flaw("has a damaged LUT")
    entries = _entries(item.get("LUTData"), count, order)
    return Lut(first, entries.astype(np.float64), bits)


def order_of(found: Any) -> str:
    """Returns the order of the bytes of a word, as numpy writes it."""
    return ">" if is_big_endian(found) else "<"


def numbers_of_words(data: object, order: str) -> NDArray[np.int64]:
    """Returns numbers of 16 bits that pydicom gives as numbers or as bytes."""
    if isinstance(data, bytes):
        return np.frombuffer(data, dtype=f"{order}u2").astype(np.int64)
    return np.atleast_1d(np.asarray(data, dtype=np.int64))


def _entries(data: object, count: int, order: str) -> NDArray[Any]:
    """Returns the entries of a LUT; 8-bit ones may be packed as bytes. Raises Flaw."""
    if isinstance(data, bytes) and len(data) in (count, count + count % 2):
        if order == ">":
            raise Flaw("has a LUT of bytes in big endian, which is not read; write little endian")
        return np.frombuffer(data, dtype=np.uint8)[:count]
    entries = numbers_of_words(data, order)
    if len(entries) != count:
        raise Flaw("has a damaged LUT")
    return entries % MAX_LUT_ENTRIES
