"""How many elements a header has, counted before pydicom makes an object of each.

An empty item of a sequence is 8 bytes in the file, and costs pydicom 25 microseconds and hundreds
of bytes of memory. This count goes the way that pydicom goes (`pydicom.filereader`), and is strict
where pydicom goes on: each element lies within its item, and each item within its sequence.

Source: DICOM PS3.5, 7.1 and 7.5.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from securefl.data.dicom.files import Flaw

# 8,192 frames with their functional groups have some 50,000 items and 200,000 elements. As many as
# are allowed keep pydicom busy for two to four seconds.
MAX_ITEMS = 60_000
MAX_ELEMENTS = 250_000
MAX_NESTING = 64
# Of an element whose value becomes objects, such as numbers in text.
MAX_TEXT_BYTES = 2**16
_UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_DAMAGED = "is a damaged DICOM file"
_PIXELS = 0x7FE00010
# Explicit ones whose length has 32 bits (PS3.5, 7.1.2), and those that stay bytes when read.
_LONG = ("OB", "OD", "OF", "OL", "OW", "OV", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
_BYTES = ("OB", "OD", "OF", "OL", "OW", "OV", "SQ", "UN")

# Tag -> value representation of the dictionary, such as "SQ" or "OB or OW"; None for unknown ones.
VrOf = Callable[[int], str | None]


class Encoding(NamedTuple):
    """How elements are written."""

    implicit: bool
    little: bool


@dataclass(frozen=True)
class _Level:
    """A sequence, or a data set: the outermost one, or an item.

    Attributes:
        end: of its bytes; a delimiter may end it before.
        is_sequence: whether items come next, and not elements.
        implicit: whether elements have no value representation.
    """

    end: int
    is_sequence: bool
    implicit: bool


def check_elements(content: bytes, start: int, encoding: Encoding, vr_of: VrOf) -> None:
    """Refuses a data set with more items or elements than a header has.

    Args:
        content: of a file.
        start: of the data set.
        encoding: that its transfer syntax says.
        vr_of: the dictionary.

    Raises:
        Flaw: it has more, or is damaged.
    """
    try:
        _Count(content, encoding, vr_of).walk(start)
    except struct.error:
        raise Flaw(_DAMAGED) from None


class _Count:
    """Goes through a data set without recursion."""

    def __init__(self, content: bytes, encoding: Encoding, vr_of: VrOf) -> None:
        self._content = content
        order = "<" if encoding.little else ">"
        self._tag_and_length = struct.Struct(f"{order}HHL").unpack_from
        self._short = struct.Struct(f"{order}HH2sH").unpack_from
        self._long = struct.Struct(f"{order}L").unpack_from
        self._sequence_end = struct.pack(f"{order}HH", 0xFFFE, 0xE0DD)
        self._vr_of = vr_of
        self._implicit = encoding.implicit
        self._items = 0
        self._elements = 0

    def walk(self, place: int) -> None:
        implicit = self._is_implicit(place, self._implicit, outermost=True)
        levels = [_Level(len(self._content), False, implicit)]
        while levels:
            level = levels[-1]
            # Less than the head of an element at the end of the file is no element.
            rest = level.end - place
            if rest <= 0 or (len(levels) == 1 and rest < 8):
                levels.pop()
                continue
            place = (self._item if level.is_sequence else self._element)(place, levels)
            if place > level.end or len(levels) > MAX_NESTING:
                raise Flaw(_DAMAGED)

    def _item(self, place: int, levels: list[_Level]) -> int:
        """Enters an item, or leaves a sequence; returns the next place."""
        level = levels[-1]
        group, element, length = self._tag_and_length(self._content, place)
        place += 8
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            levels.pop()
            return place
        self._items += 1
        if tag != _ITEM:
            raise Flaw(_DAMAGED)
        if self._items > MAX_ITEMS:
            raise Flaw(f"has more than {MAX_ITEMS} items in its sequences")
        end = level.end if length == _UNDEFINED else place + length
        if end > level.end:
            raise Flaw(_DAMAGED)
        implicit = self._is_implicit(place, level.implicit, outermost=False)
        levels.append(_Level(end, False, implicit))
        return place

    def _element(self, place: int, levels: list[_Level]) -> int:
        """Passes over an element, enters a sequence or leaves an item; returns the next place."""
        level = levels[-1]
        tag, vr, length, place = self._head(place, implicit=level.implicit)
        if tag == _ITEM_END:
            levels.pop()
            return place
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise Flaw(f"has more than {MAX_ELEMENTS} elements")
        if length == _UNDEFINED:
            return self._undefined(tag, vr, place, levels)
        if place + length > level.end:
            # Pixels that are cut off have a sentence of their own.
            if len(levels) == 1 and tag == _PIXELS:
                return level.end
            raise Flaw(_DAMAGED)
        # A private element is passed over: nothing reads its value.
        known = None if tag >> 16 & 1 else vr or self._vr_of(tag)
        if known == "UN" and self._vr_of(tag) == "SQ":
            known = "SQ"
        if known == "SQ":
            levels.append(_Level(place + length, True, level.implicit))
            return place
        if length > MAX_TEXT_BYTES and known is not None and not known.endswith(_BYTES):
            raise Flaw(f"has an element of text with more than {MAX_TEXT_BYTES} bytes")
        return place + length

    def _undefined(self, tag: int, vr: str | None, place: int, levels: list[_Level]) -> int:
        """Enters a sequence, or passes over fragments, up to a delimiter."""
        level = levels[-1]
        known = "SQ" if vr == "UN" else vr or self._vr_of(tag)
        if known is None:
            group, element, _ = self._tag_and_length(self._content, place)
            known = "SQ" if group << 16 | element == _ITEM else "UN"
        if known == "SQ":
            levels.append(_Level(level.end, True, level.implicit))
            return place
        end = self._content.find(self._sequence_end, place)
        return level.end if end < 0 else end + 8

    def _head(self, place: int, *, implicit: bool) -> tuple[int, str | None, int, int]:
        """Returns tag, representation, length, and where the value begins."""
        if not implicit:
            group, element, code, length = self._short(self._content, place)
            if b"AA" <= code <= b"ZZ":
                vr = code.decode("latin1")
                if vr not in _LONG:
                    return group << 16 | element, vr, length, place + 8
                (length,) = self._long(self._content, place + 8)
                return group << 16 | element, vr, length, place + 12
        # Some writers switch to implicit ones within explicit ones, and pydicom reads them.
        group, element, length = self._tag_and_length(self._content, place)
        return group << 16 | element, None, length, place + 8

    def _is_implicit(self, place: int, assumed: bool, *, outermost: bool) -> bool:
        """Returns whether a data set is implicit, whatever its transfer syntax says."""
        if assumed and not outermost:
            return True
        code = self._content[place + 4 : place + 6]
        if len(code) < 2:
            return assumed
        return not all(0x40 < sign < 0x5B for sign in code)
